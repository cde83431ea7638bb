"""Each architecture, in each way that files set it up, against transformers on the same weights in float32;
and what holds for all: bits that depend neither on threads nor on how tokens are grouped."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import arch_models as am
import ggufmake as gm
import numpy as np
import pytest
from refusal import refused

import pyedge
from pyedge import _core

ISAS = [name for name, usable, _ in _core.isas() if usable]
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "architectures.npz"
EXACT = 3e-5  # float32 rounding, with room: logits have a spread of 0.6 to 2.5


@pytest.fixture(scope="module", params=am.CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, pathlib.Path]]:
    path = tmp_path_factory.mktemp("arch") / f"{request.param}.gguf"
    path.write_bytes(am.CASES[request.param].file().to_bytes())
    yield request.param, path
    path.unlink()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("kv_type", "bound"), [("f32", EXACT), ("f16", 2e-2)])
def test_logits(case: tuple[str, pathlib.Path], kv_type: str, bound: float, isa: str) -> None:
    name, path = case
    with np.load(GOLDEN) as golden, pyedge.Model(path, kv_type=kv_type, isa=isa) as model:
        rows = model.logits(am.ids_of(name))[list(am.POSITIONS)]
        assert np.abs(rows - golden[name]).max() <= bound


def test_bits_depend_on_nothing_else(case: tuple[str, pathlib.Path], tmp_path: pathlib.Path) -> None:
    """Threads, groups of tokens, forks, rewinds, and a stay on disk."""
    name, path = case
    ids = am.ids_of(name)
    with pyedge.Model(path, threads=1) as model:
        whole = model.logits(ids)
        pieces = model.session()
        for start, end in ((0, 1), (1, 3), (3, 33), (33, 79)):
            row = pieces.eval(ids[start:end])
            assert row.tobytes() == whole[end - 1].tobytes()
        fork = pieces.fork()
        pieces.rewind(to=40)
        pieces.save(tmp_path / "saved")
        loaded = model.session()
        loaded.load(tmp_path / "saved")
        for session, start in ((fork, 79), (pieces, 40), (loaded, 40)):
            assert session.eval(ids[start:]).tobytes() == whole[-1].tobytes()
    for threads in (2, 3):
        with pyedge.Model(path, threads=threads) as model:
            assert model.logits(ids).tobytes() == whole.tobytes()
            assert model.session().eval(ids[:1]).tobytes() == whole[0].tobytes()


def changed(name: str, keys: dict[str, gm.Value], without: str = "") -> bytes:
    case = am.CASES[name]
    file = case.file()
    named = {f"{case.arch}.{key}": value for key, value in keys.items()}
    file.keys = [(key, value) for key, value in file.keys if key not in named] + list(named.items())
    file.tensors = [(tensor, value) for tensor, value in file.tensors if tensor != without]
    return file.to_bytes()


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("qwen2", "expert_count", gm.u32(4)),
        ("llama-experts", "expert_gating_func", gm.u32(2)),
        ("llama-experts", "expert_weights_scale", gm.f32(2.0)),
        ("llama-experts", "expert_group_count", gm.u32(2)),
        ("llama", "rope.scaling.type", gm.text("su")),
        ("llama", "attention.causal", gm.Value.of(gm.BOOL, False)),
        ("llama", "attention.clamp_kqv", gm.f32(8.0)),
    ],
)
def test_what_is_not_computed_is_refused(name: str, key: str, value: gm.Value) -> None:
    refused(changed(name, {key: value}), key.replace(".", r"\."), pyedge.UnsupportedError)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("qwen3moe", "expert_count", gm.u32(0)),
        ("qwen3moe", "expert_used_count", gm.u32(am.EXPERTS + 1)),
        ("olmo3", "attention.sliding_window_pattern", gm.Value.array(gm.BOOL, [True])),
        ("cohere2", "attention.sliding_window", gm.u32(0)),
        ("gemma2", "final_logit_softcapping", gm.f32(-1.0)),
        ("granite", "residual_scale", gm.f32(float("nan"))),
        ("lfm2", "attention.head_count_kv", gm.Value.array(gm.I32, [0] * 5)),
        ("lfm2", "attention.head_count_kv", gm.Value.array(gm.I32, [0, 0, -2, 0, 2])),
        ("lfm2", "attention.head_count_kv", gm.Value.array(gm.I32, [0, 2])),
        ("lfm2", "shortconv.l_cache", gm.u32(0)),
    ],
)
def test_wrong_values(name: str, key: str, value: gm.Value) -> None:
    refused(changed(name, {key: value}), key.replace(".", r"\."), pyedge.Error)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("gpt2", "position_embd.weight"),
        ("phi3", "blk.1.attn_qkv.weight"),
        ("qwen3moe", "blk.0.ffn_up_exps.weight"),
        ("lfm2", "blk.1.shortconv.conv.weight"),
        ("lfm2", "blk.2.attn_k.weight"),
        ("lfm2moe", "blk.1.exp_probs_b.bias"),
        ("llama-experts", "blk.1.ffn_gate_inp.weight"),
    ],
)
def test_missing_tensors(name: str, tensor: str) -> None:
    refused(changed(name, {}, tensor), rf"tensor '{tensor}' is missing")


def test_qkv_in_one_or_in_three(tmp_path: pathlib.Path) -> None:
    """Files of Phi 2 come with either."""
    case, names = am.CASES["phi2"], ("attn_q", "attn_k", "attn_v")
    file = case.file()
    weights = case.weights()
    (tmp_path / "three.gguf").write_bytes(file.to_bytes())
    file.tensors = [(name, value) for name, value in file.tensors if name.split(".")[-2] not in names]
    for i in range(case.n_layer):
        for kind in ("weight", "bias"):
            fused = np.concatenate([weights[f"blk.{i}.{name}.{kind}"] for name in names])
            tensor = gm.Tensor(fused.shape[::-1], fused.astype("<f4").tobytes())
            file.tensors.append((f"blk.{i}.attn_qkv.{kind}", tensor))
    (tmp_path / "one.gguf").write_bytes(file.to_bytes())
    ids = am.ids_of("phi2")
    with pyedge.Model(tmp_path / "one.gguf") as one, pyedge.Model(tmp_path / "three.gguf") as three:
        assert one.logits(ids).tobytes() == three.logits(ids).tobytes()
    file.tensors = [(name, value) for name, value in file.tensors if "blk.1.attn_qkv" not in name]
    refused(file.to_bytes(), "layer 1 has neither attn_qkv nor all of")


def test_scales_that_a_family_needs() -> None:
    file = am.CASES["minicpm"].file()
    file.keys = [(key, value) for key, value in file.keys if key != "minicpm.residual_scale"]
    refused(file.to_bytes(), r"minicpm\.residual_scale")


def test_fewer_experts_than_named() -> None:
    data = changed("qwen3moe", {"expert_count": gm.u32(am.EXPERTS - 1)})
    refused(data, r"tensor 'blk\.0\.ffn_gate_inp\.weight' has shape")


def test_unknown_architecture_names_the_known(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gm.tiny_llama(keys={"general.architecture": gm.text("mamba")}))
    with pytest.raises(pyedge.UnsupportedError) as caught:
        pyedge.Model(path)
    assert all(case.arch in str(caught.value) for case in am.CASES.values())


def test_learned_positions_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "gpt2.gguf"
    path.write_bytes(am.CASES["gpt2"].file().to_bytes())
    with pyedge.Model(path) as model:
        assert model.logits([5] * am.CONTEXT).shape == (am.CONTEXT, am.VOCAB)
    with pytest.raises(ValueError, match=f"{am.CONTEXT} positions"):
        pyedge.Model(path, context=am.CONTEXT + 1).session()


def test_context_decides_the_long_rope(tmp_path: pathlib.Path) -> None:
    """One table of divisors for all positions of a session: within the original context the short one."""
    path = tmp_path / "phi3.gguf"
    path.write_bytes(am.CASES["phi3-long"].file().to_bytes())
    ids = am.ids_of("phi3-long")[:40]
    with pyedge.Model(path, context=64) as short, pyedge.Model(path, context=65) as long:
        assert np.abs(short.session().eval(ids) - long.session().eval(ids)).max() > 1e-2


@pytest.mark.parametrize("name", am.POOLED)
@pytest.mark.parametrize("pooling", [None, 0, 1, 2, 3])
def test_embeddings(tmp_path: pathlib.Path, name: str, pooling: int | None) -> None:
    """What transformers computes from the last hidden states: mean, first or last of them, one long."""
    path, ids = tmp_path / "model.gguf", am.ids_of(name)
    path.write_bytes(changed(name, {} if pooling is None else {"pooling_type": gm.u32(pooling)}))
    with np.load(GOLDEN) as golden, pyedge.Model(path, kv_type="f32") as model:
        mean, first, last = golden[f"{name} pooled"]
        found = model.embed(ids, normalize=True)
        assert found.dtype == np.float32
        if pooling == 0:
            assert found.shape == (len(ids), am.EMBD)
            assert np.abs(found[[0, -1]] - [first, last]).max() < 1e-5
        else:
            assert np.abs(found - {2: first, 3: last}.get(pooling or 1, mean)).max() < 1e-5
        plain = model.embed(ids)
        length = np.linalg.norm(plain, axis=-1, keepdims=True)
        assert np.abs(length - 1).max() > 0.01 and np.abs(plain / length - found).max() < 1e-6
        text = "and the and"
        assert np.array_equal(model.embed(text), model.embed(model.tokenize(text)))


def test_pooling_that_is_not_known(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(changed("qwen3", {"pooling_type": gm.u32(4)}))
    with pyedge.Model(path) as model, pytest.raises(pyedge.UnsupportedError, match="pooling_type is 4"):
        model.embed("the")
