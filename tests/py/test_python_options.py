"""What needs no model: text as it streams, the checks of options, the public names."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyedge
from pyedge.completion import check_options
from pyedge.streaming import TextStream, encode

# ---- text as it streams ------------------------------------------------------------------------------------


def feed(pieces: list[bytes], stops: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    stream = TextStream(stops)
    shown = []
    for piece in pieces:
        shown.append(stream.push(piece))
        if stream.stopped:
            return shown, True
    shown.append(stream.finish())
    return shown, stream.stopped


def test_characters_are_never_split():
    data = "aä€🙂".encode()
    shown, _ = feed([data[i : i + 1] for i in range(len(data))])
    assert "".join(shown) == "aä€🙂"
    assert [len(text) for text in shown] == [1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0]


def test_broken_bytes_become_replacement_characters():
    assert "".join(feed([b"a\xff", b"\xf0\x9f", b"b"])[0]) == "a\ufffd\ufffdb"
    assert "".join(feed([b"a\xf0\x9f\x99"])[0]) == "a\ufffd"


def test_stop_across_tokens():
    assert feed([b"one E", b"N", b"D two"], ("END",)) == (["one ", "", ""], True)
    assert feed([b"one E", b"N", b"X", b"EN"], ("END",)) == (["one ", "", "ENX", "", "EN"], False)
    assert feed([b"aab"], ("ab",)) == (["a"], True)
    assert feed([b"a\xe2\x82", b"\xacb"], ("\u20ac",)) == (["a", ""], True)
    assert feed([b"xyz"], ("z", "y")) == (["x"], True)


@given(
    st.text(alphabet="ab€🙂", max_size=30),
    st.lists(st.text(alphabet="ab€", min_size=1, max_size=3), max_size=3),
    st.randoms(),
)
def test_stream_equals_the_whole(text, stops, random):
    data = text.encode()
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.randint(0, 6)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    shown, stopped = feed(pieces, tuple(stops))
    said = "".join(shown)
    assert stopped == any(stop in text for stop in stops)
    assert text.startswith(said)
    assert not any(stop in said for stop in stops)
    if not stopped:
        assert said == text


def test_encode():
    assert encode("aé") == b"a\xc3\xa9"
    assert encode(b"\xff\x00") == b"\xff\x00"
    assert encode("a\udcff") == b"a\xff"
    assert encode("\ud800") == b"\xed\xa0\x80"
    with pytest.raises(TypeError, match="str or bytes"):
        encode(5)  # type: ignore[arg-type]


# ---- wrong arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("temperature", -0.1, ValueError),
        ("temperature", float("nan"), ValueError),
        ("temperature", float("inf"), ValueError),
        ("temperature", "hot", TypeError),
        ("top_p", 0, ValueError),
        ("top_p", 1.1, ValueError),
        ("top_k", -1, ValueError),
        ("top_k", 1.5, TypeError),
        ("top_k", True, TypeError),
        ("min_p", 1, ValueError),
        ("min_p", -0.1, ValueError),
        ("repeat_penalty", 0, ValueError),
        ("max_tokens", -1, ValueError),
        ("max_tokens", None, TypeError),
        ("seed", -1, ValueError),
        ("seed", 2**64, ValueError),
        ("stop", "", ValueError),
        ("stop", ["a", ""], ValueError),
        ("stop", ["a", 1], TypeError),
        ("stop", 5, TypeError),
        ("logit_bias", {100: 1.0}, ValueError),
        ("logit_bias", {-1: 1.0}, ValueError),
        ("logit_bias", {1: float("nan")}, ValueError),
        ("logit_bias", {1: float("inf")}, ValueError),
        ("logit_bias", {"a": 1.0}, TypeError),
        ("logit_bias", [1], TypeError),
        ("logprobs", 101, ValueError),
        ("temprature", 1, TypeError),
    ],
)
def test_wrong_options_say_what_is_allowed(option, value, error):
    with pytest.raises(error, match=option):
        check_options(100, **{option: value})


def test_right_options():
    options = check_options(
        100, stop="x", seed=2**64 - 1, logit_bias={np.int64(3): -float("inf")}, top_k=np.int32(5)
    )
    assert options.stop == ("x",) and options.seed == 2**64 - 1 and options.logit_bias == ((3, -np.inf),)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"context": 0}, ValueError),
        ({"context": "x"}, TypeError),
        ({"threads": 0}, ValueError),
        ({"threads": 513}, ValueError),
        ({"kv_type": "f64"}, ValueError),
        ({"memory_limit": 0}, ValueError),
        ({"isa": "abacus"}, ValueError),
    ],
)
def test_wrong_model_arguments(options, error):
    with pytest.raises(error, match=next(iter(options))):
        pyedge.Model("never-opened.gguf", **options)


def test_errors_are_one_family():
    for name in ("ModelFileError", "UnsupportedError", "ContextOverflowError", "CancelledError"):
        assert issubclass(getattr(pyedge, name), pyedge.Error)
    assert issubclass(pyedge.OutOfMemoryError, (pyedge.Error, MemoryError))


def test_public_names():
    assert set(pyedge.__all__) <= set(dir(pyedge))
    for name in pyedge.__all__:
        assert getattr(pyedge, name) is not None
    with pytest.raises(AttributeError):
        pyedge.frobnicate  # noqa: B018


def test_import_loads_nothing_heavy():
    code = (
        "import sys, pyedge, pyedge.model; "
        "print([m for m in ('jinja2', 'typer', 'rich', 'huggingface_hub', 'subprocess') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=os.sep
    )
    assert json.loads(said.stdout.replace("'", '"')) == []
