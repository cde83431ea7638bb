"""`pyedge generate` as Typer reads it. The work, and a quick way to it, are in `generate.py`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .common import (
    ContextOption,
    JsonOption,
    LookupOption,
    LoraOption,
    MaxTokensOption,
    MemoryLimitOption,
    MinPOption,
    ModelOption,
    PenaltyOption,
    SeedOption,
    StopOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
)
from .generate import generate as answer


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; '-' or nothing reads it from standard input.")
    ] = None,
    model: ModelOption = None,
    max_tokens: MaxTokensOption = 256,
    temp: TemperatureOption = 0.8,
    top_k: TopKOption = 40,
    top_p: TopPOption = 0.95,
    min_p: MinPOption = 0.05,
    repeat_penalty: PenaltyOption = 1.0,
    seed: SeedOption = None,
    stop: StopOption = None,
    lora: LoraOption = None,
    lookup: LookupOption = True,
    raw: Annotated[bool, typer.Option("--raw", help="Plain completion, without the chat template.")] = False,
    context: ContextOption = None,
    memory_limit: MemoryLimitOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a prompt."""
    if prompt is None and sys.stdin.isatty():
        raise typer.BadParameter("no prompt given", param_hint="PROMPT")
    answer(
        prompt,
        model=model,
        max_tokens=max_tokens,
        temp=temp,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        seed=seed,
        stop=stop,
        lora=lora,
        lookup=lookup,
        raw=raw,
        context=context,
        memory_limit=memory_limit,
        threads=threads,
        as_json=as_json,
    )


def register(app: typer.Typer) -> None:
    app.command()(generate)
