"""What other engines computed, as `refs/real` keeps it, and the measures that compare an engine with it.

Shared by the tests, which set bounds, and by `bench/accuracy.py`, which prints the figures. Two kinds of
values meet here: greedy runs of llama.cpp on the quantised files, each step with its five best tokens; and
transformers on the same weights dequantised to float32, forced along one of those runs. The second is what a
quantised file means; the distance to it is what an engine adds of its own.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Names in the reference data -> names that `pyedge pull` knows.
MODELS = {"smollm2-135m": "smollm2-135m-instruct", "gemma-3-270m": "gemma-3-270m"}


@dataclass(frozen=True)
class Step:
    """One greedy step of a peer: its choice, and logprob and logit of its five best tokens."""

    id: int
    logprobs: Mapping[int, float]
    margin: float  # between the logits of its two best tokens


@dataclass(frozen=True)
class Case:
    """A prompt, llama.cpp's greedy runs from it, and the full-precision values along the run `f32kv`."""

    prompt: str
    kind: str
    add_special: bool
    parse_special: bool
    prompt_ids: Sequence[int]
    runs: Mapping[str, Sequence[Step]]
    full: Sequence[Sequence[tuple[int, float]]]  # a step: five pairs of id and logprob, best first

    @property
    def forced(self) -> list[int]:
        """The ids that the full-precision values were computed along."""
        return [step.id for step in self.runs["f32kv"]]

    @property
    def label(self) -> str:
        lines = [line for line in self.prompt.split("\n") if line and not line.startswith("<|im_start|>a")]
        return lines[-1].removeprefix("<|im_start|>user").removesuffix("<|im_end|>").strip()[:40]

    def rows(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Of the logits of `prompt_ids + forced[:-1]`, log-probabilities of the forced steps."""
        return log_softmax(logits[len(self.prompt_ids) - 1 :])

    def comparable(self, run: str) -> Sequence[Step]:
        """The steps of a run that saw the same tokens as the full-precision values: all up to, and with, the
        first that chose another one."""
        steps = self.runs[run]
        for at, (step, id) in enumerate(zip(steps, self.forced, strict=False)):
            if step.id != id:
                return steps[: at + 1]
        return steps[: len(self.forced)]


def _step(raw: Mapping[str, Any]) -> Step:
    top = raw["top"]
    return Step(raw["id"], {id: logprob for id, logprob, _ in top}, top[0][2] - top[1][2])


def cases(folder: pathlib.Path, model: str) -> list[Case]:
    """The cases of one model, from the folder `real` of the reference data."""
    full = {}
    for line in (folder / f"hf_dequantized_{model}.jsonl").read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        full[raw["kind"], raw["prompt"]] = raw
    out = []
    for line in (folder / "greedy.jsonl").read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        if raw["model"] != model:
            continue
        runs = {name: entry for name, entry in raw.items() if isinstance(entry, dict) and "steps" in entry}
        precise = full[raw["kind"], raw["prompt"]]
        case = Case(
            prompt=raw["prompt"],
            kind=raw["kind"],
            add_special=bool(raw["add_special"]),
            parse_special=bool(raw["parse_special"]),
            prompt_ids=runs["f32kv"]["prompt_ids"],
            runs={name: [_step(step) for step in run["steps"]] for name, run in runs.items()},
            full=[[(id, logprob) for id, logprob in step] for step in precise["hf_top5"]],
        )
        if case.forced != precise["forced_ids"]:
            raise ValueError(f"{folder}: the full-precision values of {raw['prompt']!r} follow another run")
        out.append(case)
    return out


# ---- measures ----------------------------------------------------------------------------------------------


def log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Log-probabilities over the last axis, in float64."""
    rows = logits.astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    return rows


def divergence(reference: Sequence[float], other: Sequence[float]) -> float:
    """KL divergence over a partition of the vocabulary: some tokens by their logprobs, all the rest as one
    more event. A lower bound of the divergence over the whole vocabulary."""
    p, q = np.exp(reference), np.exp(other)
    rest_p, rest_q = max(1 - p.sum(), 1e-12), max(1 - q.sum(), 1e-12)
    return float((p * (np.asarray(reference) - other)).sum() + rest_p * np.log(rest_p / rest_q))


@dataclass
class Distance:
    """How far an engine is from the full-precision values, over steps."""

    top1: list[float] = field(default_factory=list)  # |difference| of the logprob of the best token
    top5: list[float] = field(default_factory=list)  # ... of each of the five best
    kl: list[float] = field(default_factory=list)

    def add(self, full: Sequence[tuple[int, float]], logprobs: Mapping[int, float], shared: set[int]) -> None:
        """One step; tokens outside of `shared` are left to the rest, so that engines whose stored lists
        differ are measured on the same tokens."""
        pairs = [(logprob, logprobs[id]) for id, logprob in full if id in shared]
        if full[0][0] in shared:
            self.top1.append(abs(full[0][1] - logprobs[full[0][0]]))
        self.top5 += [abs(a - b) for a, b in pairs]
        self.kl.append(divergence([a for a, _ in pairs], [b for _, b in pairs]))

    def merge(self, other: Distance) -> None:
        self.top1 += other.top1
        self.top5 += other.top5
        self.kl += other.kl


def distances(case: Case, ours: NDArray[np.float64], run: str) -> tuple[Distance, Distance]:
    """Of pyedge (log-probabilities of the forced steps) and of a run of llama.cpp, on the same steps and
    tokens."""
    mine, theirs = Distance(), Distance()
    for row, step, full in zip(ours, case.comparable(run), case.full, strict=False):
        shared = {id for id, _ in full} & set(step.logprobs)
        mine.add(full, {id: float(row[id]) for id in shared}, shared)
        theirs.add(full, step.logprobs, shared)
    return mine, theirs


def disagreements(case: Case, choices: Sequence[int]) -> Iterator[tuple[int, float]]:
    """Forced steps where an engine chooses another token than full precision, with the margin that full
    precision has there, in nats."""
    for at, (choice, full) in enumerate(zip(choices, case.full, strict=True)):
        if choice != full[0][0]:
            yield at, full[0][1] - full[1][1]
