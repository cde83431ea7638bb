"""How near pyedge is to full precision, beside llama.cpp: the figures of docs/accuracy.md.

    python bench/accuracy.py                     from the values kept in tests/golden
    python bench/accuracy.py full MODEL TEXT     over the whole vocabulary, against transformers run here

Full precision is the same file with its weights dequantised to float32 and everything computed in float32.
The first form needs nothing but pyedge and the models. The second needs torch, transformers, accelerate and
gguf; with `--peer FILE`, made by llama.cpp's
`llama-perplexity -m MODEL -f TEXT -c 512 --kl-divergence-base FILE`, it measures that build of llama.cpp on
the same tokens.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import pyedge
from pyedge import hub

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


def stored(folder: pathlib.Path, kv_type: str) -> None:
    for name, known in MODELS.items():
        with pyedge.Model(hub.fetch(known), kv_type=kv_type) as model:
            print(f"{known}, {model.isa}, cache {kv_type}\n")
            found = cases(folder, name)
            ours = [case.rows(model.logits([*case.prompt_ids, *case.forced[:-1]])) for case in found]
            head = ("engine", "mean KL", "max KL", "mean top 1", "mean top 5", "max top 5")
            table(head, list(distance_rows(found, ours)))
            head = ("prompt", "steps", "pyedge chooses otherwise at", "llama.cpp f32 cache")
            head += ("greedy text leaves llama.cpp f32 cache at", "llama.cpp default at")
            table(head, list(choice_rows(model, found, ours)))


# ---- over the whole vocabulary -----------------------------------------------------------------------------


class PeerLogits:
    """Log-probabilities that llama-perplexity wrote: 16 bits a token, clipped 16 nats below the best one."""

    def __init__(self, path: pathlib.Path) -> None:
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        magic, self.context, self.vocab, self.windows = struct.unpack("<8siii", bytes(self.data[:20]))
        if magic != b"_logits_":
            sys.exit(f"{path}: begins with {magic!r}, not with b'_logits_' as files of llama-perplexity do")
        count = self.context * self.windows
        self.tokens = self.data[20 : 20 + 4 * count].view("<i4").reshape(self.windows, self.context)
        self.start = 20 + 4 * count

    def rows(self, window: int) -> Iterator[NDArray[np.float64]]:
        """Log-probabilities at the scored positions of a window."""
        n_rows, size = self.context - 1 - self.context // 2, 2 * (2 * ((self.vocab + 1) // 2) + 4)
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


def full(options: argparse.Namespace) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    path = hub.resolve(options.model)
    reference = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    peer = PeerLogits(options.peer) if options.peer else None
    size = 512
    with pyedge.Model(path, kv_type=options.kv_type) as model:
        ids = model.tokenize(options.text.read_text(encoding="utf-8"))
        n_windows = min(len(ids) // size, options.windows or len(ids), peer.windows if peer else len(ids))
        if peer and (
            peer.context != size or peer.tokens[:n_windows].ravel().tolist() != ids[: n_windows * size]
        ):
            sys.exit(
                f"{options.peer}: was made with other tokens than those of {options.text} in windows of 512"
            )
        first = model.tokenize("")[:1]  # BOS, where the model adds it
        precise, mine, theirs = Score(), Score(), Score()
        for window in range(n_windows):
            tokens = ids[window * size : (window + 1) * size]
            tokens[: len(first)] = first
            with torch.no_grad():
                # The head on the scored half alone: a row of logits is a megabyte.
                states = reference.model(torch.tensor([tokens])).last_hidden_state[0, size // 2 : -1]
                expected = reference.lm_head(states).numpy()
            logits = model.logits(tokens)[size // 2 : -1]
            others = peer.rows(window) if peer else iter(())
            for at, (a, b) in enumerate(zip(expected, logits, strict=True), size // 2 + 1):
                row = log_softmax(a)
                precise.add(row, row, tokens[at])
                mine.add(row, log_softmax(b), tokens[at])
                if peer:
                    theirs.add(row, next(others), tokens[at])
            print(f"window {window + 1} of {n_windows}", file=sys.stderr)
        print(f"{model.name}, {model.isa}, cache {options.kv_type}, {len(mine.kl)} positions\n")
    rows = [precise.row("full precision"), mine.row("pyedge")]
    if peer:  # its perplexity would come out too low here, for what is clipped: llama-perplexity printed it
        rows.append([*theirs.row("llama.cpp")[:-1], ""])
    table(("engine", "mean KL", "99 % of KL below", "max KL", "same choice", "perplexity"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kv-type", default="f16", choices=["f16", "f32"], help="key/value cache of pyedge")
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
    options = parser.parse_args()
    if options.command == "full":
        full(options)
    else:
        stored(options.references, options.kv_type)


if __name__ == "__main__":
    main()
