"""`pyedge verify`: sound files pass, and each kind of damage is named."""

from __future__ import annotations

import hashlib
import json
import pathlib

import ggufmake
import numpy as np
import pytest
from test_cli import run, succeed

import pyedge
from pyedge import verify
from pyedge.gguf_file import GgufFile


@pytest.fixture
def sound(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(ggufmake.tiny_llama())
    return path


def flip(path: pathlib.Path, tensor: str) -> None:
    """Change the lowest bit of a tensor's last byte but three."""
    at = GgufFile(path).tensors[tensor]
    data = bytearray(path.read_bytes())
    data[at.offset + at.size - 4] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("vocab", list(ggufmake.N_VOCAB))
def test_sound_file(tmp_path: pathlib.Path, vocab: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(ggufmake.tiny_llama(vocab=vocab))
    report = verify.verify(path)
    assert report.problems == [] and report.runs and report.compared == []
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    file = GgufFile(path)
    for check in report.tensors:
        data = file.data(file.tensors[check.name])
        assert check.sha256 == hashlib.sha256(data.tobytes()).hexdigest()
        assert check.least == data.view("<f4").min() and check.most == data.view("<f4").max()


def test_manifest_names_the_tensor_that_changed(sound: pathlib.Path, tmp_path: pathlib.Path) -> None:
    manifest = tmp_path / "manifest.json"
    verify.write_manifest(verify.verify(sound), manifest)
    assert verify.verify(sound, manifest=manifest).problems == []
    flip(sound, "blk.1.ffn_up.weight")
    (problem,) = verify.verify(sound, manifest=manifest).problems
    assert problem == "tensor blk.1.ffn_up.weight changed: its SHA-256 is not that in manifest.json"


def test_manifest_of_other_metadata_or_tensors(sound: pathlib.Path, tmp_path: pathlib.Path) -> None:
    manifest = tmp_path / "manifest.json"
    verify.write_manifest(verify.verify(sound), manifest)
    sound.write_bytes(ggufmake.tiny_llama(keys={"general.name": ggufmake.text("tony")}))
    (problem,) = verify.verify(sound, manifest=manifest).problems
    assert problem == "the tensors are those of manifest.json, but the metadata changed"
    sound.write_bytes(ggufmake.tiny_llama(tensors={"output.weight": None, "x": ggufmake.Tensor.zeros((4,))}))
    problems = verify.verify(sound, manifest=manifest).problems
    assert "tensor output.weight is missing, which manifest.json names" in problems
    assert "tensor x is not in manifest.json" in problems


def test_embedded_digests(sound: pathlib.Path, tmp_path: pathlib.Path) -> None:
    copy = tmp_path / "copy.gguf"
    verify.embed(verify.verify(sound), copy)
    report = verify.verify(copy)
    assert report.problems == [] and report.compared == ["the file's own digests"] and report.runs
    flip(copy, "output_norm.weight")
    (problem,) = verify.verify(copy).problems
    assert problem.startswith("tensor output_norm.weight changed")
    with pytest.raises(ValueError, match="is the source"):
        verify.embed(report, copy)


def test_weights_that_are_no_numbers(sound: pathlib.Path) -> None:
    values = np.ones((96, 64), "<f4")
    values[5, 5], values[7, 7] = np.nan, np.inf
    bad = ggufmake.Tensor((64, 96), values.tobytes())
    sound.write_bytes(ggufmake.tiny_llama(tensors={"blk.0.ffn_gate.weight": bad}))
    problems = verify.verify(sound).problems
    assert "tensor blk.0.ffn_gate.weight has 2 weights that are no finite number" in problems


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"tokenizer.ggml.token_type": ggufmake.Value.array(ggufmake.I32, [1] * 5)},
            "5 entries in token_type",
        ),
        ({"tokenizer.ggml.scores": ggufmake.Value.array(ggufmake.F32, [0.0])}, "1 entries in scores"),
        ({"tokenizer.ggml.eos_token_id": ggufmake.u32(99999)}, "eos_token_id is 99999"),
        ({"tokenizer.ggml.tokens": ggufmake.texts([str(i) for i in range(999)])}, "rows for 999 tokens"),
        ({"llama.block_count": ggufmake.u32(3)}, "cannot be opened"),
    ],
)
def test_contradictions(sound: pathlib.Path, keys: dict[str, ggufmake.Value], message: str) -> None:
    sound.write_bytes(ggufmake.tiny_llama(keys=keys))
    problems = verify.verify(sound).problems
    assert any(message in problem for problem in problems), problems


def test_architecture_that_this_build_does_not_run_is_no_problem(sound: pathlib.Path) -> None:
    sound.write_bytes(ggufmake.tiny_llama(keys={"general.architecture": ggufmake.text("unheard-of")}))
    report = verify.verify(sound)
    assert report.problems == [] and not report.runs and "unheard-of" in report.notes[0]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"tensors": 5}', '{"tensors": {"a": {}}, "sha256": ""}', '{"tensors": {}}']
)
def test_broken_manifest(sound: pathlib.Path, tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(pyedge.Error, match=r"m\.json: no manifest of pyedge"):
        verify.verify(sound, manifest=tmp_path / "m.json")


def test_command(sound: pathlib.Path, tmp_path: pathlib.Path) -> None:
    manifest = tmp_path / "m.json"
    text = succeed("verify", sound, "--write-manifest", manifest, "--tensors", "-q")
    assert "runs here" in text and "output_norm.weight" in text
    assert json.loads(manifest.read_text())["file"] == "model.gguf"
    facts = json.loads(succeed("verify", sound, "--manifest", manifest, "--json", "-q"))
    assert facts["problems"] == [] and facts["compared"] == ["m.json"]
    flip(sound, "blk.0.attn_q.weight")
    done = run("verify", sound, "--manifest", manifest, "-q")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1 and "tensor blk.0.attn_q.weight changed" in done.stderr
    (tmp_path / "bad.gguf").write_bytes(sound.read_bytes()[:5000])
    done = run("verify", tmp_path / "bad.gguf", "-q")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert run("verify", sound, "--manifest", tmp_path / "absent.json", "-q").returncode == 1
