"""Well-formed GGUF files that are no working model: wrong keys, shapes, vocabularies or chat templates.

Every case is one mistake in a model that opens without it; the message names the file and the key, tensor
or token. What a file may not be as a container is the matter of test_bad_files.py.
"""

from __future__ import annotations

import ggufmake as gm
import pytest
from ggufmake import Tensor, Value
from refusal import opened, refused

import pyedge

NORM = "blk.0.attn_norm.weight"
VECTOR = Tensor.zeros((64,))


def test_control_without_output() -> None:
    """Tied embeddings: the one tensor that a llama may lack."""
    opened(gm.tiny_llama(tensors={"output.weight": None})).close()


# ---- a model of its architecture ---------------------------------------------------------------------------

NEEDED_KEYS = [
    "general.architecture",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.feed_forward_length",
    "llama.attention.head_count",
    "llama.attention.layer_norm_rms_epsilon",
    "tokenizer.ggml.model",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.merges",
]


@pytest.mark.parametrize("key", NEEDED_KEYS)
def test_missing_key(key: str) -> None:
    refused(gm.tiny_llama(keys={key: None}), key.replace(".", r"\."))


KEY_VALUE_CASES = {
    "no layers": ("llama.block_count", gm.u32(0)),
    "layers without tensors": ("llama.block_count", gm.u32(3)),
    "2^32-1 layers": ("llama.block_count", gm.u32(2**32 - 1)),
    "layers as text": ("llama.block_count", gm.text("2")),
    "layers past 32 bits": ("llama.block_count", Value.of(gm.U64, 2**32 + 2)),
    "negative width": ("llama.embedding_length", Value.of(gm.I32, -64)),
    "width 2^32-1": ("llama.embedding_length", gm.u32(2**32 - 1)),
    "no context": ("llama.context_length", gm.u32(0)),
    "no heads": ("llama.attention.head_count", gm.u32(0)),
    "heads that do not divide": ("llama.attention.head_count", gm.u32(3)),
    "no key heads": ("llama.attention.head_count_kv", gm.u32(0)),
    "key heads that do not divide": ("llama.attention.head_count_kv", gm.u32(3)),
    "more key heads than heads": ("llama.attention.head_count_kv", gm.u32(8)),
    "epsilon NaN": ("llama.attention.layer_norm_rms_epsilon", gm.f32(float("nan"))),
    "epsilon negative": ("llama.attention.layer_norm_rms_epsilon", gm.f32(-1.0)),
    "epsilon as integer": ("llama.attention.layer_norm_rms_epsilon", gm.u32(1)),
    "rope base infinite": ("llama.rope.freq_base", gm.f32(float("inf"))),
    "rope base zero": ("llama.rope.freq_base", gm.f32(0.0)),
    "rope wider than a head": ("llama.rope.dimension_count", gm.u32(32)),
    "rope of odd width": ("llama.rope.dimension_count", gm.u32(15)),
    "architecture as number": ("general.architecture", gm.u32(1)),
}


@pytest.mark.parametrize("case", KEY_VALUE_CASES)
def test_key_value(case: str) -> None:
    key, value = KEY_VALUE_CASES[case]
    named = {
        "layers without tensors": r"tensor 'blk\.2\.",
        "heads that do not divide": r"head",
        "key heads that do not divide": r"head_count",
    }
    refused(gm.tiny_llama(keys={key: value}), named.get(case, key.replace(".", r"\.")))


def test_unknown_architecture() -> None:
    data = gm.tiny_llama(keys={"general.architecture": gm.text("gl\x1b[0mados")})
    refused(data, r"architecture '.*llama", pyedge.UnsupportedError)


def test_unknown_tokenizer() -> None:
    for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre"):
        refused(gm.tiny_llama(keys={key: gm.text("nonsense")}), r"nonsense", pyedge.Error)


@pytest.mark.parametrize(
    "name", [name for name, _ in gm.tiny_llama_file(n_layer=1).tensors if "output.w" not in name]
)
def test_missing_tensor(name: str) -> None:
    if name == "blk.0.attn_output.weight":
        pytest.skip("covered by its neighbours")
    refused(gm.tiny_llama(tensors={name: None}), rf"tensor '{name}' is missing")


SHAPE_CASES = {
    "norm too short": (NORM, (32,)),
    "norm with a row too many": (NORM, (64, 2)),
    "query transposed": ("blk.1.attn_k.weight", (32, 64)),
    "key as wide as query": ("blk.1.attn_k.weight", (64, 64)),
    "feed-forward narrower": ("blk.0.ffn_up.weight", (64, 64)),
    "embeddings of fewer tokens": ("token_embd.weight", (64, gm.N_VOCAB["bpe"] - 1)),
    "output of more tokens": ("output.weight", (64, gm.N_VOCAB["bpe"] + 1)),
    "third dimension": ("blk.0.attn_q.weight", (64, 64, 2)),
}


@pytest.mark.parametrize("case", SHAPE_CASES)
def test_wrong_shape(case: str) -> None:
    name, dims = SHAPE_CASES[case]
    pattern = rf"tensor '{name}' has shape \[{dims[0]}, .*expected"
    refused(gm.tiny_llama(tensors={name: Tensor.zeros(dims)}), pattern)


def test_stray_tensor() -> None:
    """What would change the output in the model's own program must not be passed over."""
    data = gm.tiny_llama(tensors={"blk.0.attn_norm.bias": VECTOR})
    refused(data, r"tensor 'blk\.0\.attn_norm\.bias'", pyedge.Error)


# ---- vocabulary --------------------------------------------------------------------------------------------

SPM_TOKENS = gm.spm_tokens()
BPE_TOKENS = [*gm.BPE_SPECIAL, *gm.byte_alphabet(), *(merge.replace(" ", "") for merge in gm.BPE_MERGES)]


def spm_with(piece: str, at: int = 3) -> Value:
    tokens: list[str | bytes] = list(SPM_TOKENS)
    tokens[at] = piece
    return gm.texts(tokens)


VOCAB_CASES: dict[str, tuple[str, dict[str, Value | None], str]] = {
    "tokens as numbers": (
        "bpe",
        {"tokenizer.ggml.tokens": Value.array(gm.U32, [1, 2])},
        r"tokenizer\.ggml\.tokens",
    ),
    "tokens as one string": ("bpe", {"tokenizer.ggml.tokens": gm.text("abc")}, r"tokenizer\.ggml\.tokens"),
    "no tokens": ("bpe", {"tokenizer.ggml.tokens": gm.texts([])}, r"tokenizer\.ggml\.tokens"),
    "scores too few": (
        "spm",
        {"tokenizer.ggml.scores": Value.array(gm.F32, [0.0] * 3)},
        r"tokenizer\.ggml\.scores",
    ),
    "scores too many": (
        "spm",
        {"tokenizer.ggml.scores": Value.array(gm.F32, [0.0] * 999)},
        r"tokenizer\.ggml\.scores",
    ),
    "scores as text": (
        "spm",
        {"tokenizer.ggml.scores": gm.texts(["0"] * len(SPM_TOKENS))},
        r"tokenizer\.ggml\.scores",
    ),
    "scores missing": ("spm", {"tokenizer.ggml.scores": None}, r"scores"),
    "score NaN": (
        "spm",
        {"tokenizer.ggml.scores": Value.array(gm.F32, [float("nan")] * len(SPM_TOKENS))},
        r"scores?",
    ),
    "types too few": (
        "spm",
        {"tokenizer.ggml.token_type": Value.array(gm.I32, [1])},
        r"tokenizer\.ggml\.token_type",
    ),
    "types too many": (
        "bpe",
        {"tokenizer.ggml.token_type": Value.array(gm.I32, [1] * 999)},
        r"tokenizer\.ggml\.token_type",
    ),
    "type 7": (
        "bpe",
        {"tokenizer.ggml.token_type": Value.array(gm.I32, [7] * len(BPE_TOKENS))},
        r"(?i)type.*7",
    ),
    "merge without a space": ("bpe", {"tokenizer.ggml.merges": gm.texts(["th"])}, r"merge"),
    "merge of an unknown left": ("bpe", {"tokenizer.ggml.merges": gm.texts(["t h", "qq h"])}, r"merge.*qq"),
    "merge of an unknown right": ("bpe", {"tokenizer.ggml.merges": gm.texts(["t h", "h qq"])}, r"merge.*qq"),
    "merge to an unknown token": ("bpe", {"tokenizer.ggml.merges": gm.texts(["x y"])}, r"merge.*x y"),
    "merges as numbers": (
        "bpe",
        {"tokenizer.ggml.merges": Value.array(gm.U8, [1])},
        r"tokenizer\.ggml\.merges",
    ),
    "byte token <0x-1>": ("spm", {"tokenizer.ggml.tokens": spm_with("<0x-1>")}, r"<0x-1>"),
    "byte token <0x1G>": ("spm", {"tokenizer.ggml.tokens": spm_with("<0x1G>")}, r"<0x1G>"),
    "byte token <0x100>": ("spm", {"tokenizer.ggml.tokens": spm_with("<0x100>")}, r"<0x100>"),
    "byte token empty": ("spm", {"tokenizer.ggml.tokens": spm_with("")}, r"(?i)byte|token 3\b"),
    "byte token doubled": ("spm", {"tokenizer.ggml.tokens": spm_with("<0x01>")}, r"<0x0[01]>"),
}
for _id in ("bos", "eos", "unknown"):
    for _value in (gm.N_VOCAB["spm"], 2**31, 2**32 - 2):
        _key = f"tokenizer.ggml.{_id}_token_id"
        VOCAB_CASES[f"{_id} id {_value}"] = ("spm", {_key: gm.u32(_value)}, rf"{_id[:3]}.*{_value}")


@pytest.mark.parametrize("case", VOCAB_CASES)
def test_vocabulary(case: str) -> None:
    vocab, keys, pattern = VOCAB_CASES[case]
    refused(gm.tiny_llama(vocab=vocab, keys=keys), pattern)


# ---- chat templates ----------------------------------------------------------------------------------------

TEMPLATE_CASES = {
    "syntax": "{% for m in messages %}",
    "attributes": "{{ messages.__class__.__mro__ }}",
    "attribute by filter": "{{ (messages | attr('__class__')).__mro__ }}",
    "calls of attributes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "long range": "{% for i in range(10 ** 12) %}x{% endfor %}",
    "loops in loops": "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "loops that write": "{% for a in range(90000) %}{% for b in range(90000) %}x{% endfor %}{% endfor %}",
    "big string": "{{ 'x' * (10 ** 12) }}",
    "big power": "{{ 10 ** 10000000000 }}",
}


@pytest.mark.parametrize("case", TEMPLATE_CASES)
def test_template(case: str) -> None:
    """Opening may accept a template that it has not run; applying it ends, with an error that names it."""
    model = opened(gm.tiny_llama(keys={"tokenizer.chat_template": gm.text(TEMPLATE_CASES[case])}))
    with pytest.raises(pyedge.ModelFileError, match=r"template"):
        model.apply_chat_template([{"role": "user", "content": "hi"}])
