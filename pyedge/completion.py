"""What generation takes and gives: checked options, streamed pieces, the finished completion.

The checks live here once, for the Python door and for the command line: a wrong value is refused before any
file is opened, with a message that says what is allowed. These are named tuples and no dataclasses, which
would import `inspect` and make every process start later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypedDict

FinishReason = Literal["stop", "length", "cancelled"]


class Piece(NamedTuple):
    """One step of a stream.

    `text` holds whole characters only; it is empty where a token ends inside a character, or may still become
    a stop string. `token` is None where the step brought no token (cancelled, nothing asked for). The last
    piece, and only it, has a `finish_reason`.
    """

    text: str
    token: int | None
    logprob: float | None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish_reason: FinishReason | None = None


class Completion(NamedTuple):
    """A finished answer.

    `tokens` are the generated ids without the end token; `logprobs` are the natural logarithms of the model's
    own probability of each, and `top_logprobs` the (id, logprob) pairs of the best alternatives where they
    were asked for.
    """

    text: str
    tokens: list[int]
    finish_reason: FinishReason
    logprobs: list[float]
    timings: dict[str, float]
    top_logprobs: list[tuple[tuple[int, float], ...]]

    def __str__(self) -> str:
        return self.text


class SamplingOptions(TypedDict, total=False):
    """What `generate` and `stream` take by keyword; `Model.generate` tells what each means."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    seed: int | None
    stop: str | Sequence[str]
    logit_bias: Mapping[int, float] | None
    logprobs: int
    lookup: bool | int


class Options(NamedTuple):
    """Sampling and stopping, checked."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    seed: int | None
    stop: tuple[str, ...]
    logit_bias: tuple[tuple[int, float], ...]
    logprobs: int
    lookup: int  # tokens evaluated ahead at most


def integer(name: str, value: Any, low: int, high: int, what: str) -> int:
    """`value` as an int in low..high, or an error that says what is allowed."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be {what}, not {type(value).__name__}")
    if not low <= int(value) <= high:
        raise ValueError(f"{name} must be {what}, not {value}")
    return int(value)


def optional(name: str, value: Any, high: int, what: str) -> int:
    """`value` as an int in 1..high, or 0 for None."""
    return 0 if value is None else integer(name, value, 1, high, what)


def _real(name: str, value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {what}, not {type(value).__name__}")
    return float(value)


def _refuse(name: str, what: str, value: Any) -> ValueError:
    return ValueError(f"{name} must be {what}, not {value!r}")


def _stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    what = "stop must be a string or a sequence of non-empty strings"
    stops = (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, (list, tuple, set, frozenset)):
        raise TypeError(f"{what}, not {type(stop).__name__}")
    for item in stops:
        if not isinstance(item, str):
            raise TypeError(f"{what}, and one is a {type(item).__name__}")
        if not item:
            raise ValueError(f"{what}, and one is empty")
    return tuple(stops)


def _bias(logit_bias: Mapping[int, float] | None, vocab_size: int) -> tuple[tuple[int, float], ...]:
    if logit_bias is None:
        return ()
    if not isinstance(logit_bias, Mapping):
        raise TypeError(f"logit_bias must be a dict of token id to float, not {type(logit_bias).__name__}")
    pairs = []
    for key, value in logit_bias.items():
        id = integer("a key of logit_bias", key, 0, vocab_size - 1, f"a token id, 0 to {vocab_size - 1}")
        bias = _real(f"logit_bias[{id}]", value, "a number (-inf forbids the token)")
        if math.isnan(bias) or bias == math.inf:
            raise _refuse(f"logit_bias[{id}]", "a number, or -inf to forbid the token", bias)
        pairs.append((id, bias))
    return tuple(pairs)


def check_options(vocab_size: int, **options: Any) -> Options:
    """Options with every value checked; raises ValueError or TypeError."""
    for name in options:
        if name not in Options._fields:
            raise TypeError(f"unknown option {name!r}: the options are {', '.join(Options._fields)}")
    return _checked(vocab_size, **options)


def _checked(
    vocab_size: int,
    *,
    max_tokens: int = 256,
    temperature: float = 0.8,
    top_k: int = 40,
    top_p: float = 0.95,
    min_p: float = 0.05,
    repeat_penalty: float = 1.0,
    seed: int | None = None,
    stop: str | Sequence[str] = (),
    logit_bias: Mapping[int, float] | None = None,
    logprobs: int = 0,
    lookup: bool | int = True,
) -> Options:
    temperature = _real("temperature", temperature, "a number, 0 (greedy) or more")
    if not 0 <= temperature < math.inf:
        raise _refuse("temperature", "a finite number, 0 (greedy) or more", temperature)
    top_p = _real("top_p", top_p, "a number above 0 and up to 1 (off)")
    if not 0 < top_p <= 1:
        raise _refuse("top_p", "above 0 and up to 1 (off)", top_p)
    min_p = _real("min_p", min_p, "a number from 0 (off) to below 1")
    if not 0 <= min_p < 1:
        raise _refuse("min_p", "from 0 (off) to below 1", min_p)
    repeat_penalty = _real("repeat_penalty", repeat_penalty, "a number above 0 (1: off)")
    if not 0 < repeat_penalty < math.inf:
        raise _refuse("repeat_penalty", "a finite number above 0 (1: off)", repeat_penalty)
    if seed is not None:
        seed = integer("seed", seed, 0, 2**64 - 1, "None (fresh entropy) or an integer from 0 to 2**64 - 1")
    if isinstance(lookup, bool):
        lookup = 2**31 - 1 if lookup else 0
    return Options(
        max_tokens=integer("max_tokens", max_tokens, 0, 2**31 - 1, "an integer from 0 to 2**31 - 1"),
        temperature=temperature,
        top_k=integer("top_k", top_k, 0, 2**31 - 1, "an integer, 0 (off) or more"),
        top_p=top_p,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        seed=seed,
        stop=_stops(stop),
        logit_bias=_bias(logit_bias, vocab_size),
        logprobs=integer("logprobs", logprobs, 0, vocab_size, f"an integer from 0 (off) to {vocab_size}"),
        lookup=integer("lookup", lookup, 0, 2**31 - 1, "True, False, or the most tokens to look ahead"),
    )
