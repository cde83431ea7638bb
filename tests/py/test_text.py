"""The parts of the tokenizers: classes of characters, UTF-8, the trie, the dictionary."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from vocabs import ALPHABET, ERR_UNSUPPORTED, HEADERS, OK, bpe

RELAXED = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def lib(core: Any) -> Any:
    for header in HEADERS:
        core.declare_header(header)
    core.declare("""
        int pe_unicode_class(uint32_t code_point);
        size_t pe_utf8_decode(const char *text, size_t size, uint32_t *code_point);
    """)
    return core


def test_classes_of_characters(lib: Any) -> None:
    """As the interpreter has them, for the characters that it knows."""
    order = "CLMNPS"
    cases = {"Lu": 7, "Lt": 7, "Ll": 8}
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category in ("Cn", "Cs"):
            continue
        space = category[0] == "Z" or code in (9, 10, 11, 12, 13, 0x85)
        expected = len(order) if space else cases.get(category, order.index(category[0]))
        assert lib.lib.pe_unicode_class(code) == expected, hex(code)


@RELAXED
@given(st.one_of(st.binary(min_size=1, max_size=6), st.characters(codec="utf-8").map(str.encode)))
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"\xe0\x80\x80")
def test_utf8(lib: Any, data: bytes) -> None:
    code = lib.ffi.new("uint32_t *")
    length = lib.lib.pe_utf8_decode(data, len(data), code)
    expected = next((n for n in range(1, 5) if len(data[:n]) == n and _is_character(data[:n])), None)
    if expected is None:
        assert (length, code[0]) == (1, 0x110000)
    else:
        assert (length, code[0]) == (expected, ord(data[:expected].decode()))


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


KEYS = st.lists(
    st.text("ab\xff", min_size=1, max_size=5).map(lambda text: text.encode("latin-1")), max_size=60
)


@RELAXED
@given(KEYS, st.integers(0, 2))
def test_trie(lib: Any, keys: list[bytes], spread: int) -> None:
    ffi = lib.ffi
    keys += [bytes([i, i % 7]) for i in range(256)] * spread  # wide nodes, and each key twice
    arena, trie = ffi.new("pe_arena *"), ffi.new("pe_trie *")
    buffers = [ffi.from_buffer(key) for key in keys]
    array = ffi.new(
        "pe_trie_key[]", [(b, len(k), i) for i, (b, k) in enumerate(zip(buffers, keys, strict=True))]
    )
    assert lib.lib.pe_trie_build(trie, arena, array, len(keys)) == OK
    expected: dict[bytes, int] = {}
    for i, key in enumerate(keys):
        expected.setdefault(key, i)
    found = ffi.new("int32_t *")
    for text in [*keys, *(key + b"a" for key in keys), *(key[:-1] for key in keys), b"\x07b"]:
        assert lib.lib.pe_trie_find(trie, text, len(text)) == expected.get(text, -1)
        longest = max((n for n in range(1, len(text) + 1) if text[:n] in expected), default=0)
        assert lib.lib.pe_trie_longest(trie, text, len(text), found) == longest
        assert not longest or found[0] == expected[text[:longest]]
    lib.lib.pe_arena_free(arena)


# ---- the dictionary ----------------------------------------------------------------------------------------

MASK = 2**64 - 1
GOLDEN, LAST = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93


def key_with_hash(value: int) -> bytes:
    """Eight bytes whose hash is `value`: each step of the hash, undone. See pe_hash_bytes."""
    value = value * pow(LAST, -1, 2**64) & MASK
    value ^= value >> 32
    value = value * pow(GOLDEN, -1, 2**64) & MASK
    return (value ^ 8).to_bytes(8, "little")


def test_tokens_chosen_to_collide_are_refused(lib: Any) -> None:
    """They would make a load take time in the square of their number."""
    keys = {key_with_hash(0x123456789 << 28 | i) for i in range(1000)}
    tokenizer = bpe(lib, ["".join(ALPHABET[byte] for byte in key) for key in keys], [])
    assert tokenizer.status == ERR_UNSUPPORTED
    assert "tokens holds too many texts with the same hash" in tokenizer.message


def test_few_tokens_that_collide_are_found(lib: Any) -> None:
    keys = [key_with_hash(0x123456789 << 28 | i) for i in range(40)]
    tokenizer = bpe(
        lib, ["".join(ALPHABET[byte] for byte in key) for key in keys], [], pre=b"bloom", ignore_merges=True
    )
    for i, key in enumerate(keys):
        if not any(byte in key for byte in b" (|.,!?)\t\n\r\v\f"):
            assert tokenizer.encode(key) == [256 + i]


def test_merges_chosen_to_collide_are_refused(lib: Any) -> None:
    """Of all pairs of a thousand tokens, five hundred whose product with the hash's constant starts alike."""
    texts = [a + b for a in "abcdefghijklmnopqrstuvwxyzABCDEF" for b in "abcdefghijklmnopqrstuvwxyzABCDEF"]
    pairs = [
        (left, right)
        for left in range(len(texts))
        for right in range(len(texts))
        if ((left + 256 << 32 | right + 256) * GOLDEN & MASK) >> 54 == 77
    ][:500]
    assert len(pairs) == 500
    merges = [(texts[left], texts[right]) for left, right in pairs]
    tokenizer = bpe(lib, texts + [a + b for a, b in merges], [f"{a} {b}" for a, b in merges])
    assert tokenizer.status == ERR_UNSUPPORTED
    assert "merges holds too many pairs with the same hash" in tokenizer.message
