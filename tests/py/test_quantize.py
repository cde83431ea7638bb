"""`pyedge quantize`: which tensor gets which type, what the new file holds, that failures leave nothing."""

from __future__ import annotations

import errno
import json
import pathlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import ggufmake
import numpy as np
import pytest
from test_cli import run, succeed

import pyedge
from pyedge import _core, gguf_file, imatrix, mixes
from pyedge.gguf_file import GgufFile
from pyedge.quantize import quantize

NAMES = {number: name for number, (name, _, _) in _core.types().items()}
MADE = {name for number, name in NAMES.items() if _core.can_quantize(number)}
Q8_0 = next(number for number, name in NAMES.items() if name == "Q8_0")


@pytest.fixture(scope="module")
def llama(refs: pathlib.Path) -> pathlib.Path:
    return refs / "models" / "llama.f16.gguf"


@pytest.fixture
def small(tmp_path: pathlib.Path) -> pathlib.Path:
    """A llama whose rows are 64 and 96 wide: too short for the K types."""
    path = tmp_path / "small.gguf"
    path.write_bytes(ggufmake.tiny_llama())
    return path


def types_of(path: pathlib.Path) -> dict[str, str]:
    return {name: tensor.type_name for name, tensor in GgufFile(path).tensors.items()}


def values_of(path: pathlib.Path, name: str) -> np.ndarray:
    file = GgufFile(path)
    tensor = file.tensors[name]
    return _core.dequantize(tensor.type, file.data(tensor), tensor.n).reshape(tensor.dims[::-1])


def leftovers(folder: pathlib.Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# ---- mixes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mix", [name for name in mixes.MIXES if mixes.MIXES[name][0] not in ("F32", "F16", "BF16")]
)
def test_types_are_those_of_the_reference_files(
    refs: pathlib.Path, llama: pathlib.Path, tmp_path: pathlib.Path, mix: str
) -> None:
    """The reference files were made with an importance matrix, which some rules ask for."""
    reference = refs / "quant" / "llama" / f"llama.{mix}.gguf"
    expected = types_of(reference)
    if not set(expected.values()) <= MADE:
        pytest.skip(f"{mix} needs {sorted(set(expected.values()) - MADE)}, which this build does not make")
    file = GgufFile(llama)
    ones = {name: np.ones((1, tensor.n_per_row), np.float32) for name, tensor in file.tensors.items()}
    counts = {name: np.ones(1, np.float32) for name in ones}
    imatrix.save(tmp_path / "imatrix.gguf", imatrix.Imatrix(ones, counts))
    quantize(llama, tmp_path / "out.gguf", mix, imatrix=tmp_path / "imatrix.gguf")
    assert types_of(tmp_path / "out.gguf") == expected
    assert GgufFile(tmp_path / "out.gguf").get("general.file_type") == GgufFile(reference).get(
        "general.file_type"
    )


def test_layers_that_get_more_bits() -> None:
    shape = mixes.Shape(arch="llama", n_gqa=1, n_expert=0, tied=False, imatrix=False)
    names = [f"blk.{i}.{part}.weight" for i in range(32) for part in ("attn_v", "ffn_down", "ffn_up")]
    mix = mixes.Mix("q4_k_m", shape, names)
    better = [i for i in range(32) if mix.choose(f"blk.{i}.ffn_down.weight", 2) == "Q6_K"]
    assert better == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    assert {mix.choose(f"blk.{i}.ffn_up.weight", 2) for i in range(32)} == {"Q4_K"}
    assert mix.choose("output.weight", 2) == "Q6_K"


@pytest.mark.parametrize(
    ("mix", "rows", "expected"),
    [
        ("Q4_K_M", "token_embd", "Q5_0"),
        ("Q5_K_S", "token_embd", "Q5_1"),
        ("Q6_K", "token_embd", "Q8_0"),
        ("Q2_K", "ffn_up", "Q4_0"),
        ("IQ4_XS", "ffn_up", "IQ4_NL"),
        ("TQ2_0", "ffn_up", "Q4_0"),
        ("Q4_0", "^output.weight", "Q8_0"),
    ],
)
def test_rows_that_a_type_does_not_fit(
    small: pathlib.Path, tmp_path: pathlib.Path, mix: str, rows: str, expected: str
) -> None:
    quantize(small, tmp_path / "out.gguf", mix)
    found = {name: kind for name, kind in types_of(tmp_path / "out.gguf").items() if re.search(rows, name)}
    assert set(found.values()) == {expected}, found


def test_rows_that_no_block_fits(tmp_path: pathlib.Path) -> None:
    (tmp_path / "in.gguf").write_bytes(ggufmake.tiny_llama(n_ff=40))
    quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q8_0")
    types = types_of(tmp_path / "out.gguf")
    assert types["blk.0.ffn_down.weight"] == "F16" and types["blk.0.ffn_up.weight"] == "Q8_0"


def test_overrides_and_pure(llama: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out.gguf"
    quantize(llama, out, "Q4_K_M", pure=True, tensor_types=[("ffn", "Q8_0"), (r"blk\.1\..*ffn_down", "f16")])
    for name, kind in types_of(out).items():
        expected = "F32" if "norm" in name else "Q8_0" if "ffn" in name else "Q4_K"
        assert kind == ("F16" if name == "blk.1.ffn_down.weight" else expected), name
    for overrides, message in (
        ([("(", "Q8_0")], "no regular expression"),
        ([("nothing_of_the_kind", "Q8_0")], "matches no tensor"),
        ([("norm", "Q8_0")], "matches no tensor"),
    ):
        with pytest.raises(ValueError, match=message):
            quantize(llama, out, "Q4_K_M", tensor_types=overrides)
    with pytest.raises(pyedge.UnsupportedError, match="cannot make Q9_9"):
        quantize(llama, out, "Q4_K_M", tensor_types=[("ffn", "Q9_9")])


def test_override_that_does_not_fit(small: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="rows of 96 weights are no multiple of 256"):
        quantize(small, tmp_path / "out.gguf", "Q8_0", tensor_types={"ffn_down": "Q6_K"})
    assert leftovers(tmp_path) == {"small.gguf"}


# ---- what is in the new file -------------------------------------------------------------------------------


def test_new_file_holds_everything(llama: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Keys as they were, tensors in order, values as near as the report says; read by another reader."""
    gguf = pytest.importorskip("gguf")
    out = tmp_path / "out.gguf"
    reports = {report.name: report for report in quantize(llama, out, "Q4_K_M")}
    before, after = GgufFile(llama), GgufFile(out)
    changed = {"general.file_type", "general.quantization_version"}
    assert {k: v for k, v in after.keys.items() if k not in changed} == {
        k: v for k, v in before.keys.items() if k not in changed
    }
    assert list(after.tensors) == list(before.tensors) == list(reports)
    for tensor in gguf.GGUFReader(out).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        original = values_of(llama, tensor.name)
        error = np.sqrt(np.mean((values.reshape(original.shape) - original).astype(np.float64) ** 2))
        assert reports[tensor.name].rmse == pytest.approx(error, rel=1e-3)
        assert reports[tensor.name].size == tensor.n_bytes


def test_new_file_runs_and_is_near_the_original(llama: pathlib.Path, tmp_path: pathlib.Path) -> None:
    ids = list(range(5, 60))
    with pyedge.Model(str(llama)) as model:
        expected = model.logits(ids)
    rms = {}
    for mix in ("Q8_0", "Q6_K", "Q4_K_M", "Q2_K"):
        quantize(llama, tmp_path / "out.gguf", mix)
        with pyedge.Model(str(tmp_path / "out.gguf")) as model:
            rms[mix] = float(np.sqrt(np.mean((model.logits(ids) - expected) ** 2)) / expected.std())
    assert rms["Q8_0"] < 0.05 and rms["Q8_0"] < rms["Q6_K"] < rms["Q4_K_M"] < rms["Q2_K"] < 1, rms


def test_back_to_floats_is_exact(llama: pathlib.Path, tmp_path: pathlib.Path) -> None:
    quantize(llama, tmp_path / "q8.gguf", "Q8_0")
    with pytest.warns(UserWarning, match=r"quantised already \(Q8_0\)"):
        quantize(tmp_path / "q8.gguf", tmp_path / "f32.gguf", "F32")
    for name in GgufFile(llama).tensors:
        np.testing.assert_array_equal(
            values_of(tmp_path / "f32.gguf", name), values_of(tmp_path / "q8.gguf", name)
        )


def test_same_type_is_copied_without_a_warning(llama: pathlib.Path, tmp_path: pathlib.Path) -> None:
    quantize(llama, tmp_path / "one.gguf", "Q8_0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantize(tmp_path / "one.gguf", tmp_path / "two.gguf", "Q8_0")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()


def test_experts_each_by_their_own_importance(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 1, (2, 8, 64)).astype("<f4")
    name = "blk.0.ffn_down_exps.weight"
    tensor = ggufmake.Tensor((64, 8, 2), weights.tobytes())
    file = ggufmake.Gguf(keys=[("general.architecture", ggufmake.text("x"))], tensors=[(name, tensor)])
    (tmp_path / "in.gguf").write_bytes(file.to_bytes())
    sums = np.zeros((2, 64), np.float32)
    sums[0, :32], sums[1, 32:] = 10, 30  # of 10 inputs: only these columns were ever used
    imatrix.save(tmp_path / "i.gguf", imatrix.Imatrix({name: sums}, {name: np.array([10, 10], np.float32)}))
    quantize(tmp_path / "in.gguf", tmp_path / "plain.gguf", "Q2_0")
    quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q2_0", imatrix=tmp_path / "i.gguf")
    plain, weighted = (
        (sums[:, None] * (values_of(tmp_path / file, name) - weights) ** 2).sum(axis=(1, 2))
        for file in ("plain.gguf", "out.gguf")
    )
    assert (weighted < 0.99 * plain).all(), weighted / plain


# ---- importance matrices -----------------------------------------------------------------------------------


def test_importance_matrix_round_trip(tmp_path: pathlib.Path) -> None:
    sums = {"a.weight": np.array([[2, 4, 0]], np.float32)}
    matrix = imatrix.Imatrix(sums, {"a.weight": np.array([2], np.float32)}, ["text"], 7, 512)
    imatrix.save(tmp_path / "i.gguf", matrix)
    back = imatrix.load(tmp_path / "i.gguf")
    assert (list(back.datasets), back.chunk_count, back.chunk_size) == (["text"], 7, 512)
    importance = back.importance("a.weight", 3, 1)
    assert importance is not None and importance.tolist() == [[1, 2, 0]]
    assert back.importance("b.weight", 3, 1) is None
    with pytest.raises(pyedge.ModelFileError, match="made for another model"):
        back.importance("a.weight", 4, 1)


def imatrix_file(kind: str = "imatrix", **tensors: ggufmake.Tensor) -> bytes:
    names = [(name.replace("_dot_", "."), tensor) for name, tensor in tensors.items()]
    return ggufmake.Gguf(keys=[("general.type", ggufmake.text(kind))], tensors=names).to_bytes()


def floats(*values: float) -> ggufmake.Tensor:
    return ggufmake.Tensor((len(values), 1), np.array(values, "<f4").tobytes())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (imatrix_file(), "is empty"),
        (imatrix_file("adapter"), "general.type is 'adapter'"),
        (imatrix_file(a_dot_in_sum2=floats(1, 2)), "no a.counts"),
        (imatrix_file(a_dot_in_sum2=floats(1, 2), a_dot_counts=floats(1, 1)), "1 rows of sums and 2 counts"),
        (imatrix_file(a_dot_in_sum2=floats(1, -2), a_dot_counts=floats(1)), "no finite sums"),
        (imatrix_file(a_dot_in_sum2=floats(1, np.nan), a_dot_counts=floats(1)), "no finite sums"),
        (b"old format, which is not GGUF, of some length", "no GGUF file"),
    ],
)
def test_broken_importance_matrix(tmp_path: pathlib.Path, data: bytes, message: str) -> None:
    (tmp_path / "i.gguf").write_bytes(data)
    with pytest.raises(pyedge.ModelFileError, match=message):
        imatrix.load(tmp_path / "i.gguf")


# ---- failures leave nothing --------------------------------------------------------------------------------


def test_weights_that_are_no_numbers(tmp_path: pathlib.Path) -> None:
    bad = np.ones((96, 64), "<f4")
    bad[3, 2] = np.nan
    tensors = {"blk.1.ffn_up.weight": ggufmake.Tensor((64, 96), bad.tobytes())}
    (tmp_path / "in.gguf").write_bytes(ggufmake.tiny_llama(tensors=tensors))
    with pytest.raises(
        pyedge.ModelFileError, match=r"blk\.1\.ffn_up\.weight.*row 3, column 2 is not a finite"
    ):
        quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q8_0")
    assert leftovers(tmp_path) == {"in.gguf"}


class _Full:
    """A file that takes some bytes and then fails as a full disk does."""

    def __init__(self, file: Any, room: int, failure: BaseException) -> None:
        self._file, self._room, self._failure = file, room, failure

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise self._failure
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@pytest.fixture(params=["disk full", "Ctrl-C"])
def interruption(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[BaseException]]:
    full = request.param == "disk full"
    failure = OSError(errno.ENOSPC, "No space left on device") if full else KeyboardInterrupt()
    real = gguf_file.os.fdopen
    monkeypatch.setattr(gguf_file.os, "fdopen", lambda *a: _Full(real(*a), 30_000, failure))
    yield pyedge.Error if full else KeyboardInterrupt


def test_interrupted_write(
    small: pathlib.Path, tmp_path: pathlib.Path, interruption: type[BaseException]
) -> None:
    (tmp_path / "out.gguf").write_text("what was there before")
    with pytest.raises(interruption) as caught:
        quantize(small, tmp_path / "out.gguf", "Q8_0")
    if interruption is pyedge.Error:
        assert "the disk is full" in str(caught.value)
    assert leftovers(tmp_path) == {"small.gguf", "out.gguf"}
    assert (tmp_path / "out.gguf").read_text() == "what was there before"


def test_disk_that_is_too_small(
    small: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = gguf_file.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(gguf_file.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(pyedge.Error, match=r"the disk has 0\.0 MiB left"):
        quantize(small, tmp_path / "out.gguf", "Q8_0")
    assert leftovers(tmp_path) == {"small.gguf"}


def test_wrong_targets(small: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="is the source"):
        quantize(small, small, "Q8_0")
    with pytest.raises(pyedge.Error, match="there is no folder"):
        quantize(small, tmp_path / "nowhere" / "out.gguf", "Q8_0")
    with pytest.raises(pyedge.Error, match="is a folder"):
        quantize(small, tmp_path, "Q8_0")
    with pytest.raises(ValueError, match="unknown type 'Q4_X': use one of F32, F16"):
        quantize(small, tmp_path / "out.gguf", "Q4_X")
    with pytest.raises(ValueError, match="threads"):
        quantize(small, tmp_path / "out.gguf", "Q8_0", threads=0)


def split_model(folder: pathlib.Path, change: Any = None) -> pathlib.Path:
    parts = ggufmake.split(ggufmake.tiny_llama_file(), 3)
    if change:
        change(parts)
    for name, part in zip(ggufmake.part_names("tiny", 3), parts, strict=False):
        (folder / name).write_bytes(part.to_bytes())
    return folder / "tiny-00001-of-00003.gguf"


def test_split_model_becomes_one_file(tmp_path: pathlib.Path) -> None:
    whole, out, of_parts = (tmp_path / name for name in ("whole.gguf", "out.gguf", "of_parts.gguf"))
    whole.write_bytes(ggufmake.tiny_llama_file().to_bytes())
    quantize(whole, out, "Q8_0")
    quantize(split_model(tmp_path), of_parts, "Q8_0")
    one, other = GgufFile(out), GgufFile(of_parts)
    assert one.keys == other.keys and set(one.tensors) == set(other.tensors)
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(one.data(tensor), other.data(other.tensors[name]))
    with pyedge.Model(out) as model, pyedge.Model(of_parts) as joined:
        assert (model.logits([3, 4]) == joined.logits([3, 4])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts.pop(), "00003-of-00003.*No such file"),
        (lambda parts: parts.insert(1, parts.pop()), "is not part 2 of 3"),
        (lambda parts: parts[2].tensors.append(parts[1].tensors[0]), "is in another part, too"),
        (lambda parts: parts[2].tensors.pop(), "tensors together, but split.tensors.count is"),
    ],
    ids=["missing", "in another order", "tensor in two parts", "tensors are missing"],
)
def test_parts_that_do_not_belong_together(tmp_path: pathlib.Path, change: Any, message: str) -> None:
    first = split_model(tmp_path, change)
    with pytest.raises(pyedge.ModelFileError, match=message):
        quantize(first, tmp_path / "out.gguf", "Q8_0")
    assert not (tmp_path / "out.gguf").exists()


def test_first_part_is_to_be_named(tmp_path: pathlib.Path) -> None:
    second = split_model(tmp_path).with_name("tiny-00002-of-00003.gguf")
    with pytest.raises(pyedge.ModelFileError, match=r"3 parts: name the first, \.\.\.-00001-of-00003\.gguf"):
        quantize(second, tmp_path / "out.gguf", "Q8_0")


# ---- reading ----------------------------------------------------------------------------------------------


def test_values_are_read_and_kept(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.gguf").write_bytes(ggufmake.small_gguf().to_bytes())
    file = GgufFile(tmp_path / "a.gguf")
    assert file.get("scalar.string") == "abc" and file.get("array.string") == ["a", "", "ccc"]
    assert file.get(f"array.{ggufmake.I16}") == [0, 1, 1] and file.get(f"scalar.{ggufmake.F64}") == 1.0
    assert file.get("empty") == [] and file.get("no such key") is None
    tensors = list(file.tensors.values())
    gguf_file.write(
        tmp_path / "b.gguf", file.keys, tensors, lambda t: (file.data(t),), alignment=file.alignment
    )
    again = GgufFile(tmp_path / "b.gguf")
    assert again.keys == file.keys
    assert [(t.name, t.dims, t.type, t.size) for t in again.tensors.values()] == [
        (t.name, t.dims, t.type, t.size) for t in tensors
    ]


def test_files_cut_anywhere_are_refused(tmp_path: pathlib.Path) -> None:
    whole = ggufmake.small_gguf().to_bytes()
    path = tmp_path / "cut.gguf"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises((pyedge.ModelFileError, pyedge.UnsupportedError), match=re.escape(str(path))):
            GgufFile(path)


def test_hostile_numbers(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "bad.gguf"
    small = ggufmake.small_gguf()
    zeros = ggufmake.Tensor.zeros
    for file, message in (
        (ggufmake.Gguf(n_keys=2**63), "ends within|is there twice"),
        (ggufmake.Gguf(n_tensors=2**63), "ends within|0 dimensions"),
        (ggufmake.with_key(small, "k", ggufmake.Value.array(ggufmake.STRING, [], 2**60)), "ends within"),
        (ggufmake.with_key(small, "k", ggufmake.Value.array(ggufmake.F64, [], 2**62)), "ends within"),
        (ggufmake.with_key(small, "empty", ggufmake.u32(1)), "'empty' is there twice"),
        (ggufmake.with_key(small, "general.alignment", ggufmake.u32(3)), "general.alignment is 3"),
        (ggufmake.with_tensor(small, "f32", zeros((1,))), "'f32' is there twice"),
        (ggufmake.with_tensor(small, "x", ggufmake.Tensor((2**40, 2**40), b"")), "cut short"),
        (ggufmake.with_tensor(small, "x", ggufmake.Tensor((33,), b"", ggufmake.GGML_Q4_0)), "no multiple"),
        (ggufmake.with_tensor(small, "x", ggufmake.Tensor((32,), b"", 999)), "type 999"),
        (ggufmake.with_tensor(small, "x", ggufmake.Tensor((4,), b"", offset=2**50)), "cut short"),
        (ggufmake.with_tensor(small, "x", ggufmake.Tensor((4,), bytes(64), offset=5)), "not aligned"),
        (ggufmake.with_tensor(small, "x", ggufmake.Tensor((1,) * 5, bytes(4))), "5 dimensions"),
        (ggufmake.Gguf(version=9), "GGUF version 9"),
    ):
        path.write_bytes(file.to_bytes() + bytes(64))
        with pytest.raises((pyedge.ModelFileError, pyedge.UnsupportedError), match=message):
            GgufFile(path)


# ---- the command -------------------------------------------------------------------------------------------


def test_command(llama: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out.gguf"
    text = succeed("quantize", llama, out, "--type", "q4_k_m", "--tensor-type", "ffn_up=Q8_0", "-q")
    assert re.search(r"^blk\.0\.ffn_up\.weight +256 x 512 +F16 -> Q8_0 +139,264 +8\.50 ", text, flags=re.M)
    assert "bits a weight" in text.splitlines()[-1]
    (tmp_path / "text").write_text("the cat and the dog and the hat " * 40)
    facts = json.loads(
        succeed("quantize", llama, out, "--type", "Q2_K", "--json", "-q", "--check", tmp_path / "text")
    )
    assert facts["bytes"] == out.stat().st_size
    by_name = {entry["name"]: entry for entry in facts["tensors"]}
    assert by_name["blk.1.ffn_down.weight"]["to"] == "Q3_K"
    assert 0.1 < by_name["blk.1.ffn_down.weight"]["relative_rmse"] < 0.2
    assert facts["perplexity"]["before"] > 0 and facts["perplexity"]["after"] > 0


def test_command_says_what_is_wrong(small: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for status, arguments in (
        (2, (small, tmp_path / "out.gguf")),
        (2, (small, tmp_path / "out.gguf", "--type", "Q99")),
        (2, (small, tmp_path / "out.gguf", "--type", "Q8_0", "--tensor-type", "ffn")),
        (1, (small, tmp_path / "no" / "out.gguf", "--type", "Q8_0")),
        (1, (tmp_path / "absent.gguf", tmp_path / "out.gguf", "--type", "Q8_0")),
        (1, (small, tmp_path / "out.gguf", "--type", "Q8_0", "--check", tmp_path / "absent.txt")),
    ):
        done = run("quantize", *arguments)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
    assert leftovers(tmp_path) == {"small.gguf"}


def test_command_warns_of_a_second_time(small: pathlib.Path, tmp_path: pathlib.Path) -> None:
    succeed("quantize", small, tmp_path / "q8.gguf", "--type", "Q8_0", "-q")
    done = run("quantize", tmp_path / "q8.gguf", tmp_path / "q4.gguf", "--type", "Q4_0", "-q")
    assert done.returncode == 0 and "warning: the source is quantised already (Q8_0)" in done.stderr
