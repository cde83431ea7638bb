"""The tokenizer of a folder as keys of a GGUF file: tokens, types, scores, merges, special tokens, flags.

Two kinds: byte-level BPE ("gpt2", from tokenizer.json), and SentencePiece's ("llama", from tokenizer.model,
or from a tokenizer.json with the same merges).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelFileError, UnsupportedError
from ..gguf_file import Value
from . import pretokenizers, sentencepiece
from .folder import Folder
from .values import f32s, flag, i32s, text, texts, u32

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_ADDED_SCORE = -1000.0
_BYTE = re.compile(r"<0x[0-9A-F]{2}>$")
_SPACE = "▁"
# Special tokens: what tokenizer_config.json and config.json call them, and GGUF.
_SPECIAL = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "pad": "padding",
    "sep": "seperator",
    "mask": "mask",
}
_ENDS_OF_TURN = {
    b"<|eot_id|>",
    b"<|im_end|>",
    b"<|end|>",
    b"<end_of_turn>",
    b"<|END_OF_TURN_TOKEN|>",
    b"<|user|>",
}


@dataclass
class Vocab:
    """What is known of a tokenizer. `tokens` by id; gaps are filled at the end."""

    model: str  # GGUF's name
    pre: str
    tokens: dict[int, bytes] = field(default_factory=dict)
    types: dict[int, int] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    merges: list[bytes] = field(default_factory=list)
    flags: dict[str, bool] = field(default_factory=dict)

    def add(self, number: int, token: bytes, kind: int, score: float = 0.0) -> None:
        self.tokens[number], self.types[number], self.scores[number] = token, kind, score


@dataclass
class Files:
    """The files of a folder that speak of the tokenizer."""

    folder: Folder
    tokenizer: dict[str, Any] = field(init=False)
    config: dict[str, Any] = field(init=False)
    model: bytes | None = field(init=False)

    def __post_init__(self) -> None:
        self.tokenizer = self.folder.json("tokenizer.json")
        self.config = self.folder.json("tokenizer_config.json")
        self.model = self.folder.bytes("tokenizer.model")

    @property
    def where(self) -> str:
        return str(self.folder.path / "tokenizer.json")


def _utf8(value: str, where: str) -> bytes:
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise ModelFileError(f"{where}: the token {value[:32]!a} is half of a character") from None


def _added(files: Files) -> Iterator[tuple[int, str, bool]]:
    """Id, text, whether special: of the tokens that were added to the model's own."""
    decoder = files.config.get("added_tokens_decoder")
    entries = list(decoder.items()) if isinstance(decoder, dict) else []
    entries += [(e.get("id"), e) for e in _list(files.tokenizer, "added_tokens") if isinstance(e, dict)]
    entries += [
        (i, {"content": name}) for name, i in files.folder.json("added_tokens.json").items() if not entries
    ]
    for number, entry in entries:
        content = entry.get("content") if isinstance(entry, dict) else None
        try:
            number = int(number)
        except (TypeError, ValueError, OverflowError):
            number = -1
        if not isinstance(content, str) or not 0 <= number < 1 << 31:
            raise ModelFileError(
                f"{files.where}: the added token {str(entry)[:64]!r} has no id or no content"
            )
        yield number, content, bool(entry.get("special"))


def _add_added(vocab: Vocab, files: Files, n_vocab: int) -> None:
    for number, content, special in _added(files):
        if number >= n_vocab:  # as for pictures, in a model of text: there are no weights for it
            continue
        token = content if special else content.replace(_SPACE, " ")
        if vocab.types.get(number) == UNKNOWN:
            continue
        score = vocab.scores.get(number, _ADDED_SCORE)
        vocab.add(number, _utf8(token, files.where), CONTROL if special else USER_DEFINED, score)


# ---- the two kinds -----------------------------------------------------------------------------------------


def _pieces(model: Mapping[str, Any], where: str) -> dict[str, int]:
    found = model.get("vocab")
    if not isinstance(found, dict) or not all(type(i) is int and 0 <= i < 1 << 31 for i in found.values()):
        raise ModelFileError(f"{where}: model.vocab is no object of ids")
    if len(set(found.values())) != len(found):
        raise ModelFileError(f"{where}: model.vocab gives one id to two tokens")
    return found


def _merges(model: Mapping[str, Any], where: str) -> list[tuple[str, str]]:
    found = model.get("merges")
    pairs = []
    for entry in found if isinstance(found, list) else [found]:
        pair = entry.split(" ") if isinstance(entry, str) else entry
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(x, str) and x for x in pair):
            raise ModelFileError(f"{where}: model.merges has {str(entry)[:64]!r}, which is no pair of tokens")
        pairs.append((pair[0], pair[1]))
    return pairs


def _list(section: Mapping[str, Any], name: str) -> list[Any]:
    found = section.get(name)
    return found if isinstance(found, list) else []


def _kinds(section: Any) -> set[str]:
    """The types of a section and of all in its sequences."""
    if not isinstance(section, dict):
        return set()
    found = {str(section.get("type"))}
    for name in ("pretokenizers", "normalizers", "decoders", "processors"):
        for part in _list(section, name):
            found |= _kinds(part)
    return found


def _byte_level(files: Files, arch: str, pretokenizer: str | None) -> Vocab:
    model = files.tokenizer["model"]
    whole = model.get("ignore_merges") is True
    name = pretokenizer or pretokenizers.recognise(
        files.tokenizer.get("pre_tokenizer"), whole, arch, files.where
    )
    if not pretokenizer and _kinds(files.tokenizer.get("normalizer")) - {"NFC", "Sequence"}:
        shown = str(files.tokenizer["normalizer"])[:128]
        raise UnsupportedError(f"{files.where}: its normalizer {shown} has no place in GGUF")
    vocab = Vocab("gpt2", name)
    for token, number in _pieces(model, files.where).items():
        vocab.add(number, _utf8(token, files.where), NORMAL)
    for pair in _merges(model, files.where):
        if " " in pair[0] or " " in pair[1]:
            raise UnsupportedError(
                f"{files.where}: the merge {pair!r} has a space, which byte-level tokens have not"
            )
        vocab.merges.append(_utf8(" ".join(pair), files.where))
    if whole:
        vocab.flags["ignore_merges"] = True
    return vocab


def _spaced_json(files: Files) -> Vocab:
    """SentencePiece's pieces in a tokenizer.json: the sooner a merge, the better the score of its token."""
    model = files.tokenizer["model"]
    pieces = _pieces(model, files.where)
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(_merges(model, files.where)):
        ranks.setdefault(left + right, rank)
    vocab = Vocab("llama", "default")
    for token, number in pieces.items():
        kind = BYTE if _BYTE.match(token) else UNKNOWN if token == model.get("unk_token") else NORMAL
        score = -float(ranks[token]) if token in ranks else 0.0 if len(token) == 1 or kind != NORMAL else -1e6
        vocab.add(number, _utf8(token, files.where), kind, score)
    pre, normalizer = files.tokenizer.get("pre_tokenizer"), files.tokenizer.get("normalizer")
    prefix = "Prepend" in _kinds(normalizer)
    if isinstance(pre, dict) and pre.get("type") == "Metaspace":
        prefix = (
            pre.get("prepend_scheme", "always" if pre.get("add_prefix_space", True) else "never") != "never"
        )
    vocab.flags["add_space_prefix"] = prefix
    return vocab


def _spaced_model(files: Files, model: sentencepiece.SentencePiece) -> Vocab:
    where = files.folder.path / "tokenizer.model"
    if not model.is_bpe:
        raise UnsupportedError(
            f"{where}: a unigram model, which engines of GGUF's 'llama' vocabulary cut otherwise"
        )
    if model.charsmap:
        raise UnsupportedError(f"{where}: it replaces characters before tokenizing, which is not supported")
    vocab = Vocab("llama", "default")
    for number, (token, score, kind) in enumerate(model.pieces):
        vocab.add(number, token, kind, score)
    prefix = files.config.get("add_prefix_space")
    vocab.flags["add_space_prefix"] = prefix if isinstance(prefix, bool) else model.add_dummy_prefix
    if model.remove_extra_whitespaces:
        vocab.flags["remove_extra_whitespaces"] = True
    return vocab


def _read(files: Files, arch: str, pretokenizer: str | None) -> Vocab:
    model = files.tokenizer.get("model")
    if files.model is not None:
        try:
            return _spaced_model(files, sentencepiece.parse(files.model))
        except ValueError as error:
            if not isinstance(model, dict):
                where = files.folder.path / "tokenizer.model"
                raise ModelFileError(f"{where}: no SentencePiece model: {error}") from None
    if not isinstance(model, dict):
        raise ModelFileError(f"{files.folder.path}: there is no sound tokenizer.json and no tokenizer.model")
    sections = (files.tokenizer.get("pre_tokenizer"), files.tokenizer.get("decoder"))
    byte_level = any("ByteLevel" in _kinds(section) for section in sections)
    if model.get("type", "BPE") != "BPE" or not (byte_level or model.get("byte_fallback")):
        raise UnsupportedError(
            f"{files.where}: a tokenizer of the type {str(model.get('type'))[:32]!r}; BPE on bytes, or with "
            "a fallback to bytes, can be converted"
        )
    return _byte_level(files, arch, pretokenizer) if byte_level else _spaced_json(files)


# ---- special tokens and flags ------------------------------------------------------------------------------


def _template_ends(files: Files) -> tuple[set[str], set[str]]:
    """The special tokens that the post-processor puts before and after a text."""

    def search(section: Any) -> tuple[set[str], set[str]]:
        before: set[str] = set()
        after: set[str] = set()
        if not isinstance(section, dict):
            return before, after
        for part in _list(section, "processors"):
            first, last = search(part)
            before, after = before | first, after | last
        seen = False
        for item in _list(section, "single") if section.get("type") == "TemplateProcessing" else ():
            seen = seen or (isinstance(item, dict) and "Sequence" in item)
            special = item.get("SpecialToken") if isinstance(item, dict) else None
            if isinstance(special, dict):
                (after if seen else before).add(str(special.get("id")))
        return before, after

    return search(files.tokenizer.get("post_processor"))


def _special_ids(vocab: Vocab, files: Files, generation: Mapping[str, Any]) -> dict[str, int]:
    """bos, eos, ...: by the name of the token, else by the number in the configs."""
    numbers = {token: number for number, token in sorted(vocab.tokens.items(), reverse=True)}
    names = {**files.folder.json("special_tokens_map.json"), **files.config}
    found = {}
    for ours in _SPECIAL:
        name = names.get(f"{ours}_token")
        name = name.get("content") if isinstance(name, dict) else name
        number = numbers.get(name.encode("utf-8", "replace")) if isinstance(name, str) else None
        for config in (files.folder.config, generation):
            value = config.get(f"{ours}_token_id")
            value = value[0] if isinstance(value, list) and value else value
            if number is None and type(value) is int and value in vocab.tokens:
                number = value
        if number is not None:
            found[ours] = number
    if vocab.model == "llama" and "unk" not in found and UNKNOWN in vocab.types.values():
        found["unk"] = next(i for i, kind in vocab.types.items() if kind == UNKNOWN)
    return found


def _end_of_turn(vocab: Vocab, ids: Mapping[str, int], *configs: Mapping[str, Any]) -> int | None:
    """A token that ends an answer beside eos, where the configs name several."""
    for config in configs:
        ends = config.get("eos_token_id")
        for number in ends if isinstance(ends, list) else ():
            if type(number) is int and number != ids.get("eos") and vocab.tokens.get(number) in _ENDS_OF_TURN:
                return number
    return None


def _adds(vocab: Vocab, files: Files, ids: Mapping[str, int]) -> dict[str, bool]:
    before, after = _template_ends(files)
    template = isinstance(files.tokenizer.get("post_processor"), dict)
    adds = {}
    for name, places in (("bos", before), ("eos", after)):
        token = vocab.tokens.get(ids.get(name, -1), b"").decode("utf-8", "replace")
        given = files.config.get(f"add_{name}_token")
        usual = token in places if template else name == "bos" and vocab.model == "llama"
        adds[f"add_{name}_token"] = (given if isinstance(given, bool) else usual) and name in ids
    return adds


def vocab_keys(folder: Folder, arch: str, n_vocab: int, pretokenizer: str | None) -> dict[str, Value]:
    """All keys of the tokenizer, the chat template apart."""
    files = Files(folder)
    generation = folder.json("generation_config.json")
    vocab = _read(files, arch, pretokenizer)
    most = max(vocab.tokens, default=-1)
    if most >= n_vocab:
        raise ModelFileError(
            f"{folder.path}: the tokenizer has the id {most}, and config.json a vocab_size of {n_vocab}"
        )
    _add_added(vocab, files, n_vocab)
    ids = _special_ids(vocab, files, generation)
    vocab.flags.update(_adds(vocab, files, ids))
    eot = _end_of_turn(vocab, ids, generation, folder.config)
    for number in range(n_vocab):
        if number not in vocab.tokens:
            vocab.add(number, f"[PAD{number}]".encode(), UNUSED, _ADDED_SCORE)
    order = range(n_vocab)
    keys = {
        "model": text(vocab.model),
        "pre": text(vocab.pre),
        "tokens": texts(vocab.tokens[i] for i in order),
        "token_type": i32s(vocab.types[i] for i in order),
    }
    if vocab.model == "llama":
        keys["scores"] = f32s(vocab.scores[i] for i in order)
    else:
        keys["merges"] = texts(vocab.merges)
    keys |= {f"{_SPECIAL[name]}_token_id": u32(number) for name, number in ids.items()}
    if eot is not None:
        keys["eot_token_id"] = u32(eot)
    keys |= {name: flag(value) for name, value in vocab.flags.items()}
    return {f"tokenizer.ggml.{name}": value for name, value in keys.items()}
