"""`pyedge list`, `pull` and `info`: the models that are known, here, and what is in a file."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Annotated, Any

import typer

from .. import hub
from ..progress import mebibytes
from .common import JsonOption, shown, table


def list_models(as_json: JsonOption = False) -> None:
    """List the models that are known by name."""
    rows: list[dict[str, Any]] = []
    for entry in hub.entries():
        found = hub.cached(entry.name)
        rows.append(
            {
                "name": entry.name,
                "default": entry.name == hub.default_name(),
                "bytes": entry.bytes,
                "path": str(found) if found else None,
                "licence": entry.licence,
                "about": entry.about,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']}{' (default)' if row['default'] else ''}")
        print(f"    {row['about']}")
        print(f"    {mebibytes(row['bytes'])}, licence: {row['licence']}")
        print(f"    {row['path'] or 'not fetched yet: pyedge pull ' + str(row['name'])}")
    print("hf:owner/repo/file.gguf\n    any GGUF file of the Hugging Face hub, under the licence named there")


def pull(
    name: Annotated[str, typer.Argument(help="A name of `pyedge list`, or hf:owner/repo/file.gguf.")],
) -> None:
    """Fetch a model by name and print where it is."""
    print(hub.fetch(name))


def _describe(model: Any) -> dict[str, Any]:
    from .. import _core

    core = model._opened()
    info = core.info()
    metadata = core.metadata(False)
    names = _core.types()
    types: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for _, number, _, _, size in core.tensors():
        entry = types[names[number][0] if number in names else f"type {number}"]
        entry[0] += 1
        entry[1] += size
    contexts = sorted({min(size, model.context_length) for size in (512, 2048, 8192, model.context_length)})
    return {
        "path": str(model.path),
        "name": model.name,
        "arch": model.arch,
        "n_params": model.n_params,
        "file_size": model.file_size,
        "context_length": model.context_length,
        "n_layer": info["n_layer"],
        "n_embd": info["n_embd"],
        "n_head": info["n_head"],
        "n_head_kv": info["n_head_kv"],
        "n_ff": info["n_ff"],
        "vocab_size": model.vocab_size,
        "tokenizer": " ".join(
            str(metadata[key]) for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre") if key in metadata
        ),
        "bos_id": info["bos_id"],
        "eos_id": info["eos_id"],
        "licence": metadata.get("general.license"),
        "chat_template": info["chat_template"] is not None,
        "types": {name: {"tensors": count, "bytes": size} for name, (count, size) in sorted(types.items())},
        "session_bytes": {
            kv: {str(size): core.session_bytes(size, kv) for size in contexts} for kv in ("f16", "f32")
        },
    }


def info(
    model: Annotated[str, typer.Argument(help="Path or name of a model.")],
    metadata: Annotated[bool, typer.Option("--metadata", help="All keys of the file, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell what is in a model file and what running it takes."""
    from ..model import Model

    with Model(model) as opened:
        facts = _describe(opened)
        keys = opened._opened().metadata(False) if metadata else {}
    if as_json:
        print(json.dumps({**facts, **({"metadata": keys} if metadata else {})}, ensure_ascii=False, indent=1))
        return
    rows = [
        ("file", facts["path"]),
        ("name", facts["name"]),
        ("architecture", facts["arch"]),
        ("parameters", f"{facts['n_params']:,}"),
        ("size", mebibytes(facts["file_size"])),
        ("context", f"{facts['context_length']:,} positions"),
        ("shape", f"{facts['n_layer']} layers, width {facts['n_embd']}, feed-forward {facts['n_ff']}"),
        ("attention", f"{facts['n_head']} heads, {facts['n_head_kv']} of keys and values"),
        ("tokenizer", f"{facts['tokenizer']}, {facts['vocab_size']:,} tokens"),
        ("chat template", "yes" if facts["chat_template"] else "no: completes raw text"),
        ("licence", facts["licence"] or "not named in the file"),
    ]
    table((), rows)
    print()
    table(
        ("type", "tensors", "size", "share"),
        (
            (
                name,
                part["tensors"],
                mebibytes(part["bytes"]),
                f"{100 * part['bytes'] / facts['file_size']:.1f} %",
            )
            for name, part in facts["types"].items()
        ),
        right=(1, 2, 3),
    )
    print("\nmemory of a session, at most, besides the pages of the file")
    table(
        ("context", "f16", "f32"),
        (
            (f"{int(size):,}", *(mebibytes(facts["session_bytes"][kv][size]) for kv in ("f16", "f32")))
            for size in facts["session_bytes"]["f16"]
        ),
        right=(0, 1, 2),
    )
    if metadata:
        print()
        for key, value in keys.items():
            text = " ".join(str(value).split())
            print(shown(f"{key} = {text if len(text) <= 200 else text[:197] + '...'}"))


def register(app: typer.Typer) -> None:
    app.command("list")(list_models)
    app.command()(pull)
    app.command()(info)
