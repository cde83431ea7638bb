"""`pyedge convert` of files of Nano and llama2.c: the same tensors, tokens, logits; types; broken files."""

from __future__ import annotations

import pathlib
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import test_llama2c
import test_nano
from plainmake import Q4K, Q80, Llama2c, Nano, Shape, Weights, nano_tokens, nano_vocabulary
from test_cli import run, succeed
from test_convert import values

import pyedge
from pyedge import gguf_file
from pyedge.convert import convert
from pyedge.gguf_file import GgufFile

File = Nano | Llama2c
CASES: dict[str, File] = {
    **{f"nano: {name}": file for name, file in test_nano.EQUAL.items()},
    **{f"llama2.c: {name}": file for name, file in test_llama2c.EQUAL.items()},
}
Q4K_FILE = test_nano.EQUAL["Q4K, whole blocks"]
TEXTS = (
    *("the abcd\n", "  two  spaces ", "你好, 🙂🙂", "é ∀ unknown \x00", "<|eos|>the<|padding|>", "ab<|instr"),
    *("a very long token 1", "thhat", "</s> the <s>", ""),
)


def put(folder: pathlib.Path, file: File) -> tuple[pathlib.Path, Weights]:
    data, weights = file.build()
    return test_llama2c.put(folder, data), weights


@pytest.mark.parametrize("case", CASES)
def test_same_tensors_tokens_and_logits(tmp_path: pathlib.Path, case: str) -> None:
    source, weights = put(tmp_path, CASES[case])
    report = convert(source, tmp_path / "out.gguf")
    assert (report.arch, set(report.types)) == ("llama", {"F32"})
    found = GgufFile(tmp_path / "out.gguf")
    assert set(found.tensors) == set(weights)
    for name, x in weights.items():
        assert np.array_equal(values(found, name).reshape(x.shape), x), name
    with (
        pyedge.Model(source, kv_type="f32") as original,
        pyedge.Model(tmp_path / "out.gguf", kv_type="f32") as made,
    ):
        for text in TEXTS:
            for parse in (False, True):
                ids = original.tokenize(text, parse_special=parse)
                assert made.tokenize(text, parse_special=parse) == ids
                assert made.detokenize(ids) == original.detokenize(ids)
        for key in ("vocab_size", "context_length", "n_params"):
            assert getattr(made, key) == getattr(original, key)
        assert made.name == "model"
        one, other = original.logits(test_nano.IDS), made.logits(test_nano.IDS)
        for key, value in original.metadata.items():
            if key.startswith(("llama.", "tokenizer.chat")) or key.endswith("_token_id"):
                assert made.metadata[key] == value, key
    if CASES[case] in (Nano(), Llama2c()):
        np.testing.assert_array_equal(one, other)
    else:  # the activations are rounded to 15 bits, where the float model has them whole
        assert np.abs(one - other).max() <= 2e-4 * np.abs(one).max()


def test_references(refs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for kind in ("f32", "q80", "q4k"):
        source = refs / "nano" / f"base_{kind}.bin"
        convert(source, tmp_path / "out.gguf")
        with (
            pyedge.Model(source, kv_type="f32") as original,
            pyedge.Model(tmp_path / "out.gguf", kv_type="f32") as made,
        ):
            ids = original.tokenize("你好，世界 hello 🙂", parse_special=True)
            assert made.tokenize("你好，世界 hello 🙂", parse_special=True) == ids
            one, other = original.logits(ids), made.logits(ids)
            assert np.abs(one - other).max() <= 1e-4 * np.abs(one).max()
            asked = [{"role": "user", "content": "你好"}]
            assert made.apply_chat_template(asked) == original.apply_chat_template(asked)


@pytest.mark.parametrize(
    ("file", "type", "matrix", "bound"),
    [
        (CASES["nano: floats"], "f16", "F16", 2**-11),
        (CASES["nano: floats"], "q8_0", "Q8_0", 2**-7),
        (CASES["nano: Q80"], "f16", "F16", 2**-11),
        (CASES["nano: Q80"], "q8_0", "Q8_0", 2**-11),  # the integers stay, the scales are rounded
        (CASES["nano: Q80, small groups"], "q8_0", "Q8_0", 2**-7),
        (Q4K_FILE, "q4_k", "Q4_K", 2**-10),
        (CASES["llama2.c: version 1"], "bf16", "BF16", 2**-8),
        (CASES["llama2.c: version 2"], "q8_0", "Q8_0", 2**-11),
    ],
)
def test_types(tmp_path: pathlib.Path, file: File, type: str, matrix: str, bound: float) -> None:
    source, weights = put(tmp_path, file)
    convert(source, tmp_path / "out.gguf", type)
    found = GgufFile(tmp_path / "out.gguf")
    for name, x in weights.items():
        assert found.tensors[name].type_name == (matrix if x.ndim > 1 else "F32")
        assert np.abs(values(found, name).reshape(x.shape) - x).max() <= bound * np.abs(x).max(), name


def test_rows_that_are_no_whole_blocks_become_f16(tmp_path: pathlib.Path) -> None:
    source, _ = put(tmp_path, Nano(replace(test_nano.WIDE, tied=True), Q4K))
    report = convert(source, tmp_path / "out.gguf", "q4_k")
    assert report.types == {"F32": 5, "F16": 13, "Q4_K": 2}


def test_vocabulary_beside_or_by_name(tmp_path: pathlib.Path) -> None:
    source, _ = put(tmp_path, Llama2c())
    (tmp_path / "tokenizer.bin").rename(tmp_path / "other.bin")
    with pytest.raises(pyedge.ModelFileError, match=r"tokenizer\.bin"):
        convert(source, tmp_path / "out.gguf")
    text = succeed("convert", source, tmp_path / "out.gguf", "--tokenizer", tmp_path / "other.bin", "-q")
    assert "llama" in text and "F32" in text


MEASURE = """
import resource, sys
from pyedge.convert import convert
unit = 1 if sys.platform == "darwin" else 1024
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
convert(sys.argv[1], sys.argv[2])  # what is loaded once
before = peak()
convert(sys.argv[3], sys.argv[2])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_memory_stays_below_two_of_the_largest_tensors(tmp_path: pathlib.Path, version: int) -> None:
    (tmp_path / "small").mkdir()
    small, _ = put(tmp_path / "small", Llama2c(Shape(), version))
    source, weights = put(tmp_path, Llama2c(Shape(n_layer=4, n_embd=256, n_ff=24576), version))
    largest = max(x.nbytes for x in weights.values())
    arguments = [sys.executable, "-c", MEASURE, str(small), str(tmp_path / "out.gguf"), str(source)]
    measured = int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    assert largest > 25e6 and measured < 2 * largest, (measured, largest)


# ---- broken files ------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[bytes, str]] = {
    "cut short": (Nano().to_bytes()[:-5], "implies a file of"),
    "longer": (Llama2c().to_bytes() + b"\0", "implies a file of"),
    "huge width": (Nano().patched(36, 1 << 31), "the width must be"),
    "huge layers": (Llama2c().patched(16, 1 << 20), "layers"),
    "vocabulary past the end": (Nano().patched(256, 0xFFFFFFFF), "vocabulary"),
    "group of nothing": (Nano(quant=Q80, group=32).patched(64, 0), "group size"),
    "unknown weights": (Nano().patched(60, 7), "weights of kind 0x7"),
    "an adapter": (Nano(arch=10).to_bytes(), "adapter"),
    "a GGUF file": (b"GGUF" + bytes(100), "GGUF file already"),
    "no model": (b"\x89PNG\r\n\x1a\n" * 40, "model.bin"),
    "empty": (b"", "model.bin"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(tmp_path: pathlib.Path, case: str) -> None:
    data, message = BROKEN[case]
    source = test_llama2c.put(tmp_path, data)
    with pytest.raises(pyedge.Error, match=message) as caught:
        convert(source, tmp_path / "out.gguf")
    assert str(source) in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"model.bin", "tokenizer.bin"}


def test_scale_that_halves_cannot_hold(tmp_path: pathlib.Path) -> None:
    file = Llama2c(version=2)
    data = bytearray(file.to_bytes())
    norms = 4 * (2 * file.shape.n_layer + 1) * file.shape.n_embd
    n = len(nano_tokens()) * file.shape.n_embd
    struct.pack_into("<f", data, 256 + norms + n, 1e6)
    source = test_llama2c.put(tmp_path, bytes(data))
    with pytest.raises(pyedge.ModelFileError, match=r"token_embd\.weight.*F16 cannot hold"):
        convert(source, tmp_path / "out.gguf", "q8_0")
    assert {path.name for path in tmp_path.iterdir()} == {"model.bin", "tokenizer.bin"}
    convert(source, tmp_path / "out.gguf")


def test_character_that_stands_for_a_space(tmp_path: pathlib.Path) -> None:
    tokens = [token if token != "ab" else "▁b" for token in nano_tokens()]
    source, _ = put(tmp_path, Nano(vocabulary=nano_vocabulary(tokens)))
    with pytest.raises(pyedge.UnsupportedError, match=r"U\+2581"):
        convert(source, tmp_path / "out.gguf")


def test_file_that_becomes_shorter(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = put(tmp_path, Llama2c(version=2))
    real = gguf_file.os.fdopen

    def cut(*arguments: object) -> object:
        source.write_bytes(source.read_bytes()[:5000])
        return real(*arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(gguf_file.os, "fdopen", cut)
    with pytest.raises(pyedge.ModelFileError, match="became shorter"):
        convert(source, tmp_path / "out.gguf")
    assert {path.name for path in tmp_path.iterdir()} == {"model.bin", "tokenizer.bin"}


def test_wrong_arguments(tmp_path: pathlib.Path) -> None:
    source, _ = put(tmp_path, Nano())
    with pytest.raises(ValueError, match="Q4_K is for Nano files of Q4K"):
        convert(source, tmp_path / "out.gguf", "q4_k")
    with pytest.raises(ValueError, match="no pre-tokeniser"):
        convert(source, tmp_path / "out.gguf", pretokenizer="smollm")
    with pytest.raises(ValueError, match="is a file of the source"):
        convert(source, source)
    with pytest.raises(ValueError, match="files of llama2"):
        convert(tmp_path, tmp_path / "out.gguf", tokenizer=tmp_path / "tokenizer.bin")
    with pytest.raises(ValueError, match="Nano's files bring theirs"):
        convert(source, tmp_path / "out.gguf", tokenizer=tmp_path / "tokenizer.bin")
    failed = run("convert", source, tmp_path / "out.gguf", "--type", "q4_k")
    assert failed.returncode == 2 and "Q4_K" in failed.stderr


def test_model_without_its_weights_makes_no_session(tmp_path: pathlib.Path) -> None:
    from pyedge import _core

    source, _ = put(tmp_path, Nano(quant=Q80, group=32))
    model = _core.Model(source, no_weights=True)
    assert model.info()["n_layer"] == 2
    with pytest.raises(ValueError, match="without its weights"):
        _core.Session(model, n_ctx=0, n_threads=1, kv_type="f16", isa=None, memory_limit=0)
