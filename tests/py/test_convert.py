"""`pyedge convert`: folders become the files that another converter makes of them, and run the same."""

from __future__ import annotations

import json
import pathlib
import tracemalloc
from typing import Any

import ggufmake
import hfmake
import numpy as np
import pytest
from arch_folders import GPT2
from test_cli import run, succeed

import pyedge
from pyedge import _core
from pyedge.convert import archs, convert
from pyedge.gguf_file import GgufFile

gguf = pytest.importorskip("gguf")


def values(file: GgufFile, name: str) -> np.ndarray:
    tensor = file.tensors[name]
    return _core.dequantize(tensor.type, file.data(tensor), tensor.n).reshape(tensor.dims[::-1])


def converted(
    folder: hfmake.Folder, path: pathlib.Path, type: str | None = None, shards: int = 0
) -> GgufFile:
    convert(folder.write(path / "model", shards), path / "out.gguf", type)
    return GgufFile(path / "out.gguf")


# ---- tensors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [0, 3])
def test_llama_is_the_file_made_of_the_same_arrays(tmp_path: pathlib.Path, shards: int) -> None:
    (tmp_path / "expected.gguf").write_bytes(ggufmake.tiny_llama())
    expected, found = GgufFile(tmp_path / "expected.gguf"), converted(hfmake.llama(), tmp_path, shards=shards)
    assert set(found.tensors) == set(expected.tensors)
    for name, tensor in expected.tensors.items():
        assert found.tensors[name].dims == tensor.dims
        assert found.data(found.tensors[name]).tobytes() == expected.data(tensor).tobytes(), name
    for key in expected.keys:
        if key != "general.name":
            assert found.get(key) == expected.get(key), key
    assert found.get("general.name") == "model" and found.get("general.file_type") == 0
    text = "the end and more 123"
    with pyedge.Model(str(tmp_path / "expected.gguf")) as a, pyedge.Model(str(tmp_path / "out.gguf")) as b:
        assert a.tokenize(text) == b.tokenize(text)
        assert np.array_equal(a.logits(a.tokenize(text)), b.logits(b.tokenize(text)))


@pytest.mark.parametrize(
    ("dtype", "type", "matrix"),
    [
        ("F64", None, "F32"),
        ("F16", None, "F16"),
        ("BF16", None, "BF16"),
        ("BF16", "f32", "F32"),
        ("F32", "f16", "F16"),
        ("F32", "bf16", "BF16"),
        ("BF16", "q8_0", "Q8_0"),
    ],
)
def test_types(tmp_path: pathlib.Path, dtype: str, type: str | None, matrix: str) -> None:
    folder = hfmake.llama(dtype=dtype)
    file = converted(folder, tmp_path, type)
    for name, tensor in file.tensors.items():
        assert tensor.type_name == (matrix if len(tensor.dims) > 1 else "F32"), name
    x = folder.arrays["model.layers.1.mlp.down_proj.weight"]
    bits = min({"F16": 11, "BF16": 8, "Q8_0": 6}.get(name, 24) for name in (dtype, matrix))
    error = np.abs(values(file, "blk.1.ffn_down.weight") - x).max() / np.abs(x).max()
    assert error <= 2.0 ** -(bits - 1)
    assert (error == 0) == (matrix == "F32" and dtype in ("F32", "F64"))
    numbers = {"F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7}
    assert file.get("general.file_type") == numbers[matrix]


def test_rows_that_are_no_whole_blocks_become_f16(tmp_path: pathlib.Path) -> None:
    gguf_file = ggufmake.tiny_llama_file(n_ff=72)
    folder = hfmake.llama(gguf_file)
    folder.config["intermediate_size"] = 72
    file = converted(folder, tmp_path, "q8_0")
    assert file.tensors["blk.0.ffn_down.weight"].type_name == "F16"
    assert file.tensors["blk.0.ffn_up.weight"].type_name == "Q8_0"


@pytest.mark.parametrize("type", [None, "f16"])
def test_memory_stays_below_two_of_the_largest_tensors(tmp_path: pathlib.Path, type: str | None) -> None:
    rng = np.random.default_rng(1)
    small = ggufmake.tiny_llama_file(n_ff=40_000, n_layer=4, n_head=1, n_head_kv=1, n_embd=64)
    folder = hfmake.llama(small)
    folder.config |= {"intermediate_size": 40_000, "num_hidden_layers": 4}
    folder.config |= {"num_attention_heads": 1, "num_key_value_heads": 1}
    for name, x in folder.arrays.items():
        folder.arrays[name] = rng.standard_normal(x.shape, np.float32)
    source = folder.write(tmp_path / "model")
    largest = max(x.nbytes for x in folder.arrays.values())
    del folder, small
    tracemalloc.start()
    convert(source, tmp_path / "out.gguf", type)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert largest > 10e6 and peak < 2 * largest, (peak, largest)


# ---- names and keys against another converter --------------------------------------------------------------


@pytest.mark.parametrize("arch", archs.ARCHS, ids=lambda arch: arch.types[0])
def test_names_are_those_of_the_gguf_package(arch: archs.Arch) -> None:
    number = next(n for n, name in gguf.MODEL_ARCH_NAMES.items() if name == arch.name)
    known = gguf.get_tensor_name_map(number, 1)
    templates = {gguf.TENSOR_NAMES[tensor].format(bid=0) for tensor in gguf.MODEL_TENSORS[number]}
    for rule in arch.rules:
        target = rule.target.format(i=0).removesuffix(".bias" if rule.whole else "")
        assert target in templates or target == "output", target
        if rule.step == "copy" and "|" not in rule.source and "{e}" not in rule.source:
            source = rule.source.format(i=0, h=0)
            found = known.get_name(source) or known.get_name(source.replace("transformer.", ""))
            assert found in (None, target), (source, found)


REFERENCES = ["llama", "qwen2", "qwen3", "gemma3", "phi3", "gpt2"]
GEMMA_NAMES = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
REF_NAMES = {
    "gemma3": GEMMA_NAMES,
    "phi3": {"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"},
    "gpt2": GPT2,
}
HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}


def pre_tokenizer(name: str) -> Any:
    if name == "gpt-2":
        return hfmake.BYTE_LEVEL
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, {**hfmake.BYTE_LEVEL, "use_regex": False}]}


def reference_folder(name: str, file: GgufFile, config: dict[str, Any]) -> hfmake.Folder:
    """The folder that a reference file was made from: tensors with transformers' names, in its layout."""
    names = {**hfmake.NAMES, **HEAD_NORMS, **REF_NAMES.get(name, {})}
    arrays = {}
    for tensor in file.tensors:
        x = values(file, tensor)
        if name == "llama" and ("attn_q." in tensor or "attn_k." in tensor):
            x = hfmake.halves_from_pairs(x, config["head_dim"])
        if name == "gemma3" and "norm" in tensor:
            x = x - np.float32(1)
        if name == "gpt2" and x.ndim == 2 and "blk" in tensor:
            x = x.T
        layers = "transformer.h" if name == "gpt2" else "model.layers"
        arrays[hfmake.hf_name(tensor, names, layers)] = np.ascontiguousarray(x)
    tokens, files = file.get("tokenizer.ggml.tokens"), {}
    special = {f"{n}_token": tokens[i] for n, i in (("bos", 1), ("eos", 2))}
    if file.get("tokenizer.ggml.model") == "llama":
        types, scores = file.get("tokenizer.ggml.token_type"), file.get("tokenizer.ggml.scores")
        files["tokenizer.model"] = hfmake.sentencepiece(list(zip(tokens, scores, types, strict=True)))
    else:
        pre = pre_tokenizer(file.get("tokenizer.ggml.pre"))
        merges = file.get("tokenizer.ggml.merges")
        files["tokenizer.json"] = hfmake.bpe_tokenizer(tokens, merges, pre=pre)
        special["pad_token"] = tokens[0]
    files["tokenizer_config.json"] = special
    return hfmake.Folder(config, arrays, files)


@pytest.mark.parametrize("name", REFERENCES)
def test_references(refs: pathlib.Path, tmp_path: pathlib.Path, name: str) -> None:
    """Tensors, keys and types as llama.cpp's converter has them, from the same config."""
    file = GgufFile(refs / "models" / f"{name}.f16.gguf")
    config = json.loads((refs / "models" / f"{name}.json").read_text())["hf_config"]
    found = converted(reference_folder(name, file, config), tmp_path, "f16")
    assert set(found.tensors) == set(file.tensors)
    for tensor, expected in file.tensors.items():
        assert (found.tensors[tensor].type, found.tensors[tensor].dims) == (expected.type, expected.dims), (
            tensor
        )
        close = 1e-7 if name == "gemma3" and "norm" in tensor else 0
        assert np.abs(values(found, tensor) - values(file, tensor)).max() <= close, tensor
    for key in file.keys:
        if key != "general.name":
            assert found.get(key) == file.get(key), key


def test_optional_keys(tmp_path: pathlib.Path) -> None:
    folder = hfmake.llama()
    folder.config["rope_scaling"] = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    folder.files["tokenizer_config.json"] = {
        "chat_template": [{"name": "default", "template": template}, {"name": "rag", "template": "x"}],
        "eos_token": {"content": "<|endoftext|>"},
        "add_bos_token": True,
    }
    folder.files["generation_config.json"] = {
        "do_sample": True,
        "temperature": 0.5,
        "top_k": 20,
        "eos_token_id": [0, 2],
    }
    folder.files["README.md"] = b"---\nlicense: apache-2.0\n---\n# A model\n"
    file = converted(folder, tmp_path)
    expected = {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 32,
        "tokenizer.chat_template": template,
        "tokenizer.chat_template.rag": "x",
        "tokenizer.chat_templates": ["rag"],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.eot_token_id": 2,
        "tokenizer.ggml.add_bos_token": True,
        "general.sampling.temp": 0.5,
        "general.sampling.top_k": 20,
        "general.license": "apache-2.0",
        "general.size_label": "96K",
    }
    assert {key: file.get(key) for key in expected} == expected


def test_llama3_scaling_becomes_a_vector(tmp_path: pathlib.Path) -> None:
    folder = hfmake.llama()
    folder.config["rope_scaling"] = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    factors = values(converted(folder, tmp_path), "rope_freqs.weight")
    wave = 2 * np.pi * 10000.0 ** (np.arange(8) / 8)
    assert (factors[wave < 16] == 1).all() and (factors[wave > 64] == 8).all()
    between = (wave >= 16) & (wave <= 64)
    assert between.any() and ((factors[between] > 1) & (factors[between] < 8)).all()


def random_folder(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> hfmake.Folder:
    rng = np.random.default_rng(2)
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return hfmake.Folder({**hfmake.LLAMA, **config}, arrays, hfmake.llama().files)


def test_experts_are_stacked(tmp_path: pathlib.Path) -> None:
    sizes = {"num_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2, "head_dim": 16}
    config = {
        "architectures": ["Qwen3MoeForCausalLM"],
        "norm_topk_prob": True,
        "num_hidden_layers": 1,
        **sizes,
    }
    llama = {
        name: x.shape for name, x in hfmake.llama().arrays.items() if ".1." not in name and "mlp" not in name
    }
    layer = "model.layers.0"
    shapes = {**llama, f"{layer}.mlp.gate.weight": (4, 64)}
    shapes |= {f"{layer}.self_attn.{x}_norm.weight": (16,) for x in "qk"}
    for e in range(4):
        shapes |= {f"{layer}.mlp.experts.{e}.{x}_proj.weight": (32, 64) for x in ("gate", "up")}
        shapes[f"{layer}.mlp.experts.{e}.down_proj.weight"] = (64, 32)
    folder = random_folder(config, shapes)
    file = converted(folder, tmp_path)
    for name in ("gate", "up", "down"):
        stack = values(file, f"blk.0.ffn_{name}_exps.weight")
        for e in range(4):
            assert np.array_equal(stack[e], folder.arrays[f"{layer}.mlp.experts.{e}.{name}_proj.weight"])
    keys = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}
    assert {key: file.get(f"qwen3moe.{key}") for key in keys} == keys
    folder.config["norm_topk_prob"] = False
    with pytest.raises(pyedge.UnsupportedError, match="norm_topk_prob"):
        converted(folder, tmp_path)


def test_groups_of_queries_with_their_key_and_value_are_sorted(tmp_path: pathlib.Path) -> None:
    config = {
        "architectures": ["FalconForCausalLM"],
        "new_decoder_architecture": True,
        "num_hidden_layers": 1,
    }
    config |= {
        "num_kv_heads": 2,
        "parallel_attn": True,
        "multi_query": True,
        "bias": False,
        "hidden_act": "gelu",
    }
    layer, n = "transformer.h.0", hfmake.LLAMA["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {"transformer.word_embeddings.weight": (n, 64)}
    for norm in (f"{layer}.ln_attn", f"{layer}.ln_mlp", "transformer.ln_f"):
        shapes |= {f"{norm}.{part}": (64,) for part in ("weight", "bias")}
    shapes[f"{layer}.self_attention.query_key_value.weight"] = (128, 64)
    shapes[f"{layer}.self_attention.dense.weight"] = (64, 64)
    shapes[f"{layer}.mlp.dense_h_to_4h.weight"] = (96, 64)
    shapes[f"{layer}.mlp.dense_4h_to_h.weight"] = (64, 96)
    folder = random_folder({**config, "tie_word_embeddings": True}, shapes)
    found = values(converted(folder, tmp_path), "blk.0.attn_qkv.weight")
    heads = folder.arrays[f"{layer}.self_attention.query_key_value.weight"].reshape(8, 16, 64)
    order = [0, 1, 4, 5, 2, 6, 3, 7]  # in the folder: two queries, a key, a value; twice
    assert np.array_equal(found, heads[order].reshape(128, 64))


def test_tied_output_is_left_out(tmp_path: pathlib.Path) -> None:
    folder = hfmake.llama()
    folder.config["tie_word_embeddings"] = True
    assert "output.weight" not in converted(folder, tmp_path).tensors


def test_command(tmp_path: pathlib.Path) -> None:
    source = hfmake.llama(dtype="BF16").write(tmp_path / "model")
    text = succeed("convert", source, tmp_path / "out.gguf", "--type", "f16", "-q")
    assert "llama" in text and "F16" in text
    found = json.loads(succeed("convert", source, tmp_path / "out.gguf", "-q", "--json"))
    assert (
        found["types"] == {"BF16": 16, "F32": 5} and found["size"] == (tmp_path / "out.gguf").stat().st_size
    )
    failed = run("convert", source, tmp_path / "out.gguf", "--type", "q5")
    assert failed.returncode == 2 and "q5" in failed.stderr
    failed = run("convert", tmp_path / "nothing", tmp_path / "out.gguf")
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1
