"""The tokenizer of the test library, seen from Python: made from lists, or from a file of a vocabulary only.

Such a file cannot be opened as a model, so it is read with the GGUF reader of the test library and handed to
the tokenizer as the model layer does it.
"""

from __future__ import annotations

import mmap
import pathlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

BPE, SPM = 0, 1
OK, ERR_ARG, ERR_FORMAT, ERR_UNSUPPORTED = 0, 1, 3, 4
SPECIAL, PARSE = 1, 2
UNKNOWN, CONTROL, USER, UNUSED, BYTE, END = 1, 2, 4, 8, 16, 32
NORMAL_TYPE, UNKNOWN_TYPE, CONTROL_TYPE, USER_TYPE, UNUSED_TYPE, BYTE_TYPE = 1, 2, 3, 4, 5, 6

ID_KEYS = {"bos_id": "bos", "eos_id": "eos", "unk_id": "unknown", "eot_id": "eot", "eom_id": "eom"}
FLAG_KEYS = {
    "add_bos": "add_bos_token",
    "add_eos": "add_eos_token",
    "add_space_prefix": "add_space_prefix",
    "ignore_merges": "ignore_merges",
    "remove_extra_whitespaces": "remove_extra_whitespaces",
}

HEADERS = (
    *("base/arena.h", "base/view.h", "format/gguf.h", "quant/types.h"),
    *("text/tokenizer.h", "text/trie.h", "text/split.h", "text/pretokenize.h"),
)


class Tokenizer:
    """A pe_tokenizer; `keep` holds what its vocabulary points into."""

    def __init__(self, lib: Any, vocab: Any, keep: Sequence[Any] = ()) -> None:
        self.lib, self.ffi, self.keep = lib.lib, lib.ffi, [vocab, *keep]
        handle = self.ffi.new("pe_tokenizer **")
        self.status = self.lib.pe_tokenizer_create(vocab, handle)
        self.message = lib.error() if self.status else ""
        self.handle = self.ffi.gc(handle[0], self.lib.pe_tokenizer_free) if self.status == OK else None
        self.n_tokens = int(vocab.n_tokens)

    def encode(self, text: bytes | str, flags: int = 0) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        room = len(data) + 3
        ids, n = self.ffi.new("int32_t[]", room), self.ffi.new("size_t *")
        assert self.lib.pe_tokenizer_encode(self.handle, data, len(data), flags, ids, room, n) == OK
        assert n[0] <= room
        return list(self.ffi.unpack(ids, n[0])) if n[0] else []

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> bytes:
        n = self.ffi.new("size_t *")
        array = self.ffi.new("int32_t[]", list(ids))
        null = self.ffi.NULL
        assert self.lib.pe_tokenizer_decode(self.handle, array, len(ids), skip_special, null, 0, n) == OK
        text = self.ffi.new("char[]", max(1, n[0]))
        assert self.lib.pe_tokenizer_decode(self.handle, array, len(ids), skip_special, text, n[0], n) == OK
        return bytes(self.ffi.unpack(text, n[0])) if n[0] else b""

    def token(self, token_id: int) -> bytes:
        data, n = self.ffi.new("const char **"), self.ffi.new("size_t *")
        assert self.lib.pe_tokenizer_token_bytes(self.handle, token_id, data, n) == OK
        return bytes(self.ffi.unpack(data[0], n[0])) if n[0] else b""

    def attributes(self, token_id: int) -> int:
        return int(self.lib.pe_tokenizer_attributes(self.handle, token_id))


def views(ffi: Any, texts: Sequence[bytes]) -> tuple[Any, Any]:
    pool = ffi.from_buffer(b"".join(texts) + b"\0")
    array = ffi.new("pe_view[]", max(1, len(texts)))
    at = 0
    for i, text in enumerate(texts):
        array[i].data, array[i].size = pool + at, len(text)
        at += len(text)
    return array, pool


def make(lib: Any, kind: int, tokens: Sequence[bytes], **options: Any) -> Tokenizer:
    """A tokenizer from lists: types, scores, merges, pre, ids and flags as keyword arguments."""
    ffi = lib.ffi
    vocab = ffi.new("pe_vocab *")
    merges = options.pop("merges", ())
    keep = [*views(ffi, tokens), *views(ffi, merges)]
    vocab.kind, vocab.n_tokens, vocab.tokens = kind, len(tokens), keep[0]
    vocab.n_merges, vocab.merges = len(merges), keep[2]
    vocab.bos_id = vocab.eos_id = vocab.unk_id = vocab.eot_id = vocab.eom_id = -1
    for name, form in (("types", "i"), ("scores", "f")):
        values = options.pop(name, None)
        if values is not None:
            packed = ffi.from_buffer("uint8_t[]", b"\0" + struct.pack(f"<{len(values)}{form}", *values))
            keep.append(packed)
            setattr(vocab, name, packed + 1)  # as unaligned as in a file
    pre = ffi.from_buffer(options.pop("pre", b"gpt-2"))
    keep.append(pre)
    vocab.pre.data, vocab.pre.size = pre, len(pre)
    for name, value in options.items():
        setattr(vocab, name, value)
    return Tokenizer(lib, vocab, keep)


KEEP = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
REST = [byte for byte in range(256) if byte not in KEEP]
ALPHABET = [chr(byte) if byte in KEEP else chr(0x100 + REST.index(byte)) for byte in range(256)]


def bpe(
    lib: Any,
    pieces: Sequence[str],
    merges: Sequence[str],
    *,
    control: Sequence[str] = (),
    user: Sequence[str] = (),
    **options: Any,
) -> Tokenizer:
    """The 256 bytes first, then `pieces` and the special tokens."""
    texts = [*ALPHABET, *pieces, *control, *user]
    types = [NORMAL_TYPE] * (256 + len(pieces)) + [CONTROL_TYPE] * len(control) + [USER_TYPE] * len(user)
    options["merges"] = [merge.encode() for merge in merges]
    return make(lib, BPE, [text.encode() for text in texts], types=types, **options)


def spm(
    lib: Any,
    pieces: Mapping[str, float],
    *,
    byte_pieces: bool = True,
    control: Sequence[str] = (),
    user: Sequence[str] = (),
    unused: Sequence[str] = (),
    unknown: Sequence[str] = (),
    extra: Sequence[tuple[str, int]] = (),
    **options: Any,
) -> Tokenizer:
    """`pieces` first, then the 256 bytes, the special tokens, and texts with their types."""
    rows = [(text, NORMAL_TYPE) for text in pieces]
    rows += [(f"<0x{byte:02X}>", BYTE_TYPE) for byte in range(256)] if byte_pieces else []
    rows += [(text, CONTROL_TYPE) for text in control]
    rows += [(text, USER_TYPE) for text in user]
    rows += [(text, UNUSED_TYPE) for text in unused]
    rows += [(text, UNKNOWN_TYPE) for text in unknown]
    rows += extra
    options.setdefault("scores", [*pieces.values()] + [0.0] * (len(rows) - len(pieces)))
    types = [kind for _, kind in rows]
    return make(lib, SPM, [text.encode() for text, _ in rows], types=types, **options)


def read_vocab(lib: Any, path: pathlib.Path) -> Tokenizer:
    """The tokenizer of a GGUF file, with or without tensors."""
    ffi = lib.ffi
    with path.open("rb") as file:
        data = ffi.from_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    gguf = ffi.gc(ffi.new("pe_gguf *"), lib.lib.pe_gguf_free)
    row_size = ffi.callback("bool(int, uint64_t, uint64_t *, const char **)")(lib.lib.pe_quant_row_size)
    assert lib.lib.pe_gguf_parse(data, len(data), row_size, gguf) == OK, lib.error()
    vocab = ffi.new("pe_vocab *")

    def find(name: str) -> Any:
        return lib.lib.pe_gguf_find(gguf, f"tokenizer.ggml.{name}".encode())

    def scalar(name: str) -> Any:
        kv = find(name)
        if not kv:
            return None
        value = ffi.new("pe_meta *")
        lib.lib.pe_gguf_value(kv, 0, value)
        if value.type == lib.lib.PE_META_STRING:
            return bytes(ffi.unpack(value.string, value.string_size))
        return bool(value.value.b) if value.type == lib.lib.PE_META_BOOL else int(value.value.u)

    spm: bool = scalar("model") == b"llama"
    vocab.kind = SPM if spm else BPE
    tokens = find("tokens")
    vocab.n_tokens, vocab.tokens = tokens.n_items, tokens.strings
    for name, key in (("scores", "scores"), ("types", "token_type")):
        if find(key):
            setattr(vocab, name, find(key).data)
    if find("merges"):
        vocab.n_merges, vocab.merges = find("merges").n_items, find("merges").strings
    if find("pre"):
        vocab.pre = find("pre").strings[0]
    name = lib.lib.pe_gguf_find(gguf, b"general.name")
    if name:
        vocab.model_name = name.strings[0]
    assert lib.lib.pe_vocab_set_defaults(vocab) == OK, lib.error()
    keys = {field: f"{key}_token_id" for field, key in ID_KEYS.items()} | FLAG_KEYS
    for field, key in keys.items():
        value = scalar(key)
        if value is not None:
            setattr(vocab, field, value)
    return Tokenizer(lib, vocab, [data, gguf, row_size])
