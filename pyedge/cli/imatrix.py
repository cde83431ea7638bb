"""`pyedge imatrix`: which columns of a model's matrices matter on a text, for `pyedge quantize --imatrix`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .. import hub
from ..progress import Progress
from .common import JsonOption, ThreadsOption, read_text


def imatrix(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Path or name of a model, best unquantised.")],
    text: Annotated[Path, typer.Argument(metavar="TEXT", help="The calibration text; '-': stdin.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The file to write.")],
    context: Annotated[int, typer.Option("-c", "--context", min=2, help="Tokens of a chunk.")] = 512,
    chunks: Annotated[int | None, typer.Option("--chunks", min=1, help="At most so many; else all.")] = None,
    more: Annotated[
        list[Path] | None,
        typer.Option("--add", metavar="FILE", help="An importance matrix of another text; repeatable."),
    ] = None,
    process_output: Annotated[
        bool, typer.Option("--process-output", help="The output matrix, too; usually it is left out.")
    ] = False,
    threads: ThreadsOption = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure an importance matrix: mean squares of what each matrix is multiplied with."""
    from .. import imatrix as work
    from ..model import Model

    source = read_text(text)
    others = [work.load(path) for path in more or ()]
    path = hub.resolve(model)
    with (
        Model(str(path), threads=threads) as opened,
        Progress(output.name, 1, quiet=quiet, unit="chunks") as bar,
    ):
        matrix = work.collect(
            opened,
            source,
            dataset=text.name,
            context=context,
            chunks=chunks,
            output=process_output,
            each=bar.count,
        )
    for other in others:
        matrix = work.add(matrix, other)
    work.save(output, matrix)
    facts = {"file": str(output), "matrices": len(matrix.sums), "chunks": matrix.chunk_count}
    tokens = int(matrix.chunk_count * matrix.chunk_size)
    if as_json:
        print(json.dumps({**facts, "chunk_size": matrix.chunk_size, "tokens": tokens}))
    else:
        print(
            f"{output}: {len(matrix.sums)} matrices, {tokens:,} tokens in {matrix.chunk_count} chunks of "
            f"{matrix.chunk_size}; use it with pyedge quantize --imatrix {output}"
        )


def register(app: typer.Typer) -> None:
    app.command()(imatrix)
