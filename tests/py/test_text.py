"""The parts of the tokenizers: pre-tokenisers, classes of characters, UTF-8, the trie."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from vocabs import HEADERS, OK

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


def words(lib: Any, name: str, text: str) -> list[str]:
    row = lib.ffi.new("pe_pretokenizer **")
    encoded = name.encode()
    view = lib.ffi.new("pe_view *", {"data": (buffer := lib.ffi.from_buffer(encoded)), "size": len(encoded)})
    assert lib.lib.pe_pretokenizer_find(view[0], row) == OK, (lib.error(), buffer)
    data, at, result = text.encode(), 0, []
    while at < len(data):
        end = row[0].next(data, at, len(data))
        assert at < end <= len(data)
        result.append(data[at:end].decode())
        at = end
    return result


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gpt-2", "I'll  go 'S it's", ["I", "'ll", " ", " go", " '", "S", " it", "'s"]),
        ("gpt-2", "a 123b45\n\n c  ", ["a", " 123", "b", "45", "\n\n", " c", "  "]),
        ("gpt-2", "\u3000é\n!? ", ["\u3000", "é", "\n", "!?", " "]),
        ("smollm", "a 123  4½Ⅷ!", ["a", " ", "1", "2", "3", "  ", "4", "½", "Ⅷ", "!"]),
        ("default", "a+b 12345 'x", ["a", "+", "b", " ", "123", "45", " ", "'", "x"]),
        (
            "llama-bpe",
            "I'LL\n\n  x 12345!\n\n y",
            ["I", "'LL", "\n\n", " ", " x", " ", "123", "45", "!\n\n", " y"],
        ),
        ("qwen2", " \r\n\tab 12 (c)", [" \r\n", "\tab", " ", "1", "2", " (", "c", ")"]),
    ],
)
def test_words(lib: Any, name: str, text: str, expected: list[str]) -> None:
    assert words(lib, name, text) == expected


def test_classes_of_characters(lib: Any) -> None:
    """As the interpreter has them, for the characters that it knows."""
    order = "CLMNPS"
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category in ("Cn", "Cs"):
            continue
        space = category[0] == "Z" or code in (9, 10, 11, 12, 13, 0x85)
        expected = len(order) if space else order.index(category[0])
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
        for left in range(1, len(text)):
            if lib.lib.pe_trie_find_both(trie, text, left, len(text), found) >= 0:
                assert found[0] == expected.get(text[:left], -1)
    lib.lib.pe_arena_free(arena)
