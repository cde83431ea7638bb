"""Adapter files: what PEFT writes, in all its spellings, and what is refused; merging; the command line."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import arch_models as am
import ggufmake as gm
import loramake as lm
import numpy as np
import pytest

import pyedge
from pyedge.lora import parse_lora
from pyedge.merge import merge

IDS = am.ids_of("llama")
EXACT = 2e-4
Q, LAYER = "blk.0.attn_q.weight", "base_model.model.model.layers.0."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pyedge.Model]:
    path = tmp_path_factory.mktemp("base") / "base.gguf"
    path.write_bytes(lm.model_file(am.CASES["llama"]))
    with pyedge.Model(path, kv_type="f32") as m:
        yield m


def expect(path: pathlib.Path, weights: dict[str, Any], case: am.Case = am.CASES["llama"]) -> Any:
    path.write_bytes(lm.model_file(case, weights))
    with pyedge.Model(path, kv_type="f32") as m:
        return m.logits(IDS)


# ---- spellings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
@pytest.mark.parametrize(
    "prefix, suffix",
    [("base_model.model.", ".weight"), ("base_model.model.", ".default.weight"), ("", ".weight")],
)
def test_names_and_types(
    base: pyedge.Model, tmp_path: pathlib.Path, prefix: str, suffix: str, dtype: str
) -> None:
    adapter = lm.adapter_for("llama").rounded(dtype)
    ours = base.logits(IDS, lora=lm.save(tmp_path / "a", adapter.arrays(prefix, suffix), dtype))
    merged = expect(tmp_path / "merged.gguf", adapter.merged(adapter.case.weights()))
    assert np.abs(ours - merged).max() < EXACT


def test_halves_of_gguf(base: pyedge.Model, tmp_path: pathlib.Path) -> None:
    adapter = lm.adapter_for("llama").rounded("F16")
    ours = base.logits(IDS, lora=adapter.save_gguf(tmp_path / "a.gguf", gm.GGML_F16))
    assert np.abs(ours - expect(tmp_path / "m", adapter.merged(adapter.case.weights()))).max() < EXACT


SCALES = {
    "rslora": ({"use_rslora": True}, lm.ALPHA / np.sqrt(lm.RANK)),
    "alpha by name": ({"alpha_pattern": {"q_proj": 2}}, 2 / lm.RANK),
    "alpha by path": ({"alpha_pattern": {"layers.0.self_attn.q_proj": 3}}, 3 / lm.RANK),
    "alpha by expression": (
        {"alpha_pattern": {r"^model\.layers\.[01]\.(self_attn|mlp)\..*": 5}},
        5 / lm.RANK,
    ),
    "anchored elsewhere": ({"alpha_pattern": {"^layers.0.self_attn.q_proj": 3}}, lm.ALPHA / lm.RANK),
    "only a part of a name": ({"alpha_pattern": {"proj": 3}}, lm.ALPHA / lm.RANK),
    "first that matches": ({"alpha_pattern": {r"x\d+": 9, r"q_pro\w": 4, "q_proj": 3}}, 4 / lm.RANK),
    "rank": ({"r": 64, "rank_pattern": {"self_attn.q_proj": lm.RANK}}, lm.ALPHA / lm.RANK),
    "both": (
        {
            "r": 64,
            "rank_pattern": {".*q_proj": lm.RANK},
            "alpha_pattern": {"(k|q)_proj": 1},
            "use_rslora": True,
        },
        1 / np.sqrt(lm.RANK),
    ),
    "null lists": (
        {"rank_pattern": None, "layers_to_transform": [0], "modules_to_save": []},
        lm.ALPHA / lm.RANK,
    ),
}


@pytest.mark.parametrize("config, scale", SCALES.values(), ids=SCALES)
def test_scales(base: pyedge.Model, tmp_path: pathlib.Path, config: dict[str, Any], scale: float) -> None:
    adapter = lm.adapter_for("llama", [Q])
    ours = base.logits(IDS, lora=adapter.save_peft(tmp_path / "a", **config))
    theirs = base.logits(IDS, lora={adapter.save_peft(tmp_path / "b"): scale / adapter.scale})
    assert np.abs(ours - theirs).max() < 1e-5


def test_whole_tensors(base: pyedge.Model, tmp_path: pathlib.Path) -> None:
    """modules_to_save: norms and the head instead of the model's, beside pairs."""
    adapter = lm.adapter_for("llama", [Q])
    weights = adapter.merged(adapter.case.weights())
    rng = np.random.default_rng(3)
    weights["output.weight"] = rng.normal(0, 0.2, weights["output.weight"].shape).astype(np.float32)
    weights["blk.1.ffn_norm.weight"] = rng.normal(1, 0.2, am.EMBD).astype(np.float32)
    weights["output_norm.weight"] = rng.normal(1, 0.2, am.EMBD).astype(np.float32)
    arrays = {
        **adapter.arrays(),
        "base_model.model.lm_head.modules_to_save.default.weight": weights["output.weight"],
        "base_model.model.model.layers.1.post_attention_layernorm.weight": weights["blk.1.ffn_norm.weight"],
        "base_model.model.model.norm.modules_to_save.weight": weights["output_norm.weight"],
    }
    folder = lm.save(tmp_path / "a", arrays)
    ours = base.logits(IDS, lora=folder)
    assert np.abs(ours - expect(tmp_path / "m", weights)).max() < EXACT
    with pytest.raises(pyedge.AdapterError, match=r"scale 1 or 0, not 0\.5"):
        base.session({folder: 0.5})
    other = lm.save(tmp_path / "b", {k: v for k, v in arrays.items() if "lora" not in k})
    with pytest.raises(pyedge.AdapterError, match=r"two adapters replace"):
        base.session({folder: 1, other: 1})
    assert base.logits(IDS, lora={folder: 0}).tobytes() == base.logits(IDS).tobytes()


def test_norms_of_gemma_are_shifted(tmp_path: pathlib.Path) -> None:
    case = am.CASES["gemma3"]
    saved = np.random.default_rng(3).normal(0, 0.2, am.EMBD).astype(np.float32)
    folder = lm.save(tmp_path / "a", {f"{LAYER}post_attention_layernorm.weight": saved})
    weights = {**case.weights(), "blk.0.post_attention_norm.weight": saved + 1}
    (tmp_path / "base").write_bytes(lm.model_file(case))
    with pyedge.Model(tmp_path / "base", kv_type="f32") as m:
        assert np.abs(m.logits(IDS, lora=folder) - expect(tmp_path / "m", weights, case)).max() < EXACT


def test_a_copy_of_the_base_is_for_both_ends(tmp_path: pathlib.Path) -> None:
    """What PEFT saves beside adapted embeddings, of a model whose head they are as well."""
    adapter = lm.adapter_for("llama-tied-biased", ["token_embd"])
    weights = adapter.case.weights()
    weights["token_embd.weight"] = weights["token_embd.weight"] * np.float32(1.5)
    arrays = adapter.arrays()
    arrays["base_model.model.model.embed_tokens.base_layer.weight"] = weights["token_embd.weight"]
    (tmp_path / "base").write_bytes(lm.model_file(adapter.case))
    with pyedge.Model(tmp_path / "base", kv_type="f32") as m:
        ours = m.logits(IDS, lora=lm.save(tmp_path / "a", arrays))
    assert np.abs(ours - expect(tmp_path / "m", adapter.merged(weights), adapter.case)).max() < EXACT


# ---- refusals ----------------------------------------------------------------------------------------------

CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "type": ({"peft_type": "LOHA"}, "LOHA; only LORA"),
    "no type": ({"peft_type": None}, "'peft_type' is missing"),
    "rank": ({"r": 0}, "'r' is no whole number"),
    "fraction": ({"r": 4.5}, "'r' is no whole number"),
    "alpha": ({"lora_alpha": "16"}, "'lora_alpha' is no finite number"),
    "huge alpha": ({"lora_alpha": 1e300}, "too large"),
    "dora": ({"use_dora": True}, "DoRA"),
    "pissa": ({"init_lora_weights": "pissa_niter_16"}, "changed"),
    "bias": ({"lora_bias": True}, "bias beside B"),
    "replication": ({"layer_replication": [[0, 2]]}, "replicated"),
    "patterns": ({"rank_pattern": [8]}, "'rank_pattern' is no object"),
    "pattern": ({"alpha_pattern": {"q_proj": "8"}}, "'alpha_pattern' is no finite number"),
    "lookahead": ({"alpha_pattern": {"(?!q)_proj": 8}}, "has something other"),
    "runaway": ({"alpha_pattern": {".*" * 30 + "x": 8}}, "has something other"),
    "rslora": ({"use_rslora": "yes"}, "'use_rslora' is neither"),
}


@pytest.mark.parametrize("config, message", CONFIGS.values(), ids=CONFIGS)
def test_configs_refused(
    base: pyedge.Model, tmp_path: pathlib.Path, config: dict[str, Any], message: str
) -> None:
    folder = lm.adapter_for("llama", [Q]).save_peft(tmp_path / "a", **config)
    with pytest.raises(pyedge.AdapterError, match=message):
        base.load_lora(folder)


def test_tensors_refused(base: pyedge.Model, tmp_path: pathlib.Path) -> None:
    good = lm.adapter_for("llama", [Q]).arrays()
    a, b = good
    cases: list[tuple[dict[str, Any], str]] = [
        ({**good, f"{LAYER}self_attn.q_proj.bias": np.zeros(am.Q_SIZE)}, "biases are not supported"),
        ({**good, f"{LAYER}mlp.up_proj.weight": np.zeros((am.FF, am.EMBD))}, "whole matrix of a layer"),
        ({**good, f"{LAYER}self_attn.q_proj.lora_magnitude_vector": np.zeros(am.Q_SIZE)}, "DoRA"),
        ({a: good[a]}, "no partner"),
        ({b: good[b]}, "no partner"),
        ({**good, a.removeprefix("base_model.model."): good[a], b.removeprefix("base_model.model."): good[b]},
         "another one is for already"),
        ({a: np.full_like(good[a], np.nan), b: good[b]}, "a NaN at row 0, column 0"),
        ({a: good[a], b: good[b][:-1]}, "does not fit"),
        ({a: good[a][:-1], b: good[b]}, "rank 3"),
        ({key.replace("q_proj", "z_proj"): value for key, value in good.items()}, "1 of 2 tensors match"),
    ]  # fmt: skip
    for i, (arrays, message) in enumerate(cases):
        with pytest.raises(pyedge.AdapterError, match=message):
            base.load_lora(lm.save(tmp_path / str(i), arrays))
    assert not [name for name in base.loras if str(tmp_path) in name]


BROKEN_JSON = [
    "",
    "{",
    "[]",
    '{"a" 1}',
    '{"a": 01}',
    '{"a": 1} x',
    '{"a": "\\x"}',
    "[" * 40,
    '{"a": "\\ud800"}',
    "nul",
]


@pytest.mark.parametrize("text", BROKEN_JSON)
def test_broken_json(base: pyedge.Model, tmp_path: pathlib.Path, text: str) -> None:
    folder = lm.adapter_for("llama", [Q]).save_peft(tmp_path / "a")
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(pyedge.AdapterError, match=r"adapter_config\.json"):
        base.load_lora(folder)


def test_json_in_all_its_forms(base: pyedge.Model, tmp_path: pathlib.Path) -> None:
    folder = lm.adapter_for("llama", [Q]).save_peft(tmp_path / "a")
    (folder / "adapter_config.json").write_text(
        '\n{"peft_type" : "LO\\u0052A", "\\n\\"\\ud83d\\ude00": [1, -2.5e-3, {"x": [[], {}]}, null, true],\t'
        f'"r": {lm.RANK}.0, "lora_alpha": 0.06e2 }}\r\n'
    )
    plain = lm.adapter_for("llama", [Q]).save_peft(tmp_path / "b")
    assert base.logits(IDS, lora=folder).tobytes() == base.logits(IDS, lora=plain).tobytes()


def test_every_cut_is_noticed(base: pyedge.Model, tmp_path: pathlib.Path) -> None:
    """At each length that is not the whole: refused, by a sentence."""
    file = lm.adapter_for("llama", [Q]).save_peft(tmp_path / "a") / "adapter_model.safetensors"
    gguf = lm.adapter_for("llama", [Q]).save_gguf(tmp_path / "a.gguf")
    for path in (file, gguf):
        data = path.read_bytes()
        for size in (0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:size])
            with pytest.raises(pyedge.AdapterError):
                base.load_lora(path, "cut")


def test_no_adapter_at_all(base: pyedge.Model, tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").write_bytes(b"no adapter, whatever its name")
    with pytest.raises(pyedge.AdapterError, match="neither PEFT's safetensors, nor GGUF, nor Nano's"):
        base.load_lora(tmp_path / "x")
    with pytest.raises(pyedge.AdapterError, match=r"adapter_model\.safetensors"):
        base.load_lora(tmp_path)
    with pytest.raises(pyedge.AdapterError, match=r"general\.type"):
        base.load_lora(base.path)


def test_an_adapter_is_no_model(tmp_path: pathlib.Path) -> None:
    with pytest.raises(pyedge.ModelFileError, match="is an adapter, not a model: open the model"):
        pyedge.Model(lm.adapter_for("llama").save_gguf(tmp_path / "a.gguf"))


# ---- merging -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "llama-tied-biased", "phi3"])
def test_merge(tmp_path: pathlib.Path, name: str) -> None:
    """As attached, to the rounding of floats; what no adapter changes is copied byte for byte."""
    adapter = lm.adapter_for(name)
    source, target = tmp_path / "base.gguf", tmp_path / "merged.gguf"
    source.write_bytes(lm.model_file(adapter.case))
    folder, norm = adapter.save_peft(tmp_path / "a"), np.full(am.EMBD, 1.25, np.float32)
    saved = lm.save(tmp_path / "b", {f"{LAYER}input_layernorm.weight": norm})
    changed = merge(source, {folder: -0.75, saved: 1}, target)
    assert changed == len(adapter.pairs) + 1
    with pyedge.Model(source, kv_type="f32") as m, pyedge.Model(target, kv_type="f32") as merged:
        ours = m.logits(IDS, lora={folder: -0.75, saved: 1})
        assert np.abs(merged.logits(IDS) - ours).max() < EXACT
        assert merged.metadata == m.metadata
    merge(source, {folder: 1}, target, type="Q8_0")
    with pyedge.Model(target) as merged:
        kinds = {tensor[0]: tensor[1] for tensor in merged._opened().tensors()}
    assert kinds["blk.0.ffn_down.weight"] == 8 and kinds["blk.0.attn_norm.weight"] == 0


def test_merge_refuses(base: pyedge.Model, tmp_path: pathlib.Path) -> None:
    folder = lm.adapter_for("llama", [Q]).save_peft(tmp_path / "a")
    with pytest.raises(ValueError, match="is the source"):
        merge(base.path, {folder: 1}, base.path)
    with pytest.raises(pyedge.AdapterError, match="not finite"):
        merge(base.path, {folder: float("nan")}, tmp_path / "out")
    with pytest.raises(ValueError, match=r"not one that can be made: .*Q8_0"):
        merge(base.path, {folder: 1}, tmp_path / "out", type="Q9")
    assert not (tmp_path / "out").exists()


# ---- the command line --------------------------------------------------------------------------------------


def run(*arguments: Any, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyedge", *map(str, arguments)],
        input=stdin, capture_output=True, text=True, cwd="/", timeout=300,
    )  # fmt: skip


def test_parse_lora(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a:2").mkdir()
    assert parse_lora("x") == ("x", 1.0)
    assert parse_lora("x:0.5") == ("x", 0.5)
    assert parse_lora("x:-1e-2") == ("x", -0.01)
    assert parse_lora("c:\\x") == ("c:\\x", 1.0)
    assert parse_lora(f"{tmp_path}/a:2") == (f"{tmp_path}/a:2", 1.0)
    assert parse_lora(f"{tmp_path}/a:2:3") == (f"{tmp_path}/a:2", 3.0)


def test_command_line(base: pyedge.Model, tmp_path: pathlib.Path) -> None:
    folder = lm.adapter_for("llama").save_peft(tmp_path / "adapter")
    plain = ("generate", "ab", "-m", base.path, "--raw", "-n", "8", "--temp", "0", "--json")
    done = run(*plain, "--lora", f"{folder}:0.5")
    assert done.returncode == 0, done.stderr
    with pyedge.Model(base.path) as m:
        expected = m.generate("ab", raw=True, lora={folder: 0.5}, max_tokens=8, temperature=0)
    assert json.loads(done.stdout)["tokens"] == expected.tokens
    done = run(*plain, "--lora", tmp_path / "none")
    assert done.returncode == 1 and "neither a loaded adapter nor a file" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    out = tmp_path / "merged.gguf"
    done = run("merge", base.path, f"{folder}:0.5", out, "-q")
    assert done.returncode == 0 and "tensors changed" in done.stdout, done.stderr
    assert run("merge", base.path, out).returncode == 2


def test_chat(base: pyedge.Model, tmp_path: pathlib.Path) -> None:
    folder = lm.adapter_for("llama").save_peft(tmp_path / "adapter")
    script = (
        f"/lora\nab\n/lora {folder}:0.5\ncd\n/lora\n/lora off nobody\n/lora off adapter\n/lora off\n/quit\n"
    )
    done = run("chat", "-m", base.path, "-n", "2", "--temp", "0", stdin=script)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no adapter is attached") == 3
    assert done.stderr.count(" 0.5\n") == 2 and "'nobody' is not attached" in done.stderr
