"""Long words, long runs and broken bytes: as the definitions and other engines have them, in linear time."""

from __future__ import annotations

import json
import pathlib
import random
from typing import Any

import pytest
from plain_tokenizers import PlainBpe, PlainSpm
from test_pretokenize import FIRST
from token_rules import summary, text_of
from vocabs import ALPHABET, HEADERS, OK, Tokenizer, bpe, read_vocab, spm

import pyedge

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "tokens.json"
WINDOW = 512  # symbols, of pe_merge_windows

# Bytes that are no characters: alone, cut short, overlong, surrogates, beyond the last code point.
BROKEN = [
    *(b"\xff", b"\x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xed\xa0\xbd\xed\xb8\x80"),
    *(b"\xe4\xb8", b"\xf0\x9f\x98", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\0"),
]
SOUND = [
    piece.encode() for piece in (" ", "  ", "a", "the ", "é", "中文", "1", "\n", "'s", "😀", "\u200d", ".")
]


@pytest.fixture(scope="module")
def lib(core: Any) -> Any:
    for header in HEADERS:
        core.declare_header(header)
    core.declare(
        "typedef struct pe_test_work { size_t lookups, symbols, ids; bool on_heap; } pe_test_work;"
        "void pe_test_merge_work(const char *text, size_t size, unsigned longest, pe_test_work *work);"
    )
    return core


# ---- against the definitions -------------------------------------------------------------------------------


def random_merges(rng: random.Random, alphabet: str, n: int, longest: int) -> list[str]:
    """Merges in any order: a piece may have a better rank than those it is made of."""
    pieces, merges = list(alphabet), {}
    while len(merges) < n:
        left, right = rng.choice(pieces), rng.choice(pieces)
        if len(left + right) <= longest:
            merges[f"{left} {right}"] = left + right
            pieces.append(left + right)
    rows = list(merges)
    rng.shuffle(rows)
    return rows


@pytest.mark.parametrize("seed", range(12))
def test_long_words_are_merged_as_a_whole(lib: Any, seed: int) -> None:
    rng = random.Random(seed)
    alphabet = "abc"[: 1 + seed % 3]
    merges = random_merges(rng, alphabet, min(40, 4 ** len(alphabet)), 4 + 12 * (seed % 4))
    pieces = sorted({merge.replace(" ", "") for merge in merges})
    tokenizer = bpe(lib, pieces, merges)
    plain = PlainBpe([*ALPHABET, *pieces], merges, FIRST["gpt-2"])
    scores = {piece: -rng.random() for piece in [*alphabet, "\u2581", *pieces]}
    sentence = spm(lib, scores, add_space_prefix=seed % 2)
    for size in (WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 3500):
        word = "".join(rng.choices(alphabet, k=size)).encode()
        assert tokenizer.encode(word) == plain.encode(word)
        prefix = b" " if seed % 2 else b""
        assert sentence.encode(word) == PlainSpm(lib.ffi, sentence.keep[0]).encode(prefix + word)


@pytest.mark.parametrize("longest", [256, 511, 512, 2048])
def test_tokens_as_long_as_a_window(lib: Any, longest: int) -> None:
    pieces, merges = ["aa"], ["a a"]
    while len(pieces[-1]) < longest:
        left, right = pieces[-1], pieces[-1][: longest - len(pieces[-1])]
        if right not in ("a", *pieces):
            break
        pieces.append(left + right)
        merges.append(f"{left} {right}")
    tokenizer = bpe(lib, pieces, merges)
    plain = PlainBpe([*ALPHABET, *pieces], merges, FIRST["gpt-2"])
    sentence = spm(lib, {"\u2581": -9.0, "a": -8.0} | {piece: -len(piece) / 4096 for piece in pieces})
    for size in (longest, 3 * longest + 1, 5000):
        assert tokenizer.encode(b"a" * size) == plain.encode(b"a" * size)
        expected = PlainSpm(lib.ffi, sentence.keep[0]).encode(b"a" * size)
        assert sentence.encode(b"a" * size) == expected


def plain_bpe(model: pyedge.Model) -> PlainBpe:
    keys = model.metadata
    patterns = FIRST["smollm"]
    return PlainBpe(keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.merges"], patterns)


def test_broken_bytes_with_smollm2(smollm2: pathlib.Path) -> None:
    rng = random.Random(3)
    with pyedge.Model(smollm2) as model:
        plain = plain_bpe(model)
        texts = [*BROKEN, *(b"".join(rng.choices(BROKEN + SOUND, k=30)) for _ in range(300))]
        for text in texts:
            assert model.tokenize(text, add_special=False) == plain.encode(text), text


def test_broken_bytes_with_gemma3(lib: Any, gemma3: pathlib.Path) -> None:
    rng = random.Random(4)
    tokenizer = read_vocab(lib, gemma3)
    plain = PlainSpm(lib.ffi, tokenizer.keep[0])
    texts = [*BROKEN, *(b"".join(rng.choices(BROKEN + SOUND, k=30)) for _ in range(200))]
    for text in texts:
        assert tokenizer.encode(text) == plain.encode(text), text


# ---- against other engines ---------------------------------------------------------------------------------


def check_golden(tokenizer: Tokenizer, name: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    rows = golden["ids"][name]
    assert len(rows) >= 20
    for title, expected in rows.items():
        text = text_of(golden["texts"][title]).encode()
        ids = tokenizer.encode(text)
        found = summary(ids)
        assert set(expected) >= {"llama.cpp"}
        for engine, value in expected.items():
            assert found == value, (title, engine)
        assert tokenizer.decode(ids) == text


def test_golden_smollm2(lib: Any, smollm2: pathlib.Path) -> None:
    check_golden(read_vocab(lib, smollm2), smollm2.stem)


def test_golden_gemma3(lib: Any, gemma3: pathlib.Path) -> None:
    check_golden(read_vocab(lib, gemma3), gemma3.stem)


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-2", "llama-bpe", "qwen2", "qwen35", "starcoder", "deepseek-coder", "falcon"),
        *("llama-spm", "phi-3"),
    ],
)
def test_golden_vocabularies(lib: Any, refs: pathlib.Path, name: str) -> None:
    check_golden(read_vocab(lib, refs / "tok" / "vocabs" / f"ggml-vocab-{name}.gguf"), name)


# ---- time --------------------------------------------------------------------------------------------------


def test_merging_is_linear_in_the_length(lib: Any) -> None:
    """Counted, not timed: the pairs that are looked up, and the symbols of all windows together."""
    work = lib.ffi.new("pe_test_work *")
    rng = random.Random(5)
    for text in (b"a" * 200_000, bytes(rng.choices(b"abcdefg", k=200_000)), b"314159" * 33_333):
        for longest in (2, 7, 16, 32):
            counts = []
            for size in (len(text) // 8, len(text)):
                lib.lib.pe_test_merge_work(text, size, longest, work)
                assert not work.on_heap
                assert work.symbols < 1.2 * size
                assert work.ids >= size // longest
                counts.append(work.lookups / size)
            assert counts[1] == pytest.approx(counts[0], rel=0.02)
        lib.lib.pe_test_merge_work(
            text, len(text), 100, work
        )  # what follows reaches back far: larger windows
        assert work.symbols < 2 * len(text)


@pytest.mark.parametrize("pre", list(FIRST))
def test_a_megabyte_of_anything_with_any_pre_tokeniser(lib: Any, pre: str) -> None:
    """Ends in a moment where time grows linearly, and never where it grows with n * n."""
    tokenizer = bpe(lib, ["ab", "abc", "Ġa"], ["a b", "ab c", "Ġ a"], pre=pre.encode())
    words = (
        b"a",
        b"Ab",
        b"1",
        b" ",
        b"\n",
        b" \n",
        b"'",
        b".",
        b"\xff",
        "中".encode(),
        "\u3000".encode(),
        b"a ",
    )
    for word in (*words, "😀\u200d".encode(), "e\u0301".encode(), b"!\n", b" 1"):
        data = word * (300_000 // len(word))
        ids = tokenizer.encode(data)
        assert tokenizer.status == OK
        assert tokenizer.decode(ids) == data
