"""`pyedge convert`: a model folder, or a file of Nano or llama2.c, as a GGUF file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..progress import mebibytes
from .common import JsonOption, ThreadsOption, shown


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A Hugging Face model folder, or a Nano or llama2.c file.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The GGUF file to write.")],
    type: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="f32, f16, bf16 or q8_0; of Nano's Q4K also q4_k. As in IN if not given, without loss.",
        ),
    ] = None,
    pretokenizer: Annotated[
        str | None,
        typer.Option("--pretokenizer", metavar="NAME", help="How to cut words, where it is not recognised."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="FILE", help="Vocabulary of a llama2.c file, if not beside it."),
    ] = None,
    threads: ThreadsOption = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a Hugging Face model folder, or a file of Nano or llama2.c, as a GGUF file."""
    from ..convert import convert as work

    report = work(
        source, target, type, pretokenizer=pretokenizer, tokenizer=tokenizer, threads=threads, quiet=quiet
    )
    if as_json:
        print(json.dumps({"file": str(target), **asdict(report)}, indent=1))
        return
    types = ", ".join(f"{count} {name}" for name, count in sorted(report.types.items()))
    size = f"{report.n_weights:,} weights, {mebibytes(report.size)}"
    print(shown(f"{target}: {report.arch}, {size}, tensors: {types}"))


def register(app: typer.Typer) -> None:
    app.command()(convert)
