"""Importance matrices from a text: what is summed, that it changes nothing, and the command."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import arch_models as am
import gguf
import numpy as np
import pytest

import pyedge
from pyedge import imatrix
from pyedge.quantize import quantize

TEXT = "the cat sat on the mat, and then it went away again. " * 30


@pytest.fixture(params=["llama", "phi3", "qwen3moe", "lfm2", "falcon"])
def case(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> tuple[str, pathlib.Path]:
    path = tmp_path / "model.gguf"
    path.write_bytes(am.CASES[request.param].file().to_bytes())
    return request.param, path


def collect(path: pathlib.Path, text: str = TEXT, threads: int = 1, **options: object) -> imatrix.Imatrix:
    with pyedge.Model(path, threads=threads, kv_type="f32") as model:
        return imatrix.collect(model, text, context=50, **options)  # type: ignore[arg-type]


def test_every_matrix_sees_every_token(case: tuple[str, pathlib.Path]) -> None:
    name, path = case
    found = collect(path, output=True)
    tokens = found.chunk_count * found.chunk_size
    assert tokens > 300
    assert found.chunk_size == 50
    weights = am.CASES[name].weights()
    stacks = {tensor for tensor in weights if tensor.endswith("_exps.weight")}
    kept = ("_norm", "conv.conv")
    matrices = {
        tensor for tensor, value in weights.items() if value.ndim == 2 and not any(k in tensor for k in kept)
    }
    if am.CASES[name].outside:
        matrices.discard("token_embd.weight")
    assert set(found.sums) == matrices | stacks
    for tensor, counts in found.counts.items():
        if tensor in stacks:
            assert counts.shape == (am.EXPERTS,)
            assert counts.sum() == am.EXPERTS_USED * tokens
        else:
            assert counts.tolist() == [tokens]
        assert found.sums[tensor].shape == (counts.size, weights[tensor].shape[-1])


def test_sums_are_those_of_the_definition(tmp_path: pathlib.Path) -> None:
    """Inputs that are known without a forward pass: the first norm of the embeddings."""
    case = am.CASES["llama"]
    path = tmp_path / "model.gguf"
    path.write_bytes(case.file().to_bytes())
    weights = case.weights()
    found = collect(path)
    with pyedge.Model(path) as model:
        ids = np.array(model.tokenize(TEXT))[: found.chunk_count * 50].reshape(-1, 50)
        if (bos := model._first_token()) is not None:
            ids[:, 0] = bos
    x = weights["token_embd.weight"][ids.ravel()].astype(np.float64)
    x *= weights["blk.0.attn_norm.weight"] / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)
    for part in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(found.sums[f"blk.0.{part}.weight"][0], (x**2).sum(axis=0), rtol=1e-4)


def test_sums_depend_on_nothing_else(case: tuple[str, pathlib.Path]) -> None:
    name, path = case
    one, two = collect(path), collect(path, threads=2)
    assert all(np.array_equal(one.sums[tensor], two.sums[tensor]) for tensor in one.sums)
    ids = am.ids_of(name)
    with pyedge.Model(path) as model:
        plain, summing = model._new_core_session(), model._new_core_session()
        assert summing.collected() == {}
        summing.collect(True)
        assert summing.logits(ids).tobytes() == plain.logits(ids).tobytes()
        by_chunk = summing.collected()
        assert by_chunk
        summing.rewind(0)
        summing.collect(True)  # from zero
        for id in ids:
            summing.advance([id])
        for tensor, (sums, counts) in summing.collected().items():
            if tensor in ("output.weight", "token_embd.weight"):
                continue
            assert counts.tolist() == by_chunk[tensor][1].tolist()
            assert np.array_equal(sums, by_chunk[tensor][0]), tensor
        assert summing.fork().collected() == {}
        summing.collect(False)
        assert summing.collected() == {}


def test_two_texts_add_up(case: tuple[str, pathlib.Path]) -> None:
    _, path = case
    whole = collect(path, dataset="a")
    again = imatrix.add(whole, collect(path, chunks=2, dataset="b"))
    assert again.datasets == ("a", "b")
    assert again.chunk_count == whole.chunk_count + 2
    assert set(again.counts) == set(whole.counts)
    first = collect(path, chunks=2)
    for tensor in whole.sums:
        np.testing.assert_allclose(again.sums[tensor], whole.sums[tensor] + first.sums[tensor], rtol=1e-6)


def test_matrices_of_different_models_do_not_add_up() -> None:
    one = imatrix.Imatrix({"a": np.ones((1, 4), np.float32)}, {"a": np.ones(1, np.float32)})
    two = imatrix.Imatrix({"a": np.ones((1, 5), np.float32)}, {"a": np.ones(1, np.float32)})
    with pytest.raises(pyedge.ModelFileError, match="different models"):
        imatrix.add(one, two)


def test_the_gguf_package_reads_what_is_written(tmp_path: pathlib.Path) -> None:
    """Keys, shapes and types as llama.cpp's tools ask for them: llama-quantize takes such files."""
    rng = np.random.default_rng(1)
    sums = {
        "blk.0.attn_q.weight": rng.random((1, 64), np.float32),
        "blk.0.ffn_up_exps.weight": rng.random((4, 96), np.float32),
    }
    counts = {name: np.arange(1, len(rows) + 1, dtype=np.float32) * 50 for name, rows in sums.items()}
    imatrix.save(tmp_path / "i.gguf", imatrix.Imatrix(sums, counts, ["a.txt", "b.txt"], 7, 512))
    reader = gguf.GGUFReader(tmp_path / "i.gguf")
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    values = {name: field.contents() for name, field in fields.items()}
    assert values == {
        "general.type": "imatrix",
        "imatrix.datasets": ["a.txt", "b.txt"],
        "imatrix.chunk_count": 7,
        "imatrix.chunk_size": 512,
    }
    for name in ("imatrix.chunk_count", "imatrix.chunk_size"):
        assert reader.fields[name].types == [gguf.GGUFValueType.UINT32]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == 4
    for name, rows in sums.items():
        squares, inputs = tensors[f"{name}.in_sum2"], tensors[f"{name}.counts"]
        assert squares.tensor_type == inputs.tensor_type == gguf.GGMLQuantizationType.F32
        assert squares.shape.tolist() == [rows.shape[1], rows.shape[0]]
        assert inputs.shape.tolist() == [1, rows.shape[0]]
        np.testing.assert_array_equal(squares.data.reshape(rows.shape), rows)
        np.testing.assert_array_equal(inputs.data.ravel(), counts[name])


def test_files_of_the_gguf_package_are_read(tmp_path: pathlib.Path) -> None:
    """As llama-imatrix writes them: keys in another order and of other widths, padding, names of any kind."""
    sums = np.random.default_rng(2).random((3, 64), np.float32)
    writer = gguf.GGUFWriter(tmp_path / "i.gguf", arch="", use_temp_file=False)
    writer.kv_data[0].pop("general.architecture", None)
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["calibration.txt"])
    writer.add_uint32("imatrix.chunk_count", 5)
    writer.add_uint32("imatrix.chunk_size", 512)
    writer.add_tensor("blk.1.ffn_down_exps.weight.counts", np.array([[2560], [0], [10]], np.float32))
    writer.add_tensor("blk.1.ffn_down_exps.weight.in_sum2", sums)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = imatrix.load(tmp_path / "i.gguf")
    assert (found.datasets, found.chunk_count, found.chunk_size) == (("calibration.txt",), 5, 512)
    importance = found.importance("blk.1.ffn_down_exps.weight", 64, 3)
    np.testing.assert_allclose(importance, sums / np.array([[2560], [1], [10]], np.float32), rtol=1e-6)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyedge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=os.sep, timeout=300)


def test_command(tmp_path: pathlib.Path, refs: pathlib.Path) -> None:
    """From a text to a file of a type that needs the matrix."""
    model, text, out = refs / "models" / "llama.f16.gguf", tmp_path / "text.txt", tmp_path / "i.gguf"
    text.write_text(TEXT)
    done = run("imatrix", model, text, "-o", out, "-c", 64, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["tokens"] == facts["chunks"] * 64
    assert f"of {facts['chunks']} chunks" in done.stderr
    made = imatrix.load(out)
    assert made.datasets == ("text.txt",)
    assert made.chunk_count == facts["chunks"]
    assert len(made.sums) == facts["matrices"]
    done = run("imatrix", model, text, "-o", out, "-c", 64, "--add", out, "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert imatrix.load(out).chunk_count == 2 * facts["chunks"]
    small = tmp_path / "small.gguf"
    done = run("quantize", model, small, "--type", "IQ2_XXS", "--imatrix", out, "-q")
    assert done.returncode == 0, done.stderr
    with pyedge.Model(small) as opened:
        assert np.isfinite(opened.logits([1, 2, 3])).all()


@pytest.mark.parametrize("mix", ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"])
def test_types_of_few_bits_ask_for_the_matrix(refs: pathlib.Path, tmp_path: pathlib.Path, mix: str) -> None:
    with pytest.raises(ValueError, match=r"needs an importance matrix.*pyedge imatrix MODEL TEXT"):
        quantize(refs / "models" / "llama.f16.gguf", tmp_path / "out.gguf", mix)
    assert list(tmp_path.iterdir()) == []


def test_text_of_nothing(case: tuple[str, pathlib.Path]) -> None:
    with pytest.raises(ValueError, match="at least 2 tokens"):
        collect(case[1], "")
