"""`pyedge tokenize` and `perplexity`: how a model sees a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..streaming import encode
from .common import ContextOption, JsonOption, ModelOption, ThreadsOption, model_or_default, read_text

FileOption = Annotated[Path | None, typer.Option("-f", "--file", help="Read the text from here; '-': stdin.")]


def tokenize(
    text: Annotated[str | None, typer.Argument(help="The text; or use -f, or standard input.")] = None,
    model: ModelOption = None,
    file: FileOption = None,
    no_special: Annotated[bool, typer.Option("--no-special", help="Add no BOS or EOS.")] = False,
    parse_special: Annotated[
        bool, typer.Option("--parse-special", help="Recognise special tokens in the text.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the tokens of a text: id and bytes a line, or a JSON list of ids."""
    from ..model import Model

    if text is not None and file is not None:
        raise typer.BadParameter("give a text or -f FILE, not both")
    source = encode(text) if text is not None else read_text(file)
    with Model(model_or_default(model)) as opened:
        ids = opened.tokenize(source, add_special=not no_special, parse_special=parse_special)
        if as_json:
            print(json.dumps(ids))
            return
        for id in ids:
            print(f"{id:>8}  {_readable(opened.token_bytes(id))}")


def _readable(data: bytes) -> str:
    """Token bytes on one line: as a quoted text where they are UTF-8, else in hexadecimal."""
    try:
        return json.dumps(data.decode("utf-8"), ensure_ascii=False)
    except UnicodeDecodeError:
        return " ".join(f"<{byte:02X}>" for byte in data)


def perplexity(
    file: Annotated[Path, typer.Option("-f", "--file", help="The text to measure on; '-': stdin.")],
    model: ModelOption = None,
    context: ContextOption = 512,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how well a model predicts a text (lower is better)."""
    from ..model import Model

    text = read_text(file)
    size = 512 if context is None else context
    with Model(model_or_default(model), threads=threads) as opened:
        value = opened.perplexity(text, context=size)
        if as_json:
            print(json.dumps({"model": opened.name, "context": size, "perplexity": value}))
        else:
            print(f"{value:.4f}")


def register(app: typer.Typer) -> None:
    app.command()(tokenize)
    app.command()(perplexity)
