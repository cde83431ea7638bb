"""What `pyedge generate` does, and the quick way to it.

Typer, and Pydantic behind it, take longer to import than a model takes to open and to say its first word. So
the plain spellings of this one command are read here. Anything else (help, other spellings, whatever may be
wrong) is left to Typer and the declarations in `answer.py`, which say the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..completion import SamplingOptions, check_options
from .terminal import model_or_default, parse_bytes, write


def generate(
    prompt: str | None = None,
    *,
    model: str | None = None,
    max_tokens: int = 256,
    temp: float = 0.8,
    top_k: int = 40,
    top_p: float = 0.95,
    min_p: float = 0.05,
    repeat_penalty: float = 1.0,
    seed: int | None = None,
    stop: Sequence[str] | None = None,
    lora: list[str] | None = None,
    lookup: bool = True,
    raw: bool = False,
    context: int | None = None,
    memory_limit: int | None = None,
    threads: int | None = None,
    as_json: bool = False,
) -> None:
    """Answer a prompt; None and "-" read it from standard input."""
    from ..lora import parse_loras
    from ..model import Model

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
    adapters = parse_loras(lora)
    path = model_or_default(model)
    with Model(path, context=context, memory_limit=memory_limit, threads=threads) as opened:
        if as_json:
            import json

            completion = opened.generate(source, raw=raw, lora=adapters, **options)
            print(json.dumps({"model": opened.name, **completion._asdict()}, ensure_ascii=False))
            return
        ended = True
        try:
            for piece in opened.stream(source, raw=raw, lora=adapters, **options):
                if piece.text:
                    write(piece.text)
                    ended = piece.text.endswith("\n")
        finally:
            if not ended:
                write("\n")


# ---- the quick way ----


class _Unclear(Exception):
    """For Typer to read, or to refuse."""


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _Unclear
    return int(text)


def _number(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", text):
        raise _Unclear
    return float(text)


def _size(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError:
        raise _Unclear from None


class _Option(NamedTuple):
    """The parameter that an option sets, and how its text is read; without `read`, a flag for `value`."""

    name: str
    read: Callable[[str], Any] | None
    value: bool = True


OPTIONS = {
    "-m": _Option("model", str),
    "--model": _Option("model", str),
    "-n": _Option("max_tokens", _count),
    "--max-tokens": _Option("max_tokens", _count),
    "--temp": _Option("temp", _number),
    "--top-k": _Option("top_k", _count),
    "--top-p": _Option("top_p", _number),
    "--min-p": _Option("min_p", _number),
    "--repeat-penalty": _Option("repeat_penalty", _number),
    "--seed": _Option("seed", _count),
    "--stop": _Option("stop", str),
    "--lora": _Option("lora", str),
    "--lookup": _Option("lookup", None),
    "--no-lookup": _Option("lookup", None, False),
    "--raw": _Option("raw", None),
    "-c": _Option("context", _count),
    "--context": _Option("context", _count),
    "--memory-limit": _Option("memory_limit", _size),
    "-t": _Option("threads", _count),
    "--threads": _Option("threads", _count),
    "--json": _Option("as_json", None),
}


def parsed(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The parameters of `generate` that the arguments after the command's name set; None where these are not
    plain."""
    values: dict[str, Any] = {}
    rest = iter(arguments)
    try:
        for argument in rest:
            if argument.startswith("-") and argument != "-":
                _read_option(argument, rest, values)
            elif "prompt" in values:
                return None
            else:
                values["prompt"] = argument
    except _Unclear:
        return None
    if values.get("prompt") is None and sys.stdin.isatty():
        return None
    return values


def _read_option(argument: str, rest: Iterator[str], values: dict[str, Any]) -> None:
    option = OPTIONS.get(argument)
    if option is None:
        raise _Unclear
    if option.read is None:
        values[option.name] = option.value
        return
    text = next(rest, "-")
    if text.startswith("-"):
        raise _Unclear
    value = option.read(text)
    if option.name in ("stop", "lora"):
        values.setdefault(option.name, []).append(value)
    else:
        values[option.name] = value
