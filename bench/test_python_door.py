"""Speed of the Python door on this machine: `make bench`. Beside another engine, use bench/peers.py.

These are whole calls as a user makes them, so that a slow binding shows as well as a slow kernel. One run
takes about a minute.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

import pyedge
from pyedge import hub

TEXT = "The quick brown fox jumps over the lazy dog. 1234 caf\u00e9 \u4f60\u597d\n" * 200
MODELS = ["smollm2-135m-instruct", "gemma-3-270m"]
TOKENS = 32  # of a generation


@pytest.fixture(scope="module", params=MODELS)
def path(request: pytest.FixtureRequest) -> pathlib.Path:
    return hub.fetch(request.param)


@pytest.fixture(scope="module")
def model(path: pathlib.Path) -> Iterator[pyedge.Model]:
    with pyedge.Model(path, context=2048) as model:
        yield model


@pytest.fixture(scope="module")
def ids(model: pyedge.Model) -> list[int]:
    return model.tokenize(TEXT)


@pytest.fixture
def session(model: pyedge.Model, ids: list[int]) -> pyedge.Session:
    """After 500 tokens: the last page of the cache is partly used."""
    session = model.session()
    session.eval(ids[:500])
    return session


def measure(benchmark: Any, call: Any, *, tokens: int | None = None, **options: Any) -> Any:
    """Five rounds of a call that takes milliseconds or more."""
    if tokens is not None:
        benchmark.extra_info["tokens"] = tokens
    return benchmark.pedantic(call, rounds=5, warmup_rounds=1, **options)


# ---- load and text ----


def test_open(benchmark: Any, path: pathlib.Path) -> None:
    measure(benchmark, lambda: pyedge.Model(path).close())


def test_session(benchmark: Any, model: pyedge.Model) -> None:
    measure(benchmark, model.session)


def test_tokenize(benchmark: Any, model: pyedge.Model) -> None:
    assert measure(benchmark, lambda: model.tokenize(TEXT))


def test_detokenize(benchmark: Any, model: pyedge.Model, ids: list[int]) -> None:
    assert measure(benchmark, lambda: model.detokenize(ids), tokens=len(ids))


# ---- evaluation ----


@pytest.mark.parametrize("count", [1, 32, 512])
def test_prefill(benchmark: Any, model: pyedge.Model, ids: list[int], count: int) -> None:
    measure(benchmark, lambda: model.session().eval(ids[:count]), tokens=count)


def test_decode(benchmark: Any, session: pyedge.Session, ids: list[int]) -> None:
    """One token after the other through `eval`: each gives its logits as an array."""

    def decode() -> None:
        for id in ids[500 : 500 + TOKENS]:
            session.eval([id])
        session.rewind(TOKENS)

    measure(benchmark, decode, tokens=TOKENS)


def test_logits(benchmark: Any, model: pyedge.Model, ids: list[int]) -> None:
    """The head for every position."""
    measure(benchmark, lambda: model.logits(ids[:64]), tokens=64)


# ---- generation ----


def test_generate(benchmark: Any, model: pyedge.Model) -> None:
    measure(
        benchmark,
        lambda: model.generate("Once upon a time", raw=True, temperature=0, max_tokens=TOKENS),
        tokens=TOKENS,
    )


def test_stream(benchmark: Any, model: pyedge.Model) -> None:
    measure(
        benchmark,
        lambda: list(model.stream("Once upon a time", raw=True, temperature=0, max_tokens=TOKENS)),
        tokens=TOKENS,
    )


def test_sample(benchmark: Any, model: pyedge.Model) -> None:
    """With every filter on, beside greedy tokens in test_generate."""
    measure(
        benchmark,
        lambda: model.generate(
            "Once upon a time", raw=True, max_tokens=TOKENS, repeat_penalty=1.1, seed=1, logprobs=5
        ),
        tokens=TOKENS,
    )


# ---- timelines ----


def test_fork(benchmark: Any, session: pyedge.Session) -> None:
    assert measure(benchmark, session.fork).position == 500


def test_fork_and_eval(benchmark: Any, session: pyedge.Session, ids: list[int]) -> None:
    """The first token of a fork copies the page that it writes to."""
    measure(benchmark, lambda: session.fork().eval(ids[:1]))


def test_save(benchmark: Any, session: pyedge.Session, tmp_path: pathlib.Path) -> None:
    measure(benchmark, lambda: session.save(tmp_path / "session"))


def test_load(benchmark: Any, session: pyedge.Session, tmp_path: pathlib.Path) -> None:
    session.save(tmp_path / "session")
    measure(benchmark, lambda: session.load(tmp_path / "session"))
    assert session.position == 500
