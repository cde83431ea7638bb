"""`pyedge convert`: tokenizers of folders give the ids that they gave before."""

from __future__ import annotations

import pathlib
from typing import Any

import ggufmake
import hfmake
import numpy as np
import pytest

import pyedge
from pyedge.convert import convert
from pyedge.gguf_file import GgufFile

WHOLE_BYTES = {**hfmake.BYTE_LEVEL, "use_regex": False}
SPACE = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACE
)


def words(numbers: str, contractions: str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)") -> str:
    word, other = r"[^\r\n\p{L}\p{N}]?\p{L}+", r" ?[^\s\p{L}\p{N}]+[\r\n]*"
    return rf"{contractions}|{word}|\p{{N}}{numbers}|{other}{SPACE}"


def split(pattern: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts: Any) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def numbers(individual: bool) -> dict[str, Any]:
    return {"type": "Digits", "individual_digits": individual}


OLD_LISTS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
HAN = "[一-龥ࠀ-一가-퟿]+"
# Sections as models publish them, with their flag ignore_merges.
PUBLISHED: dict[str, tuple[Any, bool]] = {
    "gpt-2": (hfmake.BYTE_LEVEL, False),
    "smollm": (sequence(numbers(True), hfmake.BYTE_LEVEL), False),
    "llama-bpe": (sequence(split(words("{1,3}")), WHOLE_BYTES), True),
    "dbrx": (sequence(split(words("{1,3}", OLD_LISTS)), WHOLE_BYTES), False),
    "qwen2": (sequence(split(words("")), WHOLE_BYTES), False),
    "gpt-4o": (sequence(split(CASED, "Removed", True), WHOLE_BYTES), False),
    "falcon": (
        sequence(
            {"type": "Punctuation", "behavior": "Contiguous"},
            hfmake.BYTE_LEVEL,
            numbers(False),
            split("[0-9][0-9][0-9]"),
        ),
        False,
    ),
    "deepseek-coder": (
        sequence(
            *map(split, (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN)),
            numbers(True),
            WHOLE_BYTES,
        ),
        False,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recognised(tmp_path: pathlib.Path, name: str) -> None:
    folder = hfmake.llama()
    section, whole = PUBLISHED[name]
    folder.files["tokenizer.json"]["pre_tokenizer"] = section
    folder.files["tokenizer.json"]["model"]["ignore_merges"] = whole
    convert(folder.write(tmp_path / "model"), tmp_path / "out.gguf")
    assert GgufFile(tmp_path / "out.gguf").get("tokenizer.ggml.pre") == name
    pyedge.Model(str(tmp_path / "out.gguf")).close()  # a name that the engine knows


def with_vocabulary(n: int, files: dict[str, Any]) -> hfmake.Folder:
    """A narrow llama of n tokens."""
    made = ggufmake.tiny_llama_file(n_embd=8, n_head=1, n_head_kv=1, n_ff=8, n_layer=1)
    names = ("token_embd.weight", "output.weight")
    made.tensors = [
        (name, ggufmake.Tensor.zeros((8, n)) if name in names else tensor) for name, tensor in made.tensors
    ]
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": n}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "bos_token_id": 1}
    folder = hfmake.llama()
    folder.config |= {**sizes, **heads}
    folder.arrays = {}
    for name, tensor in made.tensors:
        assert isinstance(name, str)
        shape = tensor.dims[::-1]
        folder.arrays[hfmake.hf_name(name)] = np.frombuffer(tensor.data, "<f4").reshape(shape)
    folder.files = files
    return folder


def spaced_merges(tokens: list[str], types: list[int], scores: list[float]) -> list[list[str]]:
    """Merges of a SentencePiece vocabulary, the best first, as a tokenizer.json has them."""
    pieces = {t: i for i, t in enumerate(tokens) if types[i] in (ggufmake.NORMAL, ggufmake.USER_DEFINED)}
    found = []
    for token, number in pieces.items():
        pairs = [(token[:at], token[at:]) for at in range(1, len(token))]
        pairs = [pair for pair in pairs if pair[0] in pieces and pair[1] in pieces]
        found += [(-scores[number], pieces[a], pieces[b], [a, b]) for a, b in pairs]
    return [pair for *_, pair in sorted(found)]


@pytest.mark.parametrize("kind", ["tokenizer.model", "tokenizer.json"])
def test_sentencepiece_ids(refs: pathlib.Path, tmp_path: pathlib.Path, kind: str) -> None:
    vocab = GgufFile(refs / "tok" / "vocabs" / "ggml-vocab-llama-spm.gguf")
    tokens, types, scores = (vocab.get(f"tokenizer.ggml.{k}") for k in ("tokens", "token_type", "scores"))
    files: dict[str, Any] = {"tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>"}}
    if kind == "tokenizer.model":
        files[kind] = hfmake.sentencepiece(list(zip(tokens, scores, types, strict=True)))
    else:
        rules = [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]
        files[kind] = {
            "added_tokens": [hfmake.added(i, tokens[i]) for i in range(3)],
            "normalizer": {"type": "Sequence", "normalizers": rules},
            "pre_tokenizer": None,
            "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {
                "type": "BPE",
                "unk_token": "<unk>",
                "byte_fallback": True,
                "vocab": {token: i for i, token in enumerate(tokens)},
                "merges": spaced_merges(tokens, types, scores),
            },
        }
    folder = with_vocabulary(len(tokens), files)
    convert(folder.write(tmp_path / "model"), tmp_path / "out.gguf")
    expected = np.load(refs / "tok" / "mixed_llama-spm.npz")["plain"]
    text = (refs / "tok" / "mixed.txt").read_bytes().decode()
    with pyedge.Model(str(tmp_path / "out.gguf")) as model:
        assert model.tokenize(text, add_special=False) == expected.tolist()
        assert model.tokenize("a")[0] == 1  # BOS, as such tokenizers add it


def test_added_tokens_and_gaps(tmp_path: pathlib.Path) -> None:
    folder = hfmake.llama()
    tokenizer, n = folder.files["tokenizer.json"], hfmake.LLAMA["vocab_size"]
    del tokenizer["model"]["vocab"]["er"]  # the last one
    folder.config["vocab_size"] = n + 3
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        folder.arrays[name] = np.zeros((n + 3, 64), np.float32)
    tokenizer["added_tokens"] += [
        hfmake.added(n, "<tool>", special=False),
        hfmake.added(n + 1, "▁▁", special=False),
        hfmake.added(n + 9, "<picture>"),
    ]
    convert(folder.write(tmp_path / "model"), tmp_path / "out.gguf")
    file = GgufFile(tmp_path / "out.gguf")
    tokens, types = file.get("tokenizer.ggml.tokens"), file.get("tokenizer.ggml.token_type")
    assert tokens[n:] == ["<tool>", "  ", f"[PAD{n + 2}]"]
    assert types[n:] == [ggufmake.USER_DEFINED] * 2 + [ggufmake.UNUSED]
    assert types[:3] == [ggufmake.CONTROL] * 3 and types[n - 1] == ggufmake.UNUSED


@pytest.mark.parametrize("given", [None, False])
def test_bos_from_the_post_processor(tmp_path: pathlib.Path, given: bool | None) -> None:
    folder = hfmake.llama()
    single = [
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    template = {"type": "TemplateProcessing", "single": single}
    folder.files["tokenizer.json"]["post_processor"] = {"type": "Sequence", "processors": [template]}
    if given is not None:
        folder.files["tokenizer_config.json"] = {"add_bos_token": given}
    convert(folder.write(tmp_path / "model"), tmp_path / "out.gguf")
    with pyedge.Model(str(tmp_path / "out.gguf")) as model:
        assert (model.tokenize("the")[0] == 0) == (given is None)
