"""Speed of the tokenizer on one thread, beside Hugging Face's `tokenizers` and llama.cpp.

    python bench/tokenizer.py TEXT [--model MODEL] [--llama-tokenize PROGRAM]

TEXT is repeated to --size MB. `tokenizers` takes part where it is installed, with the vocabulary and the
merges of the model's own file (for those whose words are GPT-2's, with or without single digits); llama.cpp
where its `llama-tokenize` is given, whose time is that of the whole program less that of the same program on
one letter. Engines take turns; figures are medians. All ids must be equal, or the program fails.

A second table shows that the time is linear: texts of one word, of white space, of digits, Chinese and emoji,
eight times as long at the same speed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pyedge
from pyedge import hub

GPT2 = {"gpt-2": False, "smollm": True}  # pre-tokenisers that `tokenizers` is given: single digits?
SHAPES = {
    "one word": "pneumonoultramicroscopicsilicovolcanoconiosis",
    "one letter": "a",
    "spaces": " ",
    "lines": "\n",
    "digits": "3141592653589793",
    "Chinese": "语言模型在手边的机器上运行",
    "emoji": "😀👩\u200d👩\u200d👧\u200d👦🏳\ufe0f\u200d🌈👍🏽",
}

Encode = Callable[[str], list[int]]


def of_pyedge(model: pyedge.Model) -> Encode:
    return lambda text: model.tokenize(text, add_special=False)


def of_tokenizers(model: pyedge.Model) -> Encode | None:
    """The model's own vocabulary and merges; None where the package or the kind of vocabulary is missing."""
    keys = model.metadata
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers
    except ImportError:
        return None
    if keys.get("tokenizer.ggml.pre") not in GPT2:
        return None
    tokens = {text: id for id, text in enumerate(keys["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in keys["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=merges))
    stages = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if GPT2[keys["tokenizer.ggml.pre"]]:
        stages.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(stages)
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def of_llama(program: pathlib.Path, model: pathlib.Path) -> Encode:
    as_it_is = ["--no-bos", "--no-parse-special", "--no-escape"]
    command = [program, "-m", model, *as_it_is, "--ids", "--log-disable", "-f"]

    def encode(text: str) -> list[int]:
        with tempfile.TemporaryDirectory() as folder:
            (path := pathlib.Path(folder) / "text").write_text(text, encoding="utf-8")
            run = subprocess.run([*command, path], capture_output=True, check=True, encoding="utf-8")
        return [int(id) for id in run.stdout.strip().strip("[]").split(",") if id.strip()]

    return encode


def seconds(encode: Encode, text: str) -> float:
    start = time.perf_counter()
    encode(text)
    return time.perf_counter() - start


def compare(engines: dict[str, Encode], text: str, rounds: int) -> bool:
    ids = {name: encode(text) for name, encode in engines.items()}
    took: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, encode in engines.items():
            start = seconds(encode, "a") if name == "llama.cpp" else 0.0
            took[name].append(seconds(encode, text) - start)
    mb = len(text.encode()) / 1e6
    print(f"| engine | MB/s, median of {rounds} | pyedge's ratio | ids |\n|---|---:|---:|---|")
    for name, times in took.items():
        middle = statistics.median(times)
        ratio = f"{middle / statistics.median(took['pyedge']):.1f}" if name != "pyedge" else ""
        equal = "equal" if ids[name] == ids["pyedge"] else "DIFFERENT"
        print(f"| {name} | {mb / middle:.2f} | {ratio} | {len(ids[name])}, {equal} |")
    print()
    return all(found == ids["pyedge"] for found in ids.values())


def shapes(encode: Encode, kb: int, rounds: int) -> None:
    print(f"| text of | {kb} kB, MB/s | {8 * kb} kB, MB/s |\n|---|---:|---:|")
    for name, piece in SHAPES.items():
        speeds = []
        for size in (kb, 8 * kb):
            text = piece * (size * 1000 // len(piece.encode()))
            middle = statistics.median(seconds(encode, text) for _ in range(rounds))
            speeds.append(len(text.encode()) / 1e6 / middle)
        print(f"| {name} | {' | '.join(f'{speed:.2f}' for speed in speeds)} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("text", type=pathlib.Path, help="a text, UTF-8")
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", help="a file, or a name that can be fetched"
    )
    parser.add_argument("--size", type=float, default=9, help="MB of text")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--llama-tokenize", type=pathlib.Path, metavar="PROGRAM", help="llama.cpp's")
    options = parser.parse_args()
    path = pathlib.Path(options.model)
    path = path if path.exists() else hub.fetch(options.model)
    piece = options.text.read_text(encoding="utf-8")
    text = piece * max(1, round(options.size * 1e6 / len(piece.encode())))
    with pyedge.Model(path) as model:
        engines = {"pyedge": of_pyedge(model)}
        if peer := of_tokenizers(model):
            engines["tokenizers"] = peer
        if options.llama_tokenize:
            engines["llama.cpp"] = of_llama(options.llama_tokenize, path)
        equal = compare(engines, text, options.rounds)
        shapes(engines["pyedge"], 1000, options.rounds)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
