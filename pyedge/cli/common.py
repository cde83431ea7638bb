"""The options that commands share, as Typer reads them; with them, for the commands, all of `terminal.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from .terminal import model_or_default, note, parse_bytes, read_text, shown, table, write

ModelOption = Annotated[
    str | None, typer.Option("-m", "--model", help="Path or name of a model; see `pyedge list`.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("-t", "--threads", help="Threads; what the machine allows if not given.")
]
ContextOption = Annotated[
    int | None, typer.Option("-c", "--context", help="Positions; the model's own number if not given.")
]


def _memory_limit(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


MemoryLimitOption = Annotated[
    int | None,
    typer.Option(
        "--memory-limit",
        parser=_memory_limit,
        metavar="BYTES",
        help="Bytes besides the file's pages, as 64M or 1G: what would take more is refused.",
    ),
]
MaxTokensOption = Annotated[int, typer.Option("-n", "--max-tokens", help="At most so many tokens.")]
TemperatureOption = Annotated[float, typer.Option("--temp", help="0 is greedy.")]
TopKOption = Annotated[int, typer.Option("--top-k", help="0: off.")]
TopPOption = Annotated[float, typer.Option("--top-p", help="1: off.")]
MinPOption = Annotated[float, typer.Option("--min-p", help="0: off.")]
PenaltyOption = Annotated[float, typer.Option("--repeat-penalty", help="1: off.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same tokens.")]
StopOption = Annotated[list[str] | None, typer.Option("--stop", help="End before this text; repeatable.")]
LookupOption = Annotated[
    bool,
    typer.Option(
        "--lookup/--no-lookup", help="Evaluate repeated text several tokens at once: the same answer, sooner."
    ),
]
LoraOption = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="PATH[:SCALE]", help="A LoRA adapter, with a scale if not 1; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

__all__ = [
    "ContextOption",
    "JsonOption",
    "LookupOption",
    "LoraOption",
    "MaxTokensOption",
    "MemoryLimitOption",
    "MinPOption",
    "ModelOption",
    "PenaltyOption",
    "SeedOption",
    "StopOption",
    "TemperatureOption",
    "ThreadsOption",
    "TopKOption",
    "TopPOption",
    "model_or_default",
    "note",
    "read_text",
    "shown",
    "table",
    "write",
]
