"""What a file says of itself: name, size, license, chat template, how its authors sample from it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelFileError, UnsupportedError
from ..gguf_file import Value
from .folder import Folder, parse_json
from .values import f32, i32, text, texts, u32

_TEMPLATE_LIMIT = 1 << 20
# generation_config.json: ours, whether a whole number.
_SAMPLING = {
    "temperature": ("temp", False),
    "top_k": ("top_k", True),
    "top_p": ("top_p", False),
    "min_p": ("min_p", False),
    "repetition_penalty": ("penalty_repeat", False),
}


def size_label(n: int) -> str:
    """A number of weights as names of models have it: 135M, 1.7B."""
    scales = (("T", 1e12), ("B", 1e9), ("M", 1e6))
    unit, scale = next((pair for pair in scales if n >= pair[1]), ("K", 1e3))
    value = n / scale
    return f"{value:.0f}{unit}" if round(value) >= 10 else f"{value:.1f}{unit}"


def _license(folder: Folder) -> str | None:
    """From the front matter of the model card."""
    card = folder.bytes("README.md")
    front = re.match(rb"---\s*\n(.*?)\n---", card, re.DOTALL) if card else None
    found = re.search(rb"^license:\s*([\w.+-]{1,64})\s*$", front[1], re.MULTILINE) if front else None
    return found[1].decode() if found else None


def name_of(path: Path) -> str:
    """The folder's name; in the cache of huggingface_hub, where that is a hash, the repository's."""
    cached = next((part for part in path.parts if part.startswith("models--")), "")
    name = cached.rpartition("--")[2] if path.parent.name == "snapshots" and cached else path.name
    return name.encode("utf-8", "replace").decode()


def general_keys(name: str, n_weights: int, file_type: int) -> dict[str, Value]:
    return {
        "general.type": text("model"),
        "general.name": text(name),
        "general.size_label": text(size_label(n_weights)),
        "general.file_type": u32(file_type),
        "general.quantization_version": u32(2),
    }


def license_keys(folder: Folder) -> dict[str, Value]:
    license = _license(folder)
    return {"general.license": text(license)} if license else {}


_POOLING = {"mean": 1, "cls": 2, "lasttoken": 3}
_TOKENS = {"mean": "_tokens", "cls": "_token", "lasttoken": ""}


def pooling_keys(folder: Folder) -> dict[str, Value]:
    """How the hidden states of a text become one vector, in folders of Sentence Transformers."""
    data = folder.bytes("modules.json")
    where = str(folder.path / "modules.json")
    modules = [] if data is None else parse_json(data, where)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ModelFileError(f"{where}: it is no list of modules")
    keys: dict[str, Value] = {}
    for module in modules:
        kind, path = str(module.get("type")).rpartition(".")[2], module.get("path")
        if kind in ("Transformer", "Normalize"):
            continue
        if kind != "Pooling":
            raise UnsupportedError(f"{where}: a module of the kind {kind[:32]!r} has no place in GGUF")
        if not isinstance(path, str) or path != os.path.basename(path) or path in ("", ".", ".."):
            raise ModelFileError(f"{where}: {str(path)[:64]!r} is no folder of this one")
        said = folder.json(f"{path}/config.json", required=True)
        modes = [name for name in _POOLING if said.get(f"pooling_mode_{name}{_TOKENS[name]}") is True]
        modes = modes or [name for name in _POOLING if said.get("pooling_mode") == name]
        if len(modes) != 1:
            config = folder.path / path / "config.json"
            raise UnsupportedError(f"{config}: it asks for none of mean, cls and lasttoken, or several")
        keys["pooling_type"] = u32(_POOLING[modes[0]])
    return keys


def sampling_keys(folder: Folder) -> dict[str, Value]:
    """The settings that the authors recommend, where they say that the model is to be sampled."""
    config: Mapping[str, Any] = folder.json("generation_config.json")
    keys: dict[str, Value] = {}
    if config.get("do_sample") is not True:
        return keys
    for theirs, (ours, whole) in _SAMPLING.items():
        value = config.get(theirs)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        if abs(value) > 1e6:
            raise ModelFileError(f"{folder.path / 'generation_config.json'}: {theirs} is {str(value)[:32]}")
        keys[f"general.sampling.{ours}"] = i32(int(value)) if whole else f32(value)
    return keys


def _template(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > _TEMPLATE_LIMIT:
        raise ModelFileError(f"{where}: the chat template is no text of at most {_TEMPLATE_LIMIT} characters")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ModelFileError(f"{where}: the chat template has half of a character") from None
    return value


def chat_keys(folder: Folder) -> dict[str, Value]:
    """Templates: from a file of their own, else from tokenizer_config.json."""
    where = str(folder.path / "chat_template.jinja")
    found: Any = folder.text("chat_template.jinja")
    if found is None and (data := folder.bytes("chat_template.json")) is not None:
        where = str(folder.path / "chat_template.json")
        parsed = parse_json(data, where)
        found = parsed.get("chat_template") if isinstance(parsed, dict) else None
    if found is None:
        where = str(folder.path / "tokenizer_config.json")
        found = folder.json("tokenizer_config.json").get("chat_template")
    if found is None:
        return {}
    if not isinstance(found, list):
        return {"tokenizer.chat_template": text(_template(found, where))}
    keys: dict[str, Value] = {}
    names: list[bytes] = []
    for entry in found:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not re.fullmatch(r"\w{1,32}", name, re.ASCII):
            raise ModelFileError(f"{where}: a chat template has no name that a key can have")
        value = text(_template(entry.get("template"), where))
        if name == "default":
            keys["tokenizer.chat_template"] = value
        else:
            keys[f"tokenizer.chat_template.{name}"] = value
            names.append(name.encode())
    return {**keys, "tokenizer.chat_templates": texts(names)} if names else keys
