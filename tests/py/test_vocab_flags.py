"""What vocabularies mean beyond their lists: flags, their defaults, and the pre-tokeniser to fall back on."""

from __future__ import annotations

import pathlib
from typing import Any

import ggufmake as gm
import pytest
from ggufmake import Value
from refusal import opened, refused
from vocabs import BPE, ERR_ARG, HEADERS, OK, PARSE, SPM, bpe, spm

import pyedge


@pytest.fixture(scope="module")
def lib(core: Any) -> Any:
    for header in HEADERS:
        core.declare_header(header)
    return core


def test_white_space_that_belongs_to_special_tokens(lib: Any) -> None:
    text = "a <s> \n b<|end|> \t\r\n\v\f c <mask>  d"
    specials = ["<s>", "<|end|>", "<mask>"]

    def pieces(**flags: bool) -> bytes:
        tokenizer = bpe(lib, [], [], control=specials, **flags)
        return tokenizer.decode(tokenizer.encode(text, PARSE))

    assert pieces() == text.encode()
    assert pieces(rstrip_special=True) == b"a <s> \n b<|end|>c <mask>d"
    assert pieces(lstrip_mask=True) == b"a <s> \n b<|end|> \t\r\n\v\f c<mask>  d"


def test_extra_white_space_is_removed_where_the_file_asks(lib: Any) -> None:
    """As SentencePiece normalises: of spaces alone, and before the prefix is added."""
    plain, squeezed = (
        spm(
            lib,
            {"\u2581": -9.0, "a": -8.0, "\u2581a": -2.0, "\u2581\u2581": -3.0},
            add_space_prefix=True,
            remove_extra_whitespaces=flag,
        )
        for flag in (False, True)
    )
    for text, same in {
        "  a   a ": "a a",
        " ": "",
        "a\t  b\n ": "a\t b\n",
        " \u3000 a": "\u3000 a",
    }.items():
        assert squeezed.encode(text) == plain.encode(same), text


# ---- what files leave out ----------------------------------------------------------------------------------


def defaults(lib: Any, kind: int, **names: bytes) -> Any:
    vocab = lib.ffi.new("pe_vocab *", {"kind": kind, "n_tokens": 3})
    keep = {name: lib.ffi.from_buffer(value) for name, value in names.items()}
    for name, buffer in keep.items():
        setattr(vocab, name, {"data": buffer, "size": len(buffer)})
    status = lib.lib.pe_vocab_set_defaults(vocab)
    assert status == OK, lib.error()
    return vocab


def test_defaults(lib: Any) -> None:
    pieces, merges = defaults(lib, SPM), defaults(lib, BPE, pre=b"gpt-2")
    assert (pieces.add_bos, pieces.add_eos, pieces.add_space_prefix) == (True, False, True)
    assert (pieces.unk_id, pieces.bos_id, pieces.eos_id, pieces.eot_id, pieces.eom_id) == (0, 1, 2, -1, -1)
    assert (merges.add_bos, merges.add_eos, merges.add_space_prefix) == (False, False, False)
    assert (merges.unk_id, merges.bos_id, merges.eos_id, merges.eot_id, merges.eom_id) == (-1,) * 5
    assert defaults(lib, BPE, pre=b"llama-bpe").add_bos
    assert defaults(lib, BPE, pre=b"unheard-of", pre_fallback=b"llama-bpe").add_bos
    for name in (b"Phi3", b"phi-3.5 mini", b"My Phi-3"):
        assert defaults(lib, SPM, model_name=name).rstrip_special
    for name in (b"", b"phi 3", b"Phi-4", b"ph"):
        assert not defaults(lib, SPM, model_name=name).rstrip_special
    assert defaults(lib, BPE, pre=b"jina-v2-de").lstrip_mask
    assert defaults(lib, BPE, pre=b"gpt-2", model_name=b"modern-bert-base").lstrip_mask
    assert not merges.lstrip_mask


def test_a_fallback_is_used_where_the_name_is_unknown_or_missing(lib: Any) -> None:
    text = "it's 12345"

    def count(pre: bytes, fallback: bytes) -> list[int]:
        view = {"data": lib.ffi.from_buffer(fallback), "size": len(fallback)}
        merges = ["1 2", "12 3", "123 4"]
        tokenizer = bpe(lib, ["12", "123", "1234"], merges, pre=pre, pre_fallback=view)
        assert tokenizer.status == OK, tokenizer.message
        return [len(tokenizer.token(i)) for i in tokenizer.encode(text)][-5:]

    assert count(b"unheard-of", b"gpt-2") == count(b"gpt-2", b"") == [1, 1, 1, 4, 1]
    assert count(b"unheard-of", b"llama-bpe") == count(b"", b"llama-bpe") == [1, 1, 3, 1, 1]
    assert count(b"qwen2", b"llama-bpe") == count(b"qwen2", b"") == [1] * 5
    tokenizer = bpe(lib, [], [], pre=b"gpt-2", pre_fallback={"data": lib.ffi.from_buffer(b"x"), "size": 1})
    assert tokenizer.status == ERR_ARG
    assert "the pre-tokeniser 'x' is not known; known are: default, " in tokenizer.message


def test_models_with_an_unknown_pre_tokeniser(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gm.tiny_llama(keys={"tokenizer.ggml.pre": gm.text("unheard-of")}))
    with pytest.raises(
        pyedge.UnsupportedError, match="'unheard-of', which is not known, and no other is named"
    ):
        pyedge.Model(path)
    text = "it's 12345"
    with pyedge.Model(path, pretokenizer="llama-bpe") as model:
        assert model.detokenize(model.tokenize(text, add_special=False)) == text
    with pytest.raises(ValueError, match="the pre-tokeniser 'llama' is not known; known are: default, gpt-2"):
        pyedge.Model(path, pretokenizer="llama")
    with pytest.raises(TypeError, match="pretokenizer must be None or a name, not 1"):
        pyedge.Model(path, pretokenizer=1)  # type: ignore[arg-type]


def test_models_that_ask_for_a_normalisation_are_refused() -> None:
    key = "tokenizer.ggml.precompiled_charsmap"
    opened(gm.tiny_llama(keys={key: Value.array(gm.U8, [])})).close()
    data = gm.tiny_llama(keys={key: Value.array(gm.U8, [1, 2, 3])})
    refused(data, "precompiled_charsmap asks for characters to be replaced", pyedge.UnsupportedError)
