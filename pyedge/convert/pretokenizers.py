"""Which pre-tokeniser a tokenizer.json describes, by the name that GGUF files use for it.

The section is brought to a list of expressions that cut one after the other, in one spelling, and that list
is looked up. Names of the same cut differ between families; each gets the one that its files have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnsupportedError

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# Spellings of "a contraction in either case", which is <c> in the lists below.
_CONTRACTIONS = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"'(?i:[sdmt]|ll|ve|re)",
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])",
)
# Possessive quantifiers cut these expressions at the same places as plain ones; {1} says nothing.
_SPELLINGS = (
    ("?+", "?"),
    ("++", "+"),
    ("*+", "*"),
    (r"\p{N}{1}|", r"\p{N}|"),
    (r"\s*[\r\n]|", r"\s*[\r\n]+|"),
)


def _cl100k(numbers: str, letters: str = r"\p{L}", marks: str = "") -> str:
    other = rf" ?[^\s\p{{L}}{marks}\p{{N}}]+[\r\n]*"
    return rf"<c>|[^\r\n\p{{L}}\p{{N}}]?{letters}+|\p{{N}}{numbers}|{other}|{_SPACE}"


def _o200k(numbers: str, contraction: str) -> str:
    first = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{first}{_UPPER}*{_LOWER}+{contraction}|{first}{_UPPER}+{_LOWER}*{contraction}"
        rf"|\p{{N}}{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACE}"
    )


_HAN = "[一-龥ࠀ-一가-퟿]+"
_KNOWN: dict[tuple[str, ...], str] = {
    (_GPT2,): "gpt-2",
    (r"\p{N}", _GPT2): "smollm",
    (_cl100k("{1,3}"),): "llama-bpe",
    (_cl100k(""),): "qwen2",
    (_cl100k("", r"[\p{L}\p{M}]", r"\p{M}"),): "qwen35",
    (_o200k("{1,3}", "<c>?"),): "gpt-4o",
    (_o200k("", ""),): "tekken",
    ("<punctuation>", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"): "falcon",
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN, r"\p{N}"): "deepseek-coder",
    (
        r"\p{N}{1,3}",
        "[一-龥\u3040-ゟ゠-ヿ]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ): "deepseek-v3",
}
# What files of an architecture call the same cut.
_OF_FAMILY = {
    ("smollm", "starcoder2"): "starcoder",
    ("smollm", "cohere2"): "command-r",
    ("smollm", "granite"): "refact",
    ("qwen2", "stablelm"): "stablelm2",
    ("llama-bpe", "lfm2"): "lfm2",
    ("llama-bpe", "chatglm"): "glm4",
}
# Names that also mean "a word that is a token is not cut into its merges", and the name without that.
_WHOLE = {"llama-bpe": "dbrx", "lfm2": "dbrx", "glm4": "chatglm-bpe", "tekken": None}


def _spelled(expression: str) -> str:
    for character, escape in (("\r", r"\r"), ("\n", r"\n")):
        expression = expression.replace(character, escape)
    for old, new in _SPELLINGS:
        expression = expression.replace(old, new)
    for contraction in _CONTRACTIONS:
        expression = expression.replace(contraction, "<c>")
    return expression


def _split(step: Mapping[str, Any]) -> str | None:
    pattern = step.get("pattern")
    expression = pattern.get("Regex") if isinstance(pattern, dict) else None
    isolated = step.get("behavior") == "Isolated" and not step.get("invert")
    matches = step.get("behavior") == "Removed" and step.get(
        "invert"
    )  # what is between matches is dropped: nothing
    return _spelled(expression) if isinstance(expression, str) and (isolated or matches) else None


def _steps(section: Any) -> list[str] | None:
    """The expressions of a section; None where it has something else."""
    if not isinstance(section, dict):
        return None
    kind = section.get("type")
    if kind == "Sequence":
        parts = section.get("pretokenizers")
        lists = [_steps(part) for part in parts] if isinstance(parts, list) else [None]
        return None if None in lists else [step for part in lists if part for step in part]
    if kind == "ByteLevel":
        if section.get("add_prefix_space"):
            return None
        return [_GPT2] if section.get("use_regex", True) else []
    if kind == "Digits":
        return [r"\p{N}" if section.get("individual_digits") else r"\p{N}+"]
    if kind == "Punctuation" and section.get("behavior") == "Contiguous":
        return ["<punctuation>"]
    if kind == "Split" and (expression := _split(section)) is not None:
        return [expression]
    return None


def recognise(section: Any, ignore_merges: bool, arch: str, where: str) -> str:
    """The name for a pre_tokenizer section of a byte-level tokenizer."""
    steps = _steps(section)
    name = _KNOWN.get(tuple(steps)) if steps else None
    if name is None and steps and len(steps) > 1 and steps[1].startswith(r"\s?[A-Za-zµÀ-Ö"):
        name = "deepseek-llm"
    if name is not None:
        name = _OF_FAMILY.get((name, arch), name)
        if name in _WHOLE and not ignore_merges:
            name = _WHOLE[name]
        if name is not None:
            return name
    raise UnsupportedError(
        f"{where}: its pre_tokenizer is none that is known here ({str(section)[:200]}); if you know which "
        "one it is, give its name (--pretokenizer NAME, such as qwen2 or llama-bpe)"
    )
