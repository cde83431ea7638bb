"""Logits, greedy text and perplexity against other engines: what decides whether the forward pass is right.

Tiny models of each architecture, against transformers in float32: tight bounds, on every instruction set.
One tiny model in many file types, against its own dequantised weights. The two real models, against
llama.cpp's greedy text and against full precision, to which pyedge must be nearer than llama.cpp is.
"""

from __future__ import annotations

import json
import pathlib
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ggufmake import Gguf, Tensor
from numpy.typing import NDArray
from reference_data import Case, Distance, cases, disagreements, distances, log_softmax

import pyedge
from pyedge import _core

ISAS = [name for name, usable, _ in _core.isas() if usable]
SEQUENCES = range(3)
# Float32 rounding alone, with room: logits have a spread of 3, in gemma3 of 1.
EXACT = {"llama": 1e-4, "gemma3": 2e-5, "qwen2": 1e-4, "qwen3": 1e-4, "phi3": 1e-4, "gpt2": 1e-4}
BF16 = 30  # type number


def rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


# ---- tiny models, exact weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_type", ["f32", "f16"])
@pytest.mark.parametrize(
    "file", ["llama.f16", "llama.f32", "gemma3.f16", "qwen2.f16", "qwen3.f16", "phi3.f16", "gpt2.f16"]
)
def test_tiny_models(refs: pathlib.Path, file: str, kv_type: str, isa: str) -> None:
    """Every position: sequences are longer than the sliding window of 32 where there is one."""
    path, arch = refs / "models" / f"{file}.gguf", file.split(".")[0]
    with (
        np.load(refs / "models" / f"{arch}.npz") as data,
        pyedge.Model(path, kv_type=kv_type, isa=isa) as model,
    ):
        for i in SEQUENCES:
            logits = model.logits(data[f"tok_{i}"])
            expected = data[f"hf_{i}"]
            error = logits[data[f"pos_{i}"]] - expected
            bound = EXACT[arch] if kv_type == "f32" else 5e-2
            assert np.abs(error).max() <= bound
            assert rms(error) <= 1.6e-3 * rms(expected)
            best, top = data[f"hf_argmax_all_{i}"], data[f"hf_top_all_{i}"]
            positions = np.arange(len(best))
            # The reference's choice is ours, or so near to ours that the bound allows the swap.
            assert (logits.max(axis=1) - logits[positions, best] <= 2 * bound).all()
            assert np.abs(logits[positions, best] - top).max() <= bound
            lse = logits[positions, best] - log_softmax(logits)[positions, best]
            assert np.abs(lse - data[f"hf_lse_all_{i}"]).max() <= bound


@pytest.mark.parametrize("file", ["llama.f16", "gemma3.f16"])
def test_decoding_is_prefill(refs: pathlib.Path, file: str) -> None:
    """Token by token, and in pieces that straddle the window, as in one go."""
    path, arch = refs / "models" / f"{file}.gguf", file.split(".")[0]
    with (
        np.load(refs / "models" / f"{arch}.npz") as data,
        pyedge.Model(path, kv_type="f32") as model,
    ):
        ids = data["tok_2"].tolist()
        expected = dict(zip(data["pos_2"].tolist(), data["hf_2"], strict=True))
        singly = model.session()
        for at, id in enumerate(ids):
            row = singly.eval([id])
            if at in expected:
                assert np.abs(row - expected[at]).max() <= EXACT[arch]
        pieces = model.session()
        for start, end in ((0, 31), (31, 33), (33, 80), (80, len(ids))):
            row = pieces.eval(ids[start:end])
        assert np.abs(row - expected[len(ids) - 1]).max() <= EXACT[arch]


# ---- one tiny model in many file types ---------------------------------------------------------------------

# fmt: off
FILE_TYPES = [
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
    "Q2_K", "Q2_K_S", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K",
    "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M",
    "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4_MOE", "Q1_0", "Q2_0",
]
# fmt: on


class _Copied(Gguf):
    """A file whose keys are the bytes of another file's."""

    raw = b""

    def metadata(self) -> bytes:
        return self.raw


def as_bf16(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """A copy of a float32 file with its matrices rounded to bfloat16, to nearest even."""
    from gguf import GGUFReader

    reader = GGUFReader(source)
    tensors = []
    for tensor in reader.tensors:
        dims, bits = tuple(int(n) for n in tensor.shape), tensor.data.view("<u4").ravel()
        if len(dims) == 1:
            tensors.append((tensor.name, Tensor(dims, bits.tobytes())))
        else:
            rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
            tensors.append((tensor.name, Tensor(dims, rounded.astype("<u2").tobytes(), BF16)))
    data = source.read_bytes()
    start = min(int(tensor.field.offset) for tensor in reader.tensors)
    copy = _Copied(tensors=tensors, n_keys=struct.unpack_from("<Q", data, 16)[0])
    copy.raw = data[24:start]
    target.write_bytes(copy.to_bytes())
    return target


def tiny_llama(refs: pathlib.Path, file_type: str, folder: pathlib.Path) -> pathlib.Path:
    if file_type in ("F16", "F32"):
        return refs / "models" / f"llama.{file_type.lower()}.gguf"
    if file_type == "BF16":
        return as_bf16(refs / "models" / "llama.f32.gguf", folder / "llama.BF16.gguf")
    return refs / "quant" / "llama" / f"llama.{file_type}.gguf"


@pytest.mark.parametrize("file_type", FILE_TYPES)
def test_file_types(refs: pathlib.Path, tmp_path: pathlib.Path, file_type: str) -> None:
    """Near to the dequantised weights, a hundred times nearer than with activations rounded to 8 bits; a type
    that is not supported is refused by its name."""
    path = tiny_llama(refs, file_type, tmp_path)
    listed = json.loads((refs / "quant" / "llama.json").read_text(encoding="utf-8"))
    inside = {entry["ftype"]: set(entry["types"]) for entry in listed}.get(file_type, {"F32"})
    unsupported = inside - {name for name, _, _ in _core.types().values()}
    if unsupported:
        with pytest.raises(
            (pyedge.ModelFileError, pyedge.UnsupportedError), match=r"type \d+.* (supported|known)"
        ):
            pyedge.Model(path)
        return
    reference = "F16" if file_type == "F32" else file_type  # every weight is a float16
    with (
        np.load(refs / "models" / "llama.npz") as inputs,
        np.load(refs / "quant" / "llama_logits.npz") as outputs,
    ):
        full = f"{reference}_deqf32_0" in outputs  # of the newest types only llama.cpp's own values are known
        expected = np.stack([outputs[f"{reference}_{'deqf32' if full else 'lc'}_{i}"] for i in SEQUENCES])
        peer = np.stack([outputs[f"{reference}_lc_{i}"] for i in SEQUENCES])
        tokens = [inputs[f"tok_{i}"] for i in SEQUENCES]
        positions = [inputs[f"pos_{i}"] for i in SEQUENCES]
    floating = inside <= {"F32", "F16", "BF16"}
    for isa in ISAS:
        with pyedge.Model(path, kv_type="f32", isa=isa) as model:
            logits = np.stack([model.logits(tokens[i])[positions[i]] for i in SEQUENCES])
        error = rms(logits - expected)
        assert error <= (2e-5 if floating else 2e-3 if full else 0.12), isa
        assert floating or not full or error <= 0.1 * rms(peer - expected), isa


# ---- real models -------------------------------------------------------------------------------------------


FIXTURES = {"smollm2-135m": "smollm2", "gemma-3-270m": "gemma3"}  # that give the path


@pytest.fixture(params=list(FIXTURES))
def real(request: pytest.FixtureRequest, refs: pathlib.Path) -> tuple[pathlib.Path, list[Case]]:
    """Path and cases of a real model."""
    return request.getfixturevalue(FIXTURES[request.param]), cases(refs / "real", request.param)


def forced_rows(model: pyedge.Model, case: Case) -> NDArray[np.float64]:
    return case.rows(model.logits([*case.prompt_ids, *case.forced[:-1]]))


def test_prompts(real: tuple[pathlib.Path, list[Case]]) -> None:
    path, found = real
    with pyedge.Model(path) as model:
        for case in found:
            ids = model.tokenize(case.prompt, add_special=case.add_special, parse_special=case.parse_special)
            assert ids == case.prompt_ids


@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_nearer_to_full_precision(real: tuple[pathlib.Path, list[Case]], kv_type: str) -> None:
    """Forced along the reference ids: how far from full precision pyedge and each run of llama.cpp are."""
    path, found = real
    with pyedge.Model(path, kv_type=kv_type) as model:
        rows = [forced_rows(model, case) for case in found]
    for run in ("default", "norepack", "f32kv"):
        mine, theirs = Distance(), Distance()
        for case, ours in zip(found, rows, strict=True):
            if run in case.runs:
                a, b = distances(case, ours, run)
                mine.merge(a)
                theirs.merge(b)
        if not theirs.kl:
            assert run == "norepack"  # recorded for one of the models
            continue
        for measure in ("top1", "top5", "kl"):
            a, b = np.mean(getattr(mine, measure)), np.mean(getattr(theirs, measure))
            assert a <= 0.1 * b, f"{run} {measure}: {a:.3g}, llama.cpp {b:.3g}"
    for case, ours in zip(found, rows, strict=True):
        error = [ours[at, id] - logprob for at, full in enumerate(case.full) for id, logprob in full]
        assert np.abs(error).max() <= 0.05 and np.abs(error).mean() <= 0.004, case.label
        # Another choice than full precision makes, only where that is a toss-up.
        assert all(margin <= 0.02 for _, margin in disagreements(case, ours.argmax(axis=1))), case.label


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set(real: tuple[pathlib.Path, list[Case]], isa: str) -> None:
    """One short prompt; the widths of real models, which tiny ones do not have."""
    path, found = real
    case = min(found, key=lambda case: len(case.prompt_ids))
    n_steps = 24
    with pyedge.Model(path, isa=isa) as model:
        rows = case.rows(model.logits([*case.prompt_ids, *case.forced[: n_steps - 1]]))
    error = [row[id] - logprob for row, full in zip(rows, case.full, strict=False) for id, logprob in full]
    assert len(rows) == n_steps
    assert np.abs(error).max() <= 0.05 and np.abs(error).mean() <= 0.004


def test_greedy_text(real: tuple[pathlib.Path, list[Case]]) -> None:
    """The same tokens as each run of llama.cpp, and as full precision chooses, but for toss-ups; through
    the sampling loop, one token at a time."""
    path, found = real
    with pyedge.Model(path) as model:
        for case in found:
            pieces = model.stream(case.prompt_ids, temperature=0, max_tokens=len(case.forced), logprobs=5)
            steps = [(piece.token, dict(piece.top_logprobs)) for piece in pieces]
            tokens = [token for token, _ in steps]
            for name, run in case.runs.items():
                at = first_difference(tokens, [step.id for step in run])
                if at is None:
                    continue
                # Rounded activations move llama.cpp's logits by up to 0.7: where a margin of more than 0.5
                # tells against us, full precision must have chosen as we did.
                known = tokens[:at] == case.forced[:at] and at < len(case.full)
                right = known and tokens[at] == case.full[at][0][0]
                assert run[at].margin <= 0.5 or right, f"{case.label!r}: {name} at step {at}"
            # While the tokens are those that full precision was forced along, its values hold for this run.
            for at, ((token, top), full) in enumerate(zip(steps, case.full, strict=False)):
                error = [abs(top[id] - logprob) for id, logprob in full if id in top]
                assert len(error) >= 4 and max(error) <= 0.05, f"{case.label!r}: step {at}"
                if token != full[0][0]:
                    assert full[0][1] - full[1][1] <= 0.02, f"{case.label!r}: step {at}"
                if token != case.forced[at]:
                    break


def first_difference(a: Sequence[int | None], b: Sequence[int]) -> int | None:
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)


# ---- perplexity --------------------------------------------------------------------------------------------

# Of the reference text in windows of 512 tokens, the second half of each scored. Full precision: transformers
# in float32 on the dequantised weights (`bench/accuracy.py full`), over the beginning of the text, which is
# two windows, and over all of it. llama.cpp: llama-perplexity on the file itself, run in two ways.
BEGINNING = 4800  # characters
FULL_PRECISION = {"smollm2-135m": (17.6866, 10.4304), "gemma-3-270m": (13.8051, 11.9077)}
LLAMA_CPP = {"smollm2-135m": (10.4467, 10.4599), "gemma-3-270m": ()}


@pytest.fixture(params=list(FIXTURES))
def scored(request: pytest.FixtureRequest, refs: pathlib.Path) -> tuple[str, pathlib.Path, str]:
    """Name and path of a real model, and the reference text."""
    path = request.getfixturevalue(FIXTURES[request.param])
    return request.param, path, (refs / "real" / "ppl.txt").read_text(encoding="utf-8")


def test_perplexity_of_the_beginning(scored: tuple[str, pathlib.Path, str]) -> None:
    name, path, text = scored
    with pyedge.Model(path) as model:
        found = model.perplexity(text[:BEGINNING], context=512)
    assert found == pytest.approx(FULL_PRECISION[name][0], rel=1e-3)


@pytest.mark.slow
def test_perplexity(scored: tuple[str, pathlib.Path, str]) -> None:
    name, path, text = scored
    with pyedge.Model(path) as model:
        found = model.perplexity(text, context=512)
    assert found == pytest.approx(FULL_PRECISION[name][1], rel=5e-4)
    for peer in LLAMA_CPP[name]:
        assert found == pytest.approx(peer, rel=5e-3)
