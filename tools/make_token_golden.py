"""Write tests/golden/tokens.json: ids of long and odd texts by other engines.

    python tools/make_token_golden.py LLAMA_TOKENIZE MODEL...

Each MODEL is a GGUF file, a vocabulary without tensors being enough; LLAMA_TOKENIZE is llama.cpp's program of
that name. Needs the packages `gguf`, `tokenizers` and `sentencepiece` (with `protobuf`). The texts are rules,
so that the file stays small: see tests/py/token_rules.py. Of the ids, their number and the SHA-256 of them as
little-endian int32 are kept, for each engine that was asked; engines that differ from each other are shown.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "py"))

from token_rules import summary, text_of  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "tokens.json"

# Name: pieces, one after the other, each repeated; or a range of characters, drawn by a small generator.
TEXTS: dict[str, list[list[Any]]] = {
    "spaces": [["x", 1], [" ", 40_000], ["y", 1]],
    "spaces at both ends": [[" ", 9_000], ["x", 1], [" ", 9_001]],
    "lines": [["\n", 20_000], ["x", 1], ["\r\n", 5_000]],
    "tabs": [["x", 1], ["\t", 10_000], ["y", 1]],
    "mixed white space": [["x", 1], [" \t \n\u3000 \u00a0", 3_000], ["y", 1]],
    "wide spaces": [["\u3000", 4_000], ["\u2003\u2028", 2_000]],
    "one letter": [["a", 30_000]],
    "one word": [["pneumonoultramicroscopicsilicovolcanoconiosis", 500]],
    "letters": [[97, 122, 20_000]],
    "digits": [["3141592653589793", 1_000], ["0", 5_001]],
    "signs": [["=", 7_000], ["-=+*/", 1_500], ["...", 2_000]],
    "Chinese": [["语言模型在手边的机器上运行", 800]],
    "Chinese characters": [[0x4E00, 0x9FA5, 8_000]],
    "Japanese": [["日本語の文章には空白がありません", 400], [0x3041, 0x30FA, 3_000]],
    "Korean": [[0xAC00, 0xD7A3, 4_000]],
    "Thai": [["ภาษาไทยไม่มีช่องว่างระหว่างคำ", 300]],
    "emoji": [[0x1F600, 0x1F64F, 4_000]],
    "emoji sequences": [
        ["👩\u200d👩\u200d👧\u200d👦🏳\ufe0f\u200d🌈👍🏽1\ufe0f\u20e3🇩🇪", 300],
        ["👨🏿\u200d🚀 ", 200],
    ],
    "marks": [["e\u0301\u0302\u0303", 1_000], ["Z\u0351\u0364\u0313a\u0328", 500]],
    "rare planes": [[0x10000, 0x100FA, 300], [0x20000, 0x2A6DF, 1_500], ["\U0010fffd\U000e0067", 50]],
}


Encode = Callable[[str], list[int]]


def of_llama(program: str, model: str) -> Encode:
    def encode(text: str) -> list[int]:
        with tempfile.NamedTemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            options = ["--no-bos", "--no-parse-special", "--no-escape", "--ids", "--log-disable"]
            command = [program, "-m", model, *options, "-f", file.name]
            out = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
        return [int(id) for id in out.strip().strip("[]").split(",") if id.strip()]

    return encode


def keys_of(model: str) -> dict[str, Any]:
    from gguf import GGUFReader

    fields = GGUFReader(model).fields
    return {name: field.contents() for name, field in fields.items() if name.startswith("tokenizer.ggml.")}


def of_tokenizers(keys: dict[str, Any]) -> Encode | None:
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    by_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    either = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    space = r"\s*[\r\n]+|\s+(?!\S)|\s+"

    def cl100k(numbers: str) -> list[Any]:
        pattern = rf"{either}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{space}"
        return [pre_tokenizers.Split(Regex(pattern), "isolated"), by_words]

    stages = {
        "gpt-2": [level],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), level],
        "starcoder": [pre_tokenizers.Digits(individual_digits=True), level],
        "llama-bpe": cl100k(r"\p{N}{1,3}"),
        "qwen2": cl100k(r"\p{N}"),
    }.get(keys.get("tokenizer.ggml.pre", ""))
    if stages is None:
        return None
    tokens = keys["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in keys["tokenizer.ggml.merges"]]
    whole = keys["tokenizer.ggml.pre"] == "llama-bpe"
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, ignore_merges=whole))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(stages)
    types = keys.get("tokenizer.ggml.token_type", [])
    tokenizer.add_tokens(
        [AddedToken(t, normalized=False) for t, k in zip(tokens, types, strict=True) if k == 4]
    )
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def of_sentencepiece(keys: dict[str, Any]) -> Encode:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb

    model = pb.ModelProto()
    scores, types = keys["tokenizer.ggml.scores"], keys["tokenizer.ggml.token_type"]
    unk = keys.get("tokenizer.ggml.unknown_token_id", 0)
    types = [3 if kind == 2 and id != unk else kind for id, kind in enumerate(types)]  # one is allowed
    for text, score, kind in zip(keys["tokenizer.ggml.tokens"], scores, types, strict=True):
        # GGUF files spell the spaces of user-defined pieces as they are.
        model.pieces.add(piece=text.replace(" ", "\u2581") if kind == 4 else text, score=score, type=kind)
    model.trainer_spec.model_type = pb.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.unk_id = unk
    model.trainer_spec.unk_piece = keys["tokenizer.ggml.tokens"][unk]
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = bool(keys.get("tokenizer.ggml.add_space_prefix", True))
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    return lambda text: list(processor.encode(text))


def engines_of(program: str, model: str) -> Iterator[tuple[str, Encode]]:
    yield "llama.cpp", of_llama(program, model)
    keys = keys_of(model)
    if keys["tokenizer.ggml.model"] == "llama":
        yield "sentencepiece", of_sentencepiece(keys)
    elif peer := of_tokenizers(keys):
        yield "tokenizers", peer


def main() -> None:
    program, *models = sys.argv[1:]
    golden: dict[str, Any] = {"texts": TEXTS, "ids": {}}
    for model in models:
        name = pathlib.Path(model).stem.removeprefix("ggml-vocab-")
        engines = dict(engines_of(program, model))
        rows = golden["ids"][name] = {}
        for title, rule in TEXTS.items():
            found = {engine: summary(encode(text_of(rule))) for engine, encode in engines.items()}
            rows[title] = found
            if len({tuple(value) for value in found.values()}) > 1:
                print(f"{name}, {title}: {found}", file=sys.stderr)
    # One text, and one vocabulary's text, a line.
    lines = [f"  {json.dumps(title)}: {json.dumps(rule)}" for title, rule in TEXTS.items()]
    text = '{"texts": {\n' + ",\n".join(lines) + '\n},\n"ids": {\n'
    blocks = []
    for name, rows in golden["ids"].items():
        lines = [f"    {json.dumps(title)}: {json.dumps(found)}" for title, found in rows.items()]
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    GOLDEN.write_text(text + ",\n".join(blocks) + "\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
