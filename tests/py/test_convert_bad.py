"""`pyedge convert`: folders that lie or lack something, full disks. A clear error, and nothing is left."""

from __future__ import annotations

import errno
import json
import pathlib
import struct
from collections.abc import Callable
from typing import Any

import ggufmake
import hfmake
import numpy as np
import pytest

import pyedge
from pyedge import gguf_file
from pyedge.convert import convert

Q = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"
Change = Callable[[hfmake.Folder], None]


def config(**values: Any) -> Change:
    return lambda folder: folder.config.update(values)


def file(name: str, content: Any) -> Change:
    return lambda folder: folder.files.update({name: content})


def entry(name: str, **changes: Any) -> Change:
    """A header that says something else of a tensor."""

    def change(folder: hfmake.Folder) -> None:
        folder.files["model.safetensors"] = hfmake.safetensors(folder.arrays, entries={name: changes})

    return change


def weights(change: Callable[[bytes], bytes]) -> Change:
    return lambda folder: folder.files.update(
        {"model.safetensors": change(hfmake.safetensors(folder.arrays))}
    )


def arrays(**changes: Any) -> Change:
    """Tensors by name with dots as "__"; None removes one."""

    def change(folder: hfmake.Folder) -> None:
        for name, x in changes.items():
            name = name.replace("__", ".")
            if x is None:
                del folder.arrays[name]
            else:
                folder.arrays[name] = x

    return change


def tokenizer(**values: Any) -> Change:
    return lambda folder: folder.files["tokenizer.json"].update(values)


def model(**values: Any) -> Change:
    return lambda folder: folder.files["tokenizer.json"]["model"].update(values)


def header(length: int) -> bytes:
    return struct.pack("<Q", length)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


NESTED = b"[" * 200_000 + b"]" * 200_000
TEMPLATE_BOMB = {"chat_template": "x" * (2 << 20)}
UNKNOWN_SPLIT = {"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Isolated", "invert": False}
UNIGRAM = hfmake.sentencepiece([("<unk>", 0.0, 2), ("a", -1.0, 1)], kind=1)
CASES: dict[str, tuple[Change, str]] = {
    # config.json
    "no config": (file("config.json", None), "there is no config.json"),
    "config is no JSON": (file("config.json", b"{"), "config.json: no sound JSON"),
    "config is a list": (file("config.json", b"[]"), "config.json: it is no JSON object"),
    "config nested": (file("config.json", NESTED), "lists within lists"),
    "config with a giant number": (file("config.json", b'{"a": ' + b"9" * 9999 + b"}"), "no sound JSON"),
    "config twice a name": (file("config.json", b'{"a": 1, "a": 2}'), "'a' is there twice"),
    "unknown architecture": (
        config(architectures=["MambaForCausalLM"]),
        "'MambaForCausalLM' cannot be converted; these can: .*LlamaForCausalLM",
    ),
    "number missing": (config(hidden_size=None), "hidden_size is missing"),
    "number is text": (config(hidden_size="64"), "hidden_size is '64'; expected a whole number"),
    "number negative": (config(num_hidden_layers=-1), "num_hidden_layers is '-1'"),
    "number enormous": (config(num_attention_heads=1 << 40), "num_attention_heads"),
    "heads do not divide": (config(num_key_value_heads=3), "num_key_value_heads is '3'; expected a divisor"),
    "epsilon is infinite": (config(rms_norm_eps=float("inf")), "rms_norm_eps is 'inf'"),
    "unknown activation": (config(hidden_act="relu"), "hidden_act is 'relu'"),
    "unknown rope": (config(rope_scaling={"type": "ntk"}), "rope_type is 'ntk'"),
    "rope type is a list": (config(rope_scaling={"type": []}, rope_theta=[]), "rope_theta|rope_parameters"),
    "quantised": (config(quantization_config={"bits": 4}), "convert the original"),
    # safetensors
    "no weights": (file("model.safetensors", b""), "no safetensors file"),
    "header beyond the end": (weights(lambda data: header(1 << 40) + data[8:]), "a header of 1099511627776"),
    "header is no JSON": (weights(lambda data: data[:8] + b"x" + data[9:]), "its header: no sound JSON"),
    "header nested": (file("model.safetensors", header(len(NESTED)) + NESTED), "lists within lists"),
    "cut short": (weights(lambda data: data[:-10]), "it lies at .* of the"),
    "bytes after the end": (weights(lambda data: data + b"\0"), "1 bytes after the last tensor"),
    "offset beyond the end": (entry(NORM, data_offsets=[0, 1 << 50]), "'model.norm.weight': it lies at"),
    "offsets backwards": (entry(NORM, data_offsets=[256, 0]), "it lies at 256 to 0"),
    "offsets negative": (entry(NORM, data_offsets=[-256, 0]), "are no two numbers"),
    "overlap": (entry(NORM, data_offsets=[0, 256]), "overlaps another|before it unused"),
    "shape does not fit": (entry(NORM, shape=[65]), r"F32 \[65\] takes 260 bytes, and it has 256"),
    "shape overflows": (entry(NORM, shape=[1 << 40, 1 << 40, 1 << 40]), "takes .* bytes, and it has 256"),
    "dtype unknown": (entry(NORM, dtype="F31"), "unknown dtype 'F31'"),
    "dtype lies": (entry(NORM, dtype="F16"), r"F16 \[64\] takes 128 bytes, and it has 256"),
    "dtype of no weights": (entry(NORM, dtype="I32"), "has the type I32, which cannot be converted"),
    # tensors
    "tensor missing": (arrays(model__norm__weight=None), "'model.norm.weight' is missing; llama needs it"),
    "tensor of another shape": (
        arrays(model__norm__weight=zeros(32)),
        r"'model.norm.weight' has the shape \[32\]; by config.json it would be \[64\]",
    ),
    "vocabulary larger than the config's": (config(vocab_size=100), "has the shape"),
    "tensor without a place": (
        arrays(model__layers__2__extra=zeros(4)),
        "'model.layers.2.extra' has no place",
    ),
    "vector with a second dimension": (arrays(model__norm__weight=zeros(64, 1)), "has the shape"),
    # tokenizer
    "no tokenizer": (file("tokenizer.json", None), "no sound tokenizer.json and no tokenizer.model"),
    "tokenizer.model is none": (
        lambda folder: folder.files.update({"tokenizer.json": None, "tokenizer.model": b"\xff" * 40}),
        "no SentencePiece model",
    ),
    "unigram": (file("tokenizer.model", UNIGRAM), "a unigram model"),
    "characters replaced": (
        file("tokenizer.model", hfmake.sentencepiece([("a", 0.0, 1)], charsmap=b"x")),
        "replaces characters",
    ),
    "word pieces": (model(type="WordPiece"), "a tokenizer of the type 'WordPiece'"),
    "unknown pre-tokeniser": (tokenizer(pre_tokenizer=UNKNOWN_SPLIT), "--pretokenizer NAME"),
    "sections of the wrong kind": (
        tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": 5}),
        "--pretokenizer NAME",
    ),
    "unknown normaliser": (tokenizer(normalizer={"type": "Lowercase"}), "normalizer"),
    "vocabulary is a list": (model(vocab=[]), "model.vocab is no object of ids"),
    "one id twice": (model(vocab={"a": 5, "b": 5}), "one id to two tokens"),
    "id beyond the vocabulary": (model(vocab={"a": 5000}), "has the id 5000"),
    "merges are missing": (model(merges=None), "model.merges has 'None'"),
    "merges are numbers": (model(merges=[1]), "model.merges has '1'"),
    "template of the wrong kind": (file("tokenizer_config.json", {"chat_template": 5}), "chat template"),
    "template too long": (file("tokenizer_config.json", TEMPLATE_BOMB), "chat template"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_folders(tmp_path: pathlib.Path, case: str) -> None:
    change, message = CASES[case]
    folder = hfmake.llama()
    change(folder)
    source = folder.write(tmp_path / "model")
    with pytest.raises(pyedge.Error, match=message) as caught:
        convert(source, tmp_path / "out.gguf")
    assert str(tmp_path) in str(caught.value) and len(str(caught.value)) < 2000
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def index(change: Callable[[dict[str, str]], None]) -> Callable[[pathlib.Path], None]:
    def rewrite(path: pathlib.Path) -> None:
        found = json.loads((path / "model.safetensors.index.json").read_text())
        change(found["weight_map"])
        (path / "model.safetensors.index.json").write_text(json.dumps(found))

    return rewrite


INDEX_CASES: dict[str, tuple[Callable[[pathlib.Path], None], str]] = {
    "shard missing": (
        lambda path: (path / "model-00002-of-00002.safetensors").unlink(),
        "the shard 'model-00002-of-00002.safetensors' that the index names is missing",
    ),
    "path upwards": (
        index(lambda names: names.update({Q: "../secret.safetensors"})),
        "no file of this folder",
    ),
    "path from the root": (index(lambda names: names.update({Q: "/etc/passwd"})), "no file of this folder"),
    "not a name": (index(lambda names: names.update({Q: 5})), "no file of this folder"),  # type: ignore[dict-item]
    "tensor in no shard": (
        index(lambda names: names.update({"x": "model-00001-of-00002.safetensors"})),
        "tensor 'x' is missing, which the index says is there",
    ),
    "nothing": (index(lambda names: names.clear()), "weight_map"),
    "nested without end": (
        lambda path: (path / "model.safetensors.index.json").write_bytes(NESTED),
        "lists within lists",
    ),
    "one tensor in two places": (
        lambda path: (path / "model.safetensors.index.json").write_bytes(
            b'{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}'
        ),
        "'a' is there twice",
    ),
    "path with a null byte": (
        index(lambda names: names.update({Q: "model\0.safetensors"})),
        "that the index names is missing",
    ),
    "a folder in place of a shard": (
        index(lambda names: names.update({Q: "."})),
        "no file of this folder",
    ),
    "tensor in two shards": (
        lambda path: (path / "model-00002-of-00002.safetensors").write_bytes(
            (path / "model-00001-of-00002.safetensors").read_bytes()
        ),
        "is missing|in another shard too",
    ),
}


@pytest.mark.parametrize("case", INDEX_CASES)
def test_bad_indexes(tmp_path: pathlib.Path, case: str) -> None:
    change, message = INDEX_CASES[case]
    source = hfmake.llama().write(tmp_path / "model", shards=2)
    (tmp_path / "secret.safetensors").write_bytes(hfmake.safetensors({Q: zeros(64, 64)}))
    change(source)
    with pytest.raises(pyedge.ModelFileError, match=message):
        convert(source, tmp_path / "out.gguf")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "secret.safetensors"}


def test_json_bomb(tmp_path: pathlib.Path) -> None:
    source = hfmake.llama().write(tmp_path / "model")
    with open(source / "tokenizer.json", "r+b") as bomb:
        bomb.truncate(1 << 32)  # takes no room on the disk
    with pytest.raises(pyedge.ModelFileError, match=r"tokenizer\.json: 4294967296 bytes are too many"):
        convert(source, tmp_path / "out.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_number_that_f16_cannot_hold(tmp_path: pathlib.Path) -> None:
    folder = hfmake.llama(dtype="BF16")
    folder.arrays[Q] = np.full((64, 64), 1e6, np.float32)
    source = folder.write(tmp_path / "model")
    with pytest.raises(pyedge.ModelFileError, match=f"tensor '{Q}': row 0, column 0 .* F16 cannot hold"):
        convert(source, tmp_path / "out.gguf", "f16")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_file_that_becomes_shorter(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = hfmake.llama().write(tmp_path / "model")
    real = gguf_file.os.fdopen

    def cut(*arguments: Any) -> Any:
        (source / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:5000])
        return real(*arguments)

    monkeypatch.setattr(gguf_file.os, "fdopen", cut)
    with pytest.raises(pyedge.ModelFileError, match="became shorter"):
        convert(source, tmp_path / "out.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


class _Full:
    """A file on a disk with little room."""

    def __init__(self, file: Any) -> None:
        self._file, self._room = file, 100_000

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self._file.write(data))

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def test_interrupt_leaves_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = hfmake.llama().write(tmp_path / "model")

    def interrupted(*arguments: Any) -> Any:
        assert [path.name for path in tmp_path.iterdir() if path.name != "model"], "the work has begun"
        raise KeyboardInterrupt

    monkeypatch.setattr("pyedge.convert.folder.read_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_full_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = hfmake.llama().write(tmp_path / "model")
    (tmp_path / "out.gguf").write_text("what was there before")
    real = gguf_file.os.fdopen
    monkeypatch.setattr(gguf_file.os, "fdopen", lambda *a: _Full(real(*a)))
    with pytest.raises(pyedge.Error, match="the disk is full"):
        convert(source, tmp_path / "out.gguf")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "out.gguf"}
    assert (tmp_path / "out.gguf").read_text() == "what was there before"


def test_wrong_arguments(tmp_path: pathlib.Path) -> None:
    source = hfmake.llama().write(tmp_path / "model")
    with pytest.raises(ValueError, match="unknown type 'q4'"):
        convert(source, tmp_path / "out.gguf", "q4")
    with pytest.raises(ValueError, match="is a file of the source"):
        convert(source, source / "model.safetensors")
    with pytest.raises(pyedge.Error, match="there is no folder"):
        convert(source, tmp_path / "nowhere" / "out.gguf")
    with pytest.raises(pyedge.ModelFileError, match="there is no such folder"):
        convert(tmp_path / "nothing", tmp_path / "out.gguf")


def test_pretokenizer_by_name(tmp_path: pathlib.Path) -> None:
    folder = hfmake.llama()
    tokenizer(pre_tokenizer=UNKNOWN_SPLIT)(folder)
    convert(folder.write(tmp_path / "model"), tmp_path / "out.gguf", pretokenizer="smollm")
    expected = tmp_path / "expected.gguf"
    expected.write_bytes(ggufmake.tiny_llama())
    with pyedge.Model(str(expected)) as a, pyedge.Model(str(tmp_path / "out.gguf")) as b:
        assert a.tokenize("the 123") == b.tokenize("the 123")
