"""`pyedge generate`: one prompt, one answer, streamed."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated

import typer

from ..completion import SamplingOptions, check_options
from .common import (
    ContextOption,
    JsonOption,
    LookupOption,
    MaxTokensOption,
    MinPOption,
    ModelOption,
    PenaltyOption,
    SeedOption,
    StopOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
    model_or_default,
    write,
)


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
    lookup: LookupOption = True,
    raw: Annotated[bool, typer.Option("--raw", help="Plain completion, without the chat template.")] = False,
    context: ContextOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a prompt."""
    from ..model import Model

    if prompt is None and sys.stdin.isatty():
        raise typer.BadParameter("no prompt given", param_hint="PROMPT")
    source: str | bytes = prompt or ""
    if prompt in (None, "-"):
        source = sys.stdin.buffer.read()
        if not raw:  # the end of the last line is no part of a question
            source = source.removesuffix(b"\n")
    options: SamplingOptions = {
        "max_tokens": max_tokens,
        "temperature": temp,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "seed": seed,
        "stop": stop or (),
        "lookup": lookup,
    }
    check_options(2**31 - 1, **options)  # wrong options are told before a model is fetched
    with Model(model_or_default(model), context=context, threads=threads) as opened:
        if as_json:
            completion = opened.generate(source, raw=raw, **options)
            print(json.dumps({"model": opened.name, **dataclasses.asdict(completion)}, ensure_ascii=False))
            return
        ended = True
        try:
            for piece in opened.stream(source, raw=raw, **options):
                if piece.text:
                    write(piece.text)
                    ended = piece.text.endswith("\n")
        finally:
            if not ended:
                write("\n")


def register(app: typer.Typer) -> None:
    app.command()(generate)
