"""How near pyedge is to full precision, beside llama.cpp: the figures of docs/accuracy.md.

    python bench/accuracy.py                     from the values kept in tests/golden
    python bench/accuracy.py full MODEL TEXT     over the whole vocabulary, against transformers run here
    python bench/accuracy.py tiny                tiny models, from the reference data that PYEDGE_REFS names

Full precision is the same file with its weights dequantised to float32 and everything computed in float32.
The first form needs nothing but pyedge and the models. The second needs torch, transformers, accelerate and
gguf; with `--peer FILE`, made by llama.cpp's
`llama-perplexity -m MODEL -f TEXT -c 512 --kl-divergence-base FILE`, it measures that build of llama.cpp on
the same tokens. `--isa NAME`, once or several times and before `full`, measures these kernels instead of the
machine's best; `tiny` takes all that the machine has.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pyedge
from pyedge import _core, hub

ROOT = pathlib.Path(__file__).resolve().parents[1]
# In the place of this folder, whose kernels.py would pass for a package that transformers looks for.
sys.path[0] = str(ROOT / "tests" / "py")
from reference_data import MODELS, Case, Distance, cases, disagreements, distances, log_softmax  # noqa: E402

RUNS = {
    "default": "llama.cpp",
    "norepack": "llama.cpp, weights not repacked",
    "f32kv": "llama.cpp, f32 cache",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


# ---- from stored values ------------------------------------------------------------------------------------


def distance_rows(found: Sequence[Case], ours: Sequence[NDArray[np.float64]]) -> Iterator[list[str]]:
    """Each run of llama.cpp, and pyedge on the same steps and tokens."""
    for run, title in RUNS.items():
        mine, theirs = Distance(), Distance()
        for case, rows in zip(found, ours, strict=True):
            if run in case.runs:
                pair = distances(case, rows, run)
                mine.merge(pair[0])
                theirs.merge(pair[1])
        if theirs.kl:
            for engine, of in ((title, theirs), (f"pyedge, same {len(mine.kl)} steps", mine)):
                kl = (f"{value:.2e}" for value in (np.mean(of.kl), np.max(of.kl)))
                yield [
                    engine,
                    *kl,
                    *(f"{v:.4f}" for v in (np.mean(of.top1), np.mean(of.top5), np.max(of.top5))),
                ]


def choice_rows(
    model: pyedge.Model, found: Sequence[Case], ours: Sequence[NDArray[np.float64]]
) -> Iterator[list[str]]:
    """Where engines choose otherwise than full precision, and where greedy texts part."""
    for case, rows in zip(found, ours, strict=True):
        others = [
            "; ".join(f"{at} ({margin:.4f})" for at, margin in disagreements(case, choices)) or "none"
            for choices in (rows.argmax(axis=1).tolist(), case.forced)
        ]
        yield [case.label, str(len(case.forced)), *others, *greedy_parts(model, case)]


def greedy_parts(model: pyedge.Model, case: Case) -> Iterator[str]:
    """Where pyedge's own greedy text leaves the runs of llama.cpp, with their margins there."""
    runs = [case.runs[name] for name in ("f32kv", "default")]
    pieces = model.stream(case.prompt_ids, temperature=0, max_tokens=max(map(len, runs)))
    tokens = [piece.token for piece in pieces]
    for run in runs:
        pairs = enumerate(zip(tokens, run, strict=False))
        yield next((f"{at} ({step.margin:.4f})" for at, (token, step) in pairs if token != step.id), "same")


def stored(folder: pathlib.Path, kv_type: str, isa: str | None) -> None:
    for name, known in MODELS.items():
        with pyedge.Model(hub.fetch(known), kv_type=kv_type, isa=isa) as model:
            print(f"{known}, {model.isa}, cache {kv_type}\n")
            found = cases(folder, name)
            ours = [case.rows(model.logits([*case.prompt_ids, *case.forced[:-1]])) for case in found]
            head: tuple[str, ...] = ("engine", "mean KL", "max KL", "mean top 1", "mean top 5", "max top 5")
            table(head, list(distance_rows(found, ours)))
            head = ("prompt", "steps", "pyedge chooses otherwise at", "llama.cpp f32 cache")
            head += ("greedy text leaves llama.cpp f32 cache at", "llama.cpp default at")
            table(head, list(choice_rows(model, found, ours)))


# ---- over the whole vocabulary -----------------------------------------------------------------------------


class PeerLogits:
    """Log-probabilities that llama-perplexity wrote: 16 bits a token, clipped 16 nats below the best one."""

    def __init__(self, path: pathlib.Path) -> None:
        with open(path, "rb") as file:
            head = file.read(20)
        if len(head) < 20 or head[:8] != b"_logits_":
            sys.exit(
                f"{path}: begins with {head[:8]!r}, not with b'_logits_' as files of llama-perplexity do"
            )
        self.context: int
        self.vocab: int
        self.windows: int
        self.context, self.vocab, self.windows = struct.unpack("<iii", head[8:])
        count = self.context * self.windows
        size = 20 + 4 * count + self.windows * self.n_rows * self.row_size
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        if len(self.data) < size:
            sys.exit(f"{path}: has {len(self.data)} bytes of {size}; did llama-perplexity run to its end?")
        self.tokens = self.data[20 : 20 + 4 * count].view("<i4").reshape(self.windows, self.context)
        self.start = 20 + 4 * count

    @property
    def n_rows(self) -> int:
        """Scored positions of a window."""
        return self.context - 1 - self.context // 2

    @property
    def row_size(self) -> int:
        """Bytes of one row: scale and least value as float32, then 16 bits a token, padded to even."""
        return 2 * (2 * ((self.vocab + 1) // 2) + 4)

    def rows(self, window: int) -> Iterator[NDArray[np.float64]]:
        """Log-probabilities at the scored positions of a window."""
        n_rows, size = self.n_rows, self.row_size
        at = self.start + window * n_rows * size
        for row in self.data[at : at + n_rows * size].reshape(n_rows, size):
            scale, least = row[:8].view("<f4").astype(np.float64)
            yield least + scale * row[8 : 8 + 2 * self.vocab].view("<u2").astype(np.float64)


@dataclass
class Score:
    """What an engine makes of a text, beside full precision."""

    kl: list[float] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)  # of the text's own tokens
    same_choice: list[bool] = field(default_factory=list)

    def add(self, full: NDArray[np.float64], row: NDArray[np.float64], token: int) -> None:
        # Tokens far below the best one count together: the file of the peer does not tell them apart.
        near = full > full.max() - 12
        p, q = np.exp(full[near]), np.exp(row[near])
        rest_p, rest_q = max(1 - p.sum(), 1e-12), max(1 - q.sum(), 1e-12)
        self.kl.append(float((p * (full[near] - row[near])).sum() + rest_p * math.log(rest_p / rest_q)))
        self.logprobs.append(float(row[token]))
        self.same_choice.append(bool(row.argmax() == full.argmax()))

    def row(self, engine: str) -> list[str]:
        return [
            engine,
            *(f"{value:.2e}" for value in (np.mean(self.kl), np.quantile(self.kl, 0.99), np.max(self.kl))),
            f"{np.mean(self.same_choice):.2%}",
            f"{math.exp(-np.mean(self.logprobs)):.4f}",
        ]


def reference_model(path: pathlib.Path) -> Any:
    """The file's dequantised weights in float32, in transformers."""
    try:
        import accelerate  # noqa: F401  (transformers loads GGUF files with it)
        import gguf  # noqa: F401
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as missing:
        sys.exit(f"{missing}: full precision needs `pip install torch transformers accelerate gguf`")
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def full(options: argparse.Namespace) -> None:
    path = hub.resolve(options.model)
    text = options.text.read_text(encoding="utf-8")
    peer = PeerLogits(options.peer) if options.peer else None
    size = 512
    with ExitStack() as opened:
        engines = [
            opened.enter_context(pyedge.Model(path, kv_type=options.kv_type, isa=isa)) for isa in options.isa
        ]
        model = engines[0]
        ids = model.tokenize(text)
        n_windows = min(len(ids) // size, options.windows or len(ids), peer.windows if peer else len(ids))
        if n_windows < 1:
            sys.exit(f"{options.text}: has {len(ids)} tokens, fewer than the {size} of one window")
        if peer and (
            peer.context != size or peer.tokens[:n_windows].ravel().tolist() != ids[: n_windows * size]
        ):
            sys.exit(
                f"{options.peer}: was made with other tokens than those of {options.text} in windows of 512"
            )
        reference = reference_model(path)
        import torch

        first = model.tokenize("")[:1]  # BOS, where the model adds it
        precise, theirs, mine = Score(), Score(), [Score() for _ in engines]
        start = time.monotonic()
        for window in range(n_windows):
            tokens = ids[window * size : (window + 1) * size]
            tokens[: len(first)] = first
            with torch.no_grad():
                # The head on the scored half alone: a row of logits is a megabyte.
                states = reference.model(torch.tensor([tokens])).last_hidden_state[0, size // 2 : -1]
                expected = reference.lm_head(states).numpy()
            scored = [tokens[at] for at in range(size // 2 + 1, size)]
            rows = [log_softmax(row) for row in expected]
            for row, token in zip(rows, scored, strict=True):
                precise.add(row, row, token)
            for engine, score in zip(engines, mine, strict=True):
                logits = engine.logits(tokens)[size // 2 : -1]
                for row, own, token in zip(rows, logits, scored, strict=True):
                    score.add(row, log_softmax(own), token)
            if peer:
                for row, other, token in zip(rows, peer.rows(window), scored, strict=True):
                    theirs.add(row, other, token)
            left = (time.monotonic() - start) / (window + 1) * (n_windows - window - 1)
            print(f"window {window + 1} of {n_windows}, {left:.0f} s left", file=sys.stderr)
        print(f"{model.name}, cache {options.kv_type}, {len(precise.kl)} positions\n")
    found = [precise.row("full precision")]
    found += [score.row(f"pyedge, {engine.isa}") for engine, score in zip(engines, mine, strict=True)]
    if peer:  # its perplexity would come out too low here, for what is clipped: llama-perplexity printed it
        found.append([*theirs.row("llama.cpp")[:-1], ""])
    table(("engine", "mean KL", "99 % of KL below", "max KL", "same choice", "perplexity"), found)


# ---- tiny models -------------------------------------------------------------------------------------------


@dataclass
class TinyError:
    """Logits of a model against those expected: the worst of its sequences and instruction sets."""

    largest: float = 0
    rms: float = 0
    relative: float = 0  # rms of the error by that of the logits

    def add(self, logits: NDArray[np.floating[Any]], expected: NDArray[np.floating[Any]]) -> None:
        error = logits.astype(np.float64) - expected
        rms = float(np.sqrt(np.mean(error**2)))
        self.largest = max(self.largest, float(np.abs(error).max()))
        self.rms = max(self.rms, rms)
        self.relative = max(self.relative, rms / float(np.sqrt(np.mean(expected.astype(np.float64) ** 2))))


def tiny(options: argparse.Namespace) -> None:
    named = os.environ.get("PYEDGE_REFS")
    if not named:
        sys.exit("PYEDGE_REFS is not set: it names the folder of reference data, with models/ and quant/")
    refs = pathlib.Path(named)
    for part in ("models/llama.npz", "quant/llama_logits.npz"):
        if not (refs / part).exists():
            sys.exit(f"PYEDGE_REFS: {refs} has no {part}")
    usable = [name for name, is_usable, _ in _core.isas() if is_usable]
    isas = [isa for isa in options.isa if isa] or usable
    print(f"Worst of {', '.join(isas)}\n")

    found = []
    for inputs in sorted((refs / "models").glob("*.npz")):
        errors = {kv_type: TinyError() for kv_type in ("f32", "f16")}
        with np.load(inputs) as data:
            for kv_type, error in errors.items():
                for isa in isas:
                    path = inputs.with_suffix(".f16.gguf")
                    with pyedge.Model(path, kv_type=kv_type, isa=isa) as model:
                        for i in range(3):
                            error.add(model.logits(data[f"tok_{i}"])[data[f"pos_{i}"]], data[f"hf_{i}"])
        found.append(
            [inputs.stem, *(f"{v:.1e}" for e in errors.values() for v in (e.largest, e.relative))],
        )
    head = ("model", "f32 cache: largest error", "rms relative to logits")
    table((*head, "f16 cache: largest error", "rms relative to logits"), found)

    found = []
    with (
        np.load(refs / "models" / "llama.npz") as inputs,
        np.load(refs / "quant" / "llama_logits.npz") as out,
    ):
        for path in sorted((refs / "quant" / "llama").glob("llama.*.gguf")):
            kind = path.name.split(".")[1]
            if f"{kind}_deqf32_0" not in out:
                continue  # of the newest types no full-precision values are known
            ours, peer = TinyError(), TinyError()
            expected = np.stack([out[f"{kind}_deqf32_{i}"] for i in range(3)])
            peer.add(np.stack([out[f"{kind}_lc_{i}"] for i in range(3)]), expected)
            try:
                for isa in isas:
                    with pyedge.Model(path, kv_type="f32", isa=isa) as model:
                        logits = [model.logits(inputs[f"tok_{i}"])[inputs[f"pos_{i}"]] for i in range(3)]
                        ours.add(np.stack(logits), expected)
            except pyedge.Error as refused:
                print(f"{kind}: {refused}", file=sys.stderr)
                continue
            found.append([kind, f"{ours.rms:.2e}", f"{peer.rms:.2e}", f"{ours.rms / peer.rms:.4f}"])
    table(("file type, f32 cache", "rms of pyedge", "rms of llama.cpp", "ratio"), found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kv-type", default="f16", choices=["f16", "f32"], help="key/value cache of pyedge")
    parser.add_argument(
        "--isa",
        action="append",
        choices=[name for name, usable, _ in _core.isas() if usable],
        help="kernels to measure; may be given several times",
    )
    parser.add_argument(
        "--references",
        type=pathlib.Path,
        default=ROOT / "tests" / "golden" / "real",
        help="folder of stored values",
    )
    commands = parser.add_subparsers(dest="command")
    measure = commands.add_parser("full", help="over the whole vocabulary, against transformers")
    measure.add_argument("model", help="path, or a name that `pyedge pull` knows")
    measure.add_argument("text", type=pathlib.Path)
    measure.add_argument("--windows", type=int, help="of 512 tokens; all that the text fills")
    measure.add_argument("--peer", type=pathlib.Path, help="log-probabilities that llama-perplexity wrote")
    commands.add_parser("tiny", help="tiny models on every instruction set, from PYEDGE_REFS")
    options = parser.parse_args()
    options.isa = options.isa or [None]
    try:
        if options.command == "full":
            full(options)
        elif options.command == "tiny":
            tiny(options)
        else:
            for isa in options.isa:
                stored(options.references, options.kv_type, isa)
    except (OSError, pyedge.Error) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
