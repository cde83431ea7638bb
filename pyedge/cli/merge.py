"""`pyedge merge`: a model file with LoRA adapters in its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import hub
from ..lora import parse_loras
from ..progress import mebibytes
from .common import ThreadsOption


def merge(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Path or name of a model (GGUF).")],
    adapters: Annotated[
        list[str],
        typer.Argument(metavar="ADAPTER[:SCALE]... OUT", help="Adapters, and last the file to write."),
    ],
    type: Annotated[
        str | None,
        typer.Option("--type", help="Of the matrices that change: F16, Q8_0, ...; as they are if not given."),
    ] = None,
    threads: ThreadsOption = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Write a model with adapters merged into it."""
    from ..merge import merge as work

    *named, target = adapters
    loras = parse_loras(named)
    if loras is None:
        raise typer.BadParameter("give at least one adapter and a file to write", param_hint="ADAPTER OUT")
    changed = work(hub.resolve(model), loras, target, type=type, threads=threads, quiet=quiet)
    print(f"{target}: {mebibytes(Path(target).stat().st_size)}, {changed} tensors changed")


def register(app: typer.Typer) -> None:
    app.command()(merge)
