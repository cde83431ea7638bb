"""Speed of the Python door on this machine: `make bench`. Beside another engine, use `pyedge bench`.

These are whole calls as a user makes them, so that a slow binding shows as well as a slow kernel.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pyedge
from pyedge import hub

TEXT = "The quick brown fox jumps over the lazy dog. 1234 caf\u00e9 \u4f60\u597d\n" * 200
MODELS = ["smollm2-135m-instruct", "gemma-3-270m"]


@pytest.fixture(scope="module", params=MODELS)
def path(request: pytest.FixtureRequest) -> pathlib.Path:
    return hub.fetch(request.param)


@pytest.fixture(scope="module")
def model(path: pathlib.Path) -> Iterator[pyedge.Model]:
    with pyedge.Model(path) as model:
        yield model


def test_open(benchmark: Callable[..., Any], path: pathlib.Path) -> None:
    benchmark(lambda: pyedge.Model(path).close())


def test_tokenize(benchmark: Callable[..., Any], model: pyedge.Model) -> None:
    assert benchmark(model.tokenize, TEXT)


def test_detokenize(benchmark: Callable[..., Any], model: pyedge.Model) -> None:
    ids = model.tokenize(TEXT)
    assert benchmark(model.detokenize, ids)


@pytest.mark.parametrize("count", [1, 32, 512])
def test_prefill(benchmark: Any, model: pyedge.Model, count: int) -> None:
    ids = model.tokenize(TEXT)[:count]
    benchmark.extra_info["tokens"] = count
    benchmark.pedantic(lambda: model.session().eval(ids), rounds=5, warmup_rounds=1)


def test_decode_32(benchmark: Any, model: pyedge.Model) -> None:
    benchmark.extra_info["tokens"] = 32
    benchmark.pedantic(
        lambda: model.generate("Once upon a time", raw=True, temperature=0, max_tokens=32),
        rounds=5,
        warmup_rounds=1,
    )


def test_sample(benchmark: Any, model: pyedge.Model) -> None:
    """One generated token with every filter on, beside one greedy token in test_decode_32."""
    benchmark.pedantic(
        lambda: model.generate("Once upon a time", raw=True, max_tokens=32, repeat_penalty=1.1, seed=1),
        rounds=5,
        warmup_rounds=1,
    )
