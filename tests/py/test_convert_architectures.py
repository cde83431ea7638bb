"""`pyedge convert` on a folder of each architecture, as transformers saves it: the tensors and keys of the
model that it is, and the logits of transformers in float32 (`tools/make_arch_golden.py`)."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import arch_folders as af
import arch_models as am
import hfmake
import numpy as np
import pytest
from test_architectures import GOLDEN
from test_convert import converted, values

import pyedge
from pyedge.gguf_file import GgufFile

CONFIGS = af.saved_configs()
# Left out of a file where they are what engines take anyway, or written where they could be.
IMPLIED = ("attention.key_length", "attention.value_length", "rope.scaling.yarn_attn_factor")


@pytest.fixture(scope="module", params=am.CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, GgufFile, GgufFile]:
    """Name, what convert made, what it should have made."""
    folder = tmp_path_factory.mktemp("convert")
    (folder / "expected.gguf").write_bytes(am.CASES[request.param].file().to_bytes())
    found = converted(af.folder_of(request.param, CONFIGS), folder)
    return request.param, found, GgufFile(folder / "expected.gguf")


def test_logits_of_transformers(case: tuple[str, GgufFile, GgufFile]) -> None:
    name, found, _ = case
    with np.load(GOLDEN) as golden, pyedge.Model(found.path, kv_type="f32") as model:
        rows = model.logits(am.ids_of(name))[list(am.POSITIONS)]
        assert np.abs(rows - golden[name]).max() <= 1e-4 * np.abs(golden[name]).max()


def test_tensors_and_keys(case: tuple[str, GgufFile, GgufFile]) -> None:
    name, found, expected = case
    assert set(found.tensors) == set(expected.tensors)
    # 1 was taken off and added again; tables of rope are computed
    close = 1e-6 if am.CASES[name].arch in ("gemma", "gemma2", "gemma3", "nemotron") else 0
    for tensor, entry in expected.tensors.items():
        assert found.tensors[tensor].dims == entry.dims, tensor
        bound = 1e-5 if "rope" in tensor else close
        assert np.abs(values(found, tensor) - values(expected, tensor)).max() <= bound, tensor
    for key in expected.keys:
        if key.startswith(am.CASES[name].arch) and not key.endswith(IMPLIED):
            one, other = found.get(key), expected.get(key)
            assert one == (pytest.approx(other, rel=1e-6) if isinstance(other, float) else other), key


def with_config(name: str, **changes: Any) -> hfmake.Folder:
    folder = af.folder_of(name, CONFIGS)
    folder.config.update(changes)
    return folder


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("olmo", {"clip_qkv": 8.0}, "clip_qkv is '8.0'"),
        ("olmoe", {"norm_topk_prob": True}, "norm_topk_prob"),
        ("phi2", {"qk_layernorm": True}, "qk_layernorm"),
        ("phi2", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ("gptneox", {"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'"),
        ("starcoder", {"multi_query": False}, "multi_query"),
        ("lfm2moe", {"use_expert_bias": False}, "use_expert_bias"),
        ("lfm2moe", {"routed_scaling_factor": 2.0}, "routed_scaling_factor"),
        ("lfm2moe", {"num_dense_layers": -1}, "num_dense_layers is '-1'"),
        ("granitemoe", {"num_local_experts": 5}, "by config.json it would be"),
        ("internlm2", {"num_key_value_heads": 4}, "by config.json it would be"),
        ("minicpm", {"dim_model_base": 0}, "dim_model_base is '0'"),
        ("llama-yarn", {"rope_parameters": {**CONFIGS["mistral3"]["rope_parameters"]}}, "mscale"),
        ("cohere2", {"layer_types": ["full_attention"] * 5}, "layer_types must be a full layer"),
    ],
)
def test_what_has_no_place_is_refused(
    tmp_path: pathlib.Path, name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(pyedge.Error, match=message):
        converted(with_config(name, **changes), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_fixed_alpha_of_hunyuan_is_another_base(tmp_path: pathlib.Path) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 1000.0}
    file = converted(with_config("hunyuan-dense", rope_parameters=rope), tmp_path)
    expected = 10000.0 * 1000.0 ** (am.HEAD / (am.HEAD - 2))
    assert file.get("hunyuan-dense.rope.freq_base") == pytest.approx(expected)


def test_every_architecture_of_the_core_can_be_converted() -> None:
    from pyedge.convert import archs

    assert {case.arch for case in am.CASES.values()} == {arch.name for arch in archs.ARCHS}


# ---- models for embeddings ---------------------------------------------------------------------------------

END = {
    "type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}],
}
MODULES = [
    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def embedder(path: pathlib.Path, modules: Any = MODULES, pooling: Any = None) -> hfmake.Folder:
    """A Qwen 3 as it is published for embeddings: no head, names without "model.", an end after each text."""
    folder = with_config("qwen3", architectures=["Qwen3Model"], eos_token_id=2)
    folder.arrays = {
        name.removeprefix("model."): x for name, x in folder.arrays.items() if name != "lm_head.weight"
    }
    folder.files = {**folder.files, "modules.json": modules}
    folder.files["tokenizer.json"] = {**folder.files["tokenizer.json"], "post_processor": END}
    folder.files["tokenizer_config.json"] = {"eos_token": "<|im_end|>"}
    (path / "model" / "1_Pooling").mkdir(parents=True)
    said = {
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_lasttoken": True,
    }
    (path / "model" / "1_Pooling" / "config.json").write_text(json.dumps(pooling or said))
    return folder


def test_embedder(tmp_path: pathlib.Path) -> None:
    file = converted(embedder(tmp_path), tmp_path)
    assert file.get("qwen3.pooling_type") == 3 and "output.weight" not in file.tensors
    with np.load(GOLDEN) as golden, pyedge.Model(file.path, kv_type="f32") as model:
        found = model.embed(am.ids_of("qwen3"), normalize=True)
        assert np.abs(found - golden["qwen3 pooled"][2]).max() < 1e-5
        assert model.tokenize("the")[-1] == 2
        assert np.array_equal(model.embed("the"), model.embed(model.tokenize("the")))


@pytest.mark.parametrize(
    ("modules", "pooling", "message"),
    [
        ([*MODULES, {"path": "3_Dense", "type": "x.Dense"}], None, "kind 'Dense' has no place"),
        ([{**MODULES[1], "path": "../model"}], None, "no folder of this one"),
        ([{**MODULES[1], "path": "2_Pooling"}], None, "there is no 2_Pooling/config.json"),
        (MODULES, {"pooling_mode_max_tokens": True}, "none of mean, cls and lasttoken"),
        (MODULES, {"pooling_mode_lasttoken": True, "pooling_mode_cls_token": True}, "or several"),
        ({"a": 1}, None, "no list of modules"),
    ],
)
def test_bad_modules(tmp_path: pathlib.Path, modules: Any, pooling: Any, message: str) -> None:
    with pytest.raises(pyedge.Error, match=message):
        converted(embedder(tmp_path, modules, pooling), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_attention_in_both_directions_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(pyedge.UnsupportedError, match="is_causal is 'False'"):
        converted(with_config("qwen2", is_causal=False), tmp_path)
