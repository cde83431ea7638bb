"""Nano's model files: its own references, small files equal to a GGUF model, its vocabulary, broken files."""

from __future__ import annotations

import json
import pathlib
import struct
from dataclasses import replace
from typing import Any

import ggufmake as gm
import numpy as np
import pytest
from plainmake import (
    F32,
    NANO_SPECIAL,
    Q4K,
    Q80,
    Llama2c,
    Nano,
    Shape,
    Weights,
    equal_gguf,
    nano_tokens,
    nano_vocabulary,
    put_q4k,
)
from refusal import opened, refused

import pyedge
from pyedge import _core

IDS = [5, 17, 200, 3, 3, 91, 274, 0, 44, 12, 8, 150]
WIDE = Shape(n_embd=64, n_ff=256)
TOKENS = nano_tokens()
AT_VOCABULARY = 256

# ---- references --------------------------------------------------------------------------------------------

# What the quantised files lose against the float model, and what Nano's engine loses by rounding activations.
BOUNDS = {"f32": (1e-4, 1e-4), "q80": (0.3, 0.5), "q4k": (3.0, 2.0)}


@pytest.mark.parametrize("kind", BOUNDS)
def test_references(refs: pathlib.Path, kind: str) -> None:
    folder = refs / "nano"
    cases = json.loads((folder / f"ref_base_{kind}.json").read_text(encoding="utf-8"))
    of_torch, of_nano = BOUNDS[kind]
    with np.load(folder / cases["npz"]) as logits, pyedge.Model(folder / cases["model"], kv_type="f32") as m:
        assert (m.name, m.arch, m.vocab_size, m.context_length) == (f"base_{kind}", "llama", 4096, 256)
        for i, case in enumerate(cases["prompts"]):
            assert m.tokenize(case["text"], parse_special=True) == case["prompt_ids"]
            assert m.detokenize(case["prompt_ids"]) == case["text"]
            assert m.detokenize(case["output_ids"]) == case["output_text"]
            ours = m.logits(case["prompt_ids"])[-1]
            assert np.abs(ours - logits["torch_logits"][i]).max() < of_torch
            assert np.abs(ours - logits["c_logits"][i]).max() < of_nano
            text = m.generate(case["text"], raw=True, temperature=0, max_tokens=48)
            same = 48 if kind == "f32" else 6
            assert text.tokens[:same] == case["output_ids"][:same]


def test_older_reference_opens(refs: pathlib.Path) -> None:
    with pyedge.Model(refs / "nano" / "sort6.bin") as m:
        assert m.tokenize("251212") == [m.tokenize(digit)[0] for digit in "251212"]
        assert np.isfinite(m.logits(m.tokenize("251212"))).all()


def test_adapter_is_no_model(refs: pathlib.Path) -> None:
    with pytest.raises(pyedge.UnsupportedError, match=r"adapter"):
        pyedge.Model(refs / "nano" / "loraA_selfid_r8.bin")


# ---- equal to GGUF -----------------------------------------------------------------------------------------

EQUAL = {
    "floats": Nano(),
    "floats, tied": Nano(Shape(tied=True)),
    "Q80": Nano(quant=Q80, group=32),
    "Q80, tied": Nano(Shape(tied=True), Q80, 32),
    "Q80, groups across rows": Nano(quant=Q80, group=64),
    "Q80, small groups": Nano(quant=Q80, group=16),
    "Q80, a group size that lies": Nano(Shape(n_embd=64, n_ff=128), Q80, 128, used_group=64),
    "Q80, a small group size that lies": Nano(Shape(n_embd=48), Q80, 128, used_group=16),
    "Q4K, short rows": Nano(Shape(tied=True), Q4K),
    "Q4K, whole blocks": Nano(replace(WIDE, n_embd=512, tied=True, n_layer=1), Q4K),
    "Q4K, both": Nano(replace(WIDE, tied=True), Q4K),
    "Q4K, uneven rows": Nano(Shape(n_embd=40, n_ff=50, tied=True), Q4K),
}


@pytest.mark.parametrize("case", EQUAL)
def test_equals_gguf(case: str) -> None:
    file = EQUAL[case]
    data, weights = file.build()
    with opened(data) as ours, opened(equal_gguf(file.shape, weights)) as gguf:
        one, other = ours.logits(IDS), gguf.logits(IDS)
        assert ours.n_params == gguf.n_params
    if file.quant == F32:
        np.testing.assert_array_equal(one, other)
    else:  # the activations are rounded to 15 bits, where the float model has them whole
        assert np.abs(one - other).max() < 2e-3 * np.abs(other).max()


@pytest.mark.parametrize("isa", [name for name, usable, _ in _core.isas() if usable])
def test_every_instruction_set(tmp_path: pathlib.Path, isa: str) -> None:
    data, weights = EQUAL["Q4K, whole blocks"].build()
    (tmp_path / "nano").write_bytes(data)
    (tmp_path / "gguf").write_bytes(equal_gguf(EQUAL["Q4K, whole blocks"].shape, weights))
    ids = IDS * 3  # more than are multiplied one by one
    with pyedge.Model(tmp_path / "nano", isa=isa) as ours, pyedge.Model(tmp_path / "gguf", isa=isa) as gguf:
        one, other = ours.logits(ids), gguf.logits(ids)
    assert np.abs(one - other).max() < 2e-3 * np.abs(other).max()


def test_blocks_decode_to_their_definition() -> None:
    weights: Weights = {"w": np.zeros((9, 512), np.float32)}
    frame = put_q4k(weights, ["w"], seed=3)
    number = next(number for number, (name, _, _) in _core.types().items() if name == "NANO_Q4K")
    decoded = _core.dequantize(number, np.frombuffer(frame[44:], np.uint8), 9 * 512)
    np.testing.assert_array_equal(decoded, weights["w"].ravel())


def test_from_memory(core: Any) -> None:
    """Nano brings all that it needs; llama2.c does not."""
    for data, status in ((Nano(quant=Q80, group=32).to_bytes(), 0), (Llama2c().to_bytes(), 4)):
        room = np.zeros(len(data) + 32, np.uint8)
        start = -room.ctypes.data % 32
        room[start : start + len(data)] = np.frombuffer(data, np.uint8)
        model = core.ffi.new("pe_model **")
        memory = core.ffi.from_buffer(room) + start
        assert core.lib.pe_model_open_memory(memory, len(data), model) == status, core.error()
        if status == 0:
            assert core.lib.pe_model_tensor_count(model[0]) == 21
            core.lib.pe_model_release(model[0])
        else:
            assert "vocabulary is a file of its own" in core.error()


def test_types_of_tensors() -> None:
    """Whole blocks are read where they lie; rows that are shorter become floats."""
    with opened(EQUAL["Q4K, both"].to_bytes()) as m:
        names = {number: name for number, (name, _, _) in _core.types().items()}
        types = {name: names[type] for name, type, *_ in m._opened().tensors()}
    assert types["blk.0.ffn_down.weight"] == "NANO_Q4K"
    assert types["blk.0.attn_q.weight"] == "F32"


def test_metadata() -> None:
    with opened(Nano(quant=Q80, group=32).to_bytes()) as m:
        keys = m.metadata
    assert keys["general.architecture"] == "llama"
    assert keys["general.source.format"] == "Nano 2026.1 (Q80)"
    assert keys["llama.embedding_length"] == 64
    assert keys["llama.attention.head_count_kv"] == 2
    assert keys["tokenizer.ggml.model"] == "nano"
    assert keys["tokenizer.ggml.tokens"] == TOKENS
    assert keys["tokenizer.ggml.eos_token_id"] == 3


# ---- vocabulary and template -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> pyedge.Model:
    return opened(Nano().to_bytes())


def pieces(model: pyedge.Model, text: str, parse_special: bool = False) -> list[str]:
    return [TOKENS[id] for id in model.tokenize(text, parse_special=parse_special)]


LONGEST = {
    "thehat": ["the", "hat"],
    "that": ["th", "a", "t"],
    "abc": ["ab", "c"],
    "abcd": ["abcd"],
    "你好你": ["你好", "你"],
    "🙂🙂🙂": ["🙂🙂", "🙂"],
    "a very long token 1": [*"a very long token 1"],  # 19 characters: Nano tries at most 17
    "é": ["é"],
    "": [],
}


@pytest.mark.parametrize("text", LONGEST)
def test_longest_forward_match(model: pyedge.Model, text: str) -> None:
    assert pieces(model, text) == LONGEST[text]
    assert model.detokenize(model.tokenize(text)) == text


def test_special_tokens_are_read_on_request(model: pyedge.Model) -> None:
    text = "<|bos|>ab<|eos|>"
    assert pieces(model, text, parse_special=True) == ["<|bos|>", "ab", "<|eos|>"]
    assert pieces(model, text)[:3] == ["<|b", "o", "<|padding|>"]  # s is no token
    assert model.detokenize([2, 16, 3], skip_special=True) == TOKENS[16]
    assert model.tokenize("ab", add_special=True) == [TOKENS.index("ab")]


def test_unknown_characters(model: pyedge.Model) -> None:
    """One padding token each, as Nano's engine has it, also for bytes that are no characters."""
    assert model.tokenize("aßb") == [TOKENS.index("a"), 0, TOKENS.index("b")]
    assert model.tokenize(b"a\xff\xe4\xbd") == [TOKENS.index("a"), 0, 0, 0]


def test_answers_end_at_eos_and_padding(model: pyedge.Model) -> None:
    core = model._opened()
    ends = [id for id in range(len(TOKENS)) if core.token_attributes(id) & _core.TOKEN_END]
    assert ends == [0, 3]
    assert len(NANO_SPECIAL) == 7


def test_template(model: pyedge.Model) -> None:
    question = {"role": "user", "content": "你好"}
    text = "<|instruct_mark|>你好<|response_mark|>"
    assert model.apply_chat_template([question]) == text
    parts = {"role": "user", "content": [{"type": "text", "text": "你好"}]}
    assert model.apply_chat_template([parts]) == text
    answer = {"role": "assistant", "content": "ab"}
    assert model.apply_chat_template([question, answer, question]) == text + "ab<|eos|>" + text
    with pytest.raises(ValueError, match="roles user and assistant only, not system"):
        model.apply_chat_template([{"role": "system", "content": "x"}, question])


def test_no_template_without_its_tokens() -> None:
    vocabulary = nano_vocabulary(["<|question|>" if t == "<|instruct_mark|>" else t for t in TOKENS])
    with opened(Nano(vocabulary=vocabulary).to_bytes()) as m, pytest.raises(pyedge.UnsupportedError):
        m.apply_chat_template([{"role": "user", "content": "x"}])


# ---- broken files ------------------------------------------------------------------------------------------

HEADER_CASES = {
    "no layers": (32, 0, r"layers"),
    "2^32-1 layers": (32, 2**32 - 1, r"layers"),
    "2^31 wide": (36, 2**31, r"width"),
    "wider": (36, 128, r"implies a file of \d+ bytes"),
    "huge but allowed": (48, 2**24, r"implies a file of \d+ bytes"),
    "heads that do not divide": (40, 3, r"heads"),
    "no heads": (40, 0, r"heads"),
    "more key heads": (44, 8, r"key heads"),
    "no context": (24, 0, r"positions"),
    "longer context": (24, 129, r"implies a file of \d+ bytes"),
    "fewer tokens": (28, 274, r"implies a file of \d+ bytes"),
    "no tokens": (28, 0, r"tokens"),
    "flag of 2": (52, 2, r"offset 52"),
    "tied, but with an output": (52, 1, r"implies a file of \d+ bytes"),
}


@pytest.mark.parametrize("case", HEADER_CASES)
def test_header(case: str) -> None:
    at, value, pattern = HEADER_CASES[case]
    refused(Nano().patched(at, value), pattern)


@pytest.mark.parametrize("arch", [2, 3, 10, 77])
def test_other_architectures(arch: int) -> None:
    refused(Nano(arch=arch).to_bytes(), r"offset 16", pyedge.UnsupportedError)


def test_other_kinds_of_weights() -> None:
    refused(Nano().patched(60, 0x41), r"offset 60: weights of kind 0x41", pyedge.UnsupportedError)


@pytest.mark.parametrize("group", [0, 2**31, 7])
def test_group_size(group: int) -> None:
    refused(Nano(quant=Q80, group=32).patched(64, group), r"group size|implies a file")


@pytest.mark.parametrize("size", [8, 255, 263, 300, -4, -1])
def test_truncated(size: int) -> None:
    refused(Nano().to_bytes()[:size], r"cut short|has \d+ left|vocabulary")


def test_longer() -> None:
    refused(Nano().to_bytes() + bytes(4), r"implies a file of \d+ bytes")


VOCABULARY_CASES = {
    "shorter than itself": (0, 4, r"vocabulary says that it takes 4 bytes"),
    "longer than the file": (0, 2**31, r"vocabulary says that it takes"),
    "fewer tokens": (4, 274, r"says that it has 274 tokens"),
    "a token past its end": (8, 255 | 1 << 8, r"no character|past the end of the vocabulary"),
    "a flag of 2": (8, 11 | 2 << 8, r"flag of a special token is 2"),
    "an id past the end": (12, 275, r"token id 275 is past the end"),
    "an id twice": (12, 1, r"token id 1 is there twice"),
    "a surrogate": (16, 0xD800, r"0xd800, which is no character"),
    "past Unicode": (16, 0x110000, r"0x110000, which is no character"),
}


@pytest.mark.parametrize("case", VOCABULARY_CASES)
def test_vocabulary(case: str) -> None:
    at, value, pattern = VOCABULARY_CASES[case]
    refused(Nano().patched(AT_VOCABULARY + at, value), pattern)


def test_vocabulary_with_too_few_tokens() -> None:
    refused(Nano(vocabulary=nano_vocabulary(TOKENS[:-1])).to_bytes(), r"has 274 tokens")
    short = nano_vocabulary(TOKENS[:-1], count=len(TOKENS))
    refused(Nano(vocabulary=short).to_bytes(), r"has 274 tokens; the header says 275")


FRAME_CASES = {
    "bytes": (0, 43, r"says 43 bytes"),
    "kind": (8, 0x80, r"kind 0x80"),
    "blocks": (40, 2**31, r"in 2147483648 blocks"),
    "kind of a block": (44, 0x41, r"block 0 of token_embd.weight is of kind 0x41"),
    "length of a block": (48, 255, r"with 255 weights; expected 0x42 with 64"),
}


@pytest.mark.parametrize("case", FRAME_CASES)
def test_frame(case: str) -> None:
    at, value, pattern = FRAME_CASES[case]
    file = EQUAL["Q4K, short rows"]
    start = 256 + len(file.vocabulary) + 4 * 64 * 5
    refused(file.patched(start + at, value), pattern)


def test_rows_that_nano_cuts() -> None:
    refused(Nano(Shape(n_ff=320), Q4K).to_bytes(), r"rows of 320 weights in Q4K", pyedge.UnsupportedError)


def test_rope_of_another_base() -> None:
    refused(Nano(rope_base=1e6).to_bytes(), r"rope tables", pyedge.UnsupportedError)


def test_tokenizer_is_its_own(tmp_path: pathlib.Path) -> None:
    for name, data in {"nano": Nano().to_bytes(), "gguf": gm.tiny_llama()}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="bring theirs"):
            pyedge.Model(tmp_path / name, tokenizer=tmp_path / "tokenizer.bin")


def test_magic_alone() -> None:
    refused(b"S4DBMLRU", r"cut short")
    refused(struct.pack("<II", 0x55524C4D, 0x42443453) + bytes(400), r"offset 0: a GGUF file begins")
