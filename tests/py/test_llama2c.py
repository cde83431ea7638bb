"""Checkpoints of llama2.c: each version equal to a GGUF model, the vocabulary beside them, broken files."""

from __future__ import annotations

import pathlib
import shutil
from dataclasses import replace

import ggufmake as gm
import numpy as np
import pytest
from plainmake import Llama2c, Shape, equal_gguf, tokenizer_bin

import pyedge
from pyedge import _core

IDS = [1, 5, 17, 200, 3, 3, 91, 274, 0, 44, 12, 8, 150]
TEXTS = ["and the hand", "  two  spaces\n", "é 你好 🙂", "the</s>", "", "tand\x00\x01"]


def put(folder: pathlib.Path, data: bytes, vocabulary: bytes | None = None) -> pathlib.Path:
    (folder / "model.bin").write_bytes(data)
    (folder / "tokenizer.bin").write_bytes(tokenizer_bin() if vocabulary is None else vocabulary)
    return folder / "model.bin"


def refused(
    folder: pathlib.Path,
    data: bytes,
    pattern: str,
    kind: type[pyedge.Error] = pyedge.ModelFileError,
    vocabulary: bytes | None = None,
) -> None:
    with pytest.raises(kind, match=pattern) as caught:
        pyedge.Model(put(folder, data, vocabulary))
    assert "model.bin" in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- equal to GGUF -----------------------------------------------------------------------------------------

EQUAL = {
    "version 0": Llama2c(version=0),
    "version 0, tied": Llama2c(Shape(tied=True), version=0),
    "version 1": Llama2c(),
    "version 1, tied": Llama2c(Shape(tied=True)),
    "version 1, uneven widths": Llama2c(Shape(n_embd=48, n_ff=50, n_head=6, n_head_kv=6)),
    "version 2": Llama2c(Shape(n_ff=128), version=2),
    "version 2, tied": Llama2c(Shape(n_ff=128, tied=True), version=2),
    "version 2, groups across rows": Llama2c(version=2),
    "version 2, small groups": Llama2c(version=2, group=8),
}


@pytest.mark.parametrize("case", EQUAL)
def test_equals_gguf(tmp_path: pathlib.Path, case: str) -> None:
    file = EQUAL[case]
    data, weights = file.build()
    (tmp_path / "equal").write_bytes(equal_gguf(file.shape, weights))
    with pyedge.Model(put(tmp_path, data)) as ours, pyedge.Model(tmp_path / "equal") as gguf:
        one, other = ours.logits(IDS), gguf.logits(IDS)
        assert (ours.n_params, ours.vocab_size) == (gguf.n_params, gguf.vocab_size)
        for text in TEXTS:
            assert ours.tokenize(text) == gguf.tokenize(text)
            assert ours.detokenize(ours.tokenize(text)) == gguf.detokenize(gguf.tokenize(text))
    if file.version < 2:
        np.testing.assert_array_equal(one, other)
    else:  # the activations are rounded to 15 bits, where the float model has them whole
        assert np.abs(one - other).max() < 2e-3 * np.abs(other).max()


def test_metadata(tmp_path: pathlib.Path) -> None:
    with pyedge.Model(put(tmp_path, Llama2c(version=2).to_bytes())) as m:
        keys = m.metadata
        assert (m.name, m.arch, m.context_length) == ("model", "llama", 128)
    assert keys["general.source.format"] == "llama2.c version 2 (int8)"
    assert keys["llama.feed_forward_length"] == 96
    assert keys["tokenizer.ggml.model"] == "llama"
    assert keys["tokenizer.ggml.tokens"] == gm.spm_tokens()
    assert keys["tokenizer.ggml.scores"][-1] == -1.0


def test_answers_end_at_either_border(tmp_path: pathlib.Path) -> None:
    with pyedge.Model(put(tmp_path, Llama2c().to_bytes())) as m:
        core = m._opened()
        ends = [id for id in range(m.vocab_size) if core.token_attributes(id) & _core.TOKEN_END]
    assert ends == [1, 2]


# ---- vocabulary --------------------------------------------------------------------------------------------


def test_bytes_as_characters(tmp_path: pathlib.Path) -> None:
    """As the exporter of 2023 wrote them."""
    with pyedge.Model(put(tmp_path, Llama2c().to_bytes(), tokenizer_bin(old=True))) as m:
        assert m.metadata["tokenizer.ggml.tokens"] == gm.spm_tokens()
        assert m.detokenize(m.tokenize("é 🙂")) == m.detokenize([1]) + "é 🙂"


def test_named_vocabulary(tmp_path: pathlib.Path) -> None:
    path = put(tmp_path, Llama2c().to_bytes())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(tmp_path / "tokenizer.bin", elsewhere / "tok275.bin")
    with pyedge.Model(path, tokenizer=elsewhere / "tok275.bin") as m:
        assert m.vocab_size == gm.N_VOCAB["spm"]
    with pytest.raises(pyedge.ModelFileError, match=r"vocabulary is a file of its own.*tokenizer\.bin"):
        pyedge.Model(path)


def test_path_without_a_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, Llama2c().to_bytes())
    monkeypatch.chdir(tmp_path)
    pyedge.Model("model.bin").close()


VOCABULARY_CASES = {
    "none": (b"", r"empty"),
    "its head only": (tokenizer_bin()[:4], r"too few for the 275 tokens"),
    "fewer tokens": (tokenizer_bin(count=270), r"ends after 270 tokens"),
    "cut within a text": (tokenizer_bin()[:-1], r"token 274 takes \d+ bytes but the file has \d+ left"),
    "more tokens": (tokenizer_bin() + bytes(8), r"goes on after the 275 tokens"),
    "a text past its end": (
        tokenizer_bin()[:8] + b"\xff" * 4 + tokenizer_bin()[12:],
        r"token 0 takes 4294967295",
    ),
    "a score that is no number": (tokenizer_bin()[:4] + b"\xff" * 4 + tokenizer_bin()[8:], r"not a number"),
}


@pytest.mark.parametrize("case", VOCABULARY_CASES)
def test_vocabulary(tmp_path: pathlib.Path, case: str) -> None:
    vocabulary, pattern = VOCABULARY_CASES[case]
    refused(tmp_path, Llama2c().to_bytes(), pattern, vocabulary=vocabulary)


# ---- broken files ------------------------------------------------------------------------------------------

HEADER_CASES = {
    "no width": (8, 0, r"width"),
    "negative width": (8, -64, r"width"),
    "wider": (8, 128, r"implies a file of \d+ bytes"),
    "huge but allowed": (12, 2**24, r"implies a file of \d+ bytes"),
    "2^31-1 layers": (16, 2**31 - 1, r"layers"),
    "more layers": (16, 3, r"implies a file of \d+ bytes"),
    "heads that do not divide": (20, 3, r"heads"),
    "no key heads": (24, 0, r"key heads"),
    "negative tokens": (28, -275, r"tokens"),
    "no context": (32, 0, r"positions"),
}


@pytest.mark.parametrize("case", HEADER_CASES)
def test_header(tmp_path: pathlib.Path, case: str) -> None:
    at, value, pattern = HEADER_CASES[case]
    refused(tmp_path, Llama2c().patched(at, value), pattern)


def test_version(tmp_path: pathlib.Path) -> None:
    refused(tmp_path, Llama2c().patched(4, 3), r"offset 4: version 3", pyedge.UnsupportedError)
    refused(tmp_path, Llama2c().patched(4, 0), r"offset 4: version 0")


def test_flag_of_the_output(tmp_path: pathlib.Path) -> None:
    refused(tmp_path, Llama2c().patched(36, 2, "<B"), r"offset 36")
    refused(tmp_path, Llama2c().patched(36, 1, "<B"), r"implies a file of \d+ bytes")


@pytest.mark.parametrize("group", [0, -1, 2**30, 63])
def test_group_size(tmp_path: pathlib.Path, group: int) -> None:
    refused(tmp_path, Llama2c(version=2).patched(37, group), r"group size|implies a file")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_cut_short_or_too_long(tmp_path: pathlib.Path, version: int) -> None:
    data = Llama2c(version=version).to_bytes()
    for wrong in (data[:-1], data[:3000], data + bytes(4)):
        refused(tmp_path, wrong, rf"version {version}, implies a file of {len(data)} bytes, but this one has")
    if version:
        refused(tmp_path, data[:255], r"header takes 256 bytes")


def test_other_files_are_none(tmp_path: pathlib.Path) -> None:
    """Version 0 has no magic number: only numbers that can be a model's make a file one."""
    for data in (b"plain text, longer than a header of seven numbers", bytes(4096), b"\x01\x00\x00\x00" * 6):
        refused(tmp_path, data, r"offset 0: a GGUF file begins")
    uneven = replace(Llama2c(version=0), shape=Shape(n_embd=60, n_head=4))  # heads of 15
    refused(tmp_path, uneven.header() + bytes(5000), r"offset 0: a GGUF file begins")
