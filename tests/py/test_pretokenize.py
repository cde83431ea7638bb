"""Pre-tokenisers against the regular expressions that their models publish, run by an independent engine."""

from __future__ import annotations

import functools
import random
import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
import regex
from vocabs import ERR_UNSUPPORTED, HEADERS, OK, bpe

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
EITHER = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
CASED_LETTERS = (
    "A-Za-z\u00b5À-ÖØ-öø-ƺƼ-ƿ\u01c4-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-\u03f5Ϸ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-"
    "Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼ\u2102\u2107\u210a-\u2113\u2115"
    "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149ⅎↃↄⰀ-ⱻⱾ-ⳤ"
    "Ⳬ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿ\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)


def cl100k(numbers: str, contraction: str = EITHER, letters: str = r"\p{L}", tail: str = r"[\r\n]*") -> str:
    first = f"{contraction}|" if contraction else ""
    marks = r"\p{M}" if "M" in letters else ""
    other = rf" ?[^\s\p{{L}}{marks}\p{{N}}]+{tail}"
    return rf"{first}[^\r\n\p{{L}}\p{{N}}]?{letters}+|\p{{N}}{numbers}|{other}|{SPACE}"


def o200k(numbers: str, contraction: str = "") -> str:
    return (
        rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{contraction}"
        rf"|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{contraction}"
        rf"|\p{{N}}{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACE}"
    )


BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
# One list of stages a row: each cuts the pieces of the one before.
PATTERNS: dict[str, list[str]] = {
    "gpt-2 mpt olmo phi-2 exaone4 jais trillion granite-docling gigachat a.x-4.0 mellum modern-bert "
    "roberta-bpe jina-v1-en jina-v2-code jina-v2-es jina-v2-de jina-es jina-de": [GPT2],
    "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2": [r"\p{N}", GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "llama-bpe llama3 llama-v3 lfm2 falcon3 falcon-h1 pixtral midm-2.0 jina-v5-nano dbrx smaug-bpe "
    "chatglm-bpe glm4 glm5": [cl100k("{1,3}")],
    "qwen2 stablelm2 deepseek-r1-qwen megrez kormo f2llmv2 hunyuan solar-open grok-2": [cl100k("")],
    "bailingmoe bailingmoe2 llada-moe": [
        r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "qwen35": [cl100k("", letters=r"[\p{L}\p{M}]")],
    "seed-coder": [
        EITHER + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
    "ufakzeka": [cl100k("", contraction="")],
    "minicpm5": [r"\p{N}{1,3}", cl100k("+")],
    "laguna": [r"[^\n]+|[\n]+", cl100k("")],
    "gpt-4o llama4 kanana2 talkie minimax-m2 granite-embed-multi-97m": [o200k("{1,3}", f"(?:{EITHER})?")],
    "tekken": [o200k("")],
    "deepseek-llm": [
        r"[\r\n]",
        rf"\s?[{CASED_LETTERS}]+",
        r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
        r"\s+$",
        r"[一-龥ࠀ-一가-퟿]+",
        r"\p{N}+",
    ],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
    "deepseek-v3 hunyuan-dense joyai-llm hy_v4": [
        r"\p{N}{1,3}",
        r"[一-龥\u3040-ゟ゠-ヿ]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    "bloom poro-chat gpt3-finnish": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
}
FIRST = {names.split()[0]: patterns for names, patterns in PATTERNS.items()}


@pytest.fixture(scope="module")
def lib(core: Any) -> Any:
    for header in HEADERS:
        core.declare_header(header)
    return core


def none(lib: Any) -> dict[str, Any]:
    return {"data": lib.ffi.NULL, "size": 0}


def words(lib: Any, name: str, data: bytes) -> list[bytes]:
    row, walk = lib.ffi.new("pe_pretokenizer **"), lib.ffi.new("pe_words *")
    encoded = name.encode()
    view = lib.ffi.new("pe_view *", {"data": (buffer := lib.ffi.from_buffer(encoded)), "size": len(encoded)})
    assert lib.lib.pe_pretokenizer_find(view[0], none(lib), row) == OK, (lib.error(), buffer)
    text, at, result = lib.ffi.from_buffer(data), 0, []
    lib.lib.pe_words_begin(walk, row[0], text, len(data))
    while at < len(data):
        end = lib.lib.pe_words_next(walk)
        assert at < end <= len(data)
        result.append(data[at:end])
        at = end
    return result


@functools.cache
def compiled(pattern: str) -> regex.Pattern[str]:
    # Characters such as "[" inside of a set are meant as they stand.
    return regex.compile(pattern, regex.VERSION0)


def expected(patterns: Sequence[str], text: str) -> list[bytes]:
    pieces = [text]
    for pattern in patterns:
        cut: list[str] = []
        for piece in pieces:
            at = 0
            for match in compiled(pattern).finditer(piece):
                cut += [piece[at : match.start()], match.group()]
                at = match.end()
            cut.append(piece[at:])
        pieces = [piece for piece in cut if piece]
    return [piece.encode() for piece in pieces]


TEXT = """I'm sure they'LL come; we'd've said 'so' -- it's 12,345.678 or $1_000 (½ of Ⅷ, ٣٤٥ and 𝟙𝟚).
  \tint main(void) {\r\n\t\treturn x[i] += ~y ^ 0xFFFFu; // `note` <b>100%</b>\r\n}\n\n\n   \n  x \n
HelloWorld ABCdef XMLHttpRequest ÀÉÎõü ПриветМир ΑΒΓδε ǅǈ ﬀﬁ iPhone15Pro McDonald'S O'Reilly's Don'T
中文没有空格，混合English和数字123。「引用」、日本語のテキスト・カタカナ　全角！한국어 문장입니다.
ไทยไม่มีช่องว่าง हिन्दी में वाक्य। عربي، نص؟ اردو۔
👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 1️⃣ e\u0301a\u0308\u0308 \u0301x !\u0301\u0302
\u00a0\u2003\u3000\u2028\u0085\u200b\ufeff \u0000\u0001\u007f
https://example.org/a/b?c=d&e=%20//\n/\n// ///\r\n a/b ..../// ...\n...  !!\n\n a  b   c    d        \n"""


def alphabets() -> list[str]:
    """Characters that the interpreter's Unicode knows, by category, and those that the patterns name."""
    by_category: dict[str, list[str]] = {}
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category not in ("Cn", "Cs", "Co"):
            by_category.setdefault(category, []).append(chr(code))
    rng = random.Random(2)
    some = ["".join(rng.sample(chars, min(12, len(chars)))) for chars in by_category.values()]
    ascii_signs = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    return [
        *some,
        ascii_signs,
        "'stmdrelvSTMDRELV",
        " \t\r\n",
        "   ",
        "\n/\r",
        "0123456789",
        "azAZ",
        "一龥丁가あンー・゠。，",
    ]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = random.Random(1)
    sets = alphabets()
    made = [TEXT, *TEXT.split("\n"), *TEXT.split(" ")]
    for size in (1, 2, 3, 4, 6, 10, 30):
        for _ in range(250):
            chosen = rng.sample(sets, 3)
            made.append("".join(rng.choice(rng.choice(chosen)) for _ in range(size)))
    made += ["".join(rng.choice(rng.choice(sets)) for _ in range(60)) for _ in range(200)]
    return [text for text in made if text]


@pytest.mark.parametrize("name", FIRST)
def test_words_are_those_of_the_published_expression(lib: Any, texts: list[str], name: str) -> None:
    for text in texts:
        assert words(lib, name, text.encode()) == expected(FIRST[name], text), text


@pytest.mark.parametrize("name", FIRST)
def test_every_character_that_the_interpreter_knows(lib: Any, name: str) -> None:
    """Each alone, and each between two letters."""
    known = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    step = 997  # characters of a text: a mistake is found near its place
    for start in range(0, len(known), step):
        for text in ("x".join(known[start : start + step]), "".join(known[start : start + step])):
            assert words(lib, name, text.encode()) == expected(FIRST[name], text)


@pytest.mark.parametrize("names", PATTERNS, ids=lambda names: names.split()[0])
def test_names_that_mean_the_same(lib: Any, names: str) -> None:
    first, *others = names.split()
    wanted = words(lib, first, TEXT.encode())
    for other in others:
        assert words(lib, other, TEXT.encode()) == wanted, other


@pytest.mark.parametrize("name", FIRST)
def test_broken_text_stays_whole(lib: Any, name: str) -> None:
    """A byte that is no character is one of no class: the pieces still make up the text."""
    rng = random.Random(3)
    samples = [
        b"\xff",
        b"\xed\xa0\x80",
        b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xe4\xb8",
        b"a\x80b \xc3",
        b"\0\0 \xf8'\xe4s",
    ]
    samples += [bytes(rng.choices(b"a '\n1\xe4\xb8\xad\xff\xf0\x9f", k=40)) for _ in range(200)]
    for data in samples:
        assert b"".join(words(lib, name, data)) == data


@pytest.mark.parametrize("name", FIRST)
def test_long_texts_of_one_kind(lib: Any, name: str) -> None:
    """Ends in a moment where the time is linear, and not within minutes where it is quadratic."""
    tokenizer = bpe(lib, [], [], pre=name.encode())
    units = [
        "a",
        "A",
        "aA",
        "中",
        "中A",
        "\u0301",
        "a\u0301",
        "1",
        "½",
        " ",
        "\n",
        " \n",
        "  \n",
        "!",
        " !",
        "!\n",
        "'",
        "'s",
        "\0",
    ]
    units += [" a", "x  ", ". ", "/", "\n/", "\u3000", "\u200b", "é'"]
    for unit in units:
        data = unit.encode() * (200_000 // len(unit.encode()))
        assert tokenizer.decode(tokenizer.encode(data)) == data


def test_flags_of_names(lib: Any) -> None:
    whole = ("llama-bpe", "llama3", "tekken", "lfm2", "glm4", "minicpm5")
    bos = ("llama-bpe", "llama3", "tekken", "lfm2")
    for name in (*whole, "gpt-2", "qwen2", "chatglm-bpe", "gpt-4o", "default", ""):
        row = lib.ffi.new("pe_pretokenizer **")
        encoded = lib.ffi.from_buffer(name.encode())
        assert lib.lib.pe_pretokenizer_find({"data": encoded, "size": len(name)}, none(lib), row) == OK
        assert bool(row[0].ignore_merges) == (name in whole), name
        assert bool(row[0].add_bos) == (name in bos), name


def test_unknown_names_are_refused_with_the_known_ones(lib: Any) -> None:
    for name in ("gpt-3", "GPT-2", "gpt-2 ", "\0", "llama-bpe\0", "x" * 5000):
        row = lib.ffi.new("pe_pretokenizer **")
        encoded = lib.ffi.from_buffer(name.encode())
        assert (
            lib.lib.pe_pretokenizer_find({"data": encoded, "size": len(name)}, none(lib), row)
            == ERR_UNSUPPORTED
        )
        for names in PATTERNS:
            for known in names.split():
                assert f" {known}" in lib.error()
