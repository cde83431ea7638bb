"""What `pyedge bench` measures: prompts, generation, the first token, memory, and the bound that memory sets.

Apart from the command, because what this needs to import would make every other command start later.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .. import __version__, _core
from ..device import State, between, cpu_name, facts
from ..errors import Error
from ..model import Model

Row = dict[str, Any]

PROMPT = "The quick brown fox"
_SENTENCE = PROMPT + " jumps over the lazy dog. "
_ROOM = 64  # positions for the short prompt, and for where a text is cut into other tokens than planned
_READS = 3  # of all weights, before each sample of generation


@dataclass(frozen=True)
class Plan:
    """What to measure of each model: prompt lengths, tokens to generate, depths; 0 is no such test."""

    lengths: Sequence[int]
    steps: Sequence[int]
    depths: Sequence[int]
    repeat: int
    isa: str | None
    start: bool
    seed: int = 1
    emulated: bool = False

    @property
    def context(self) -> int:
        return max(self.depths) + max([*self.lengths, *self.steps]) + _ROOM


def measure(name: str, n_threads: int, plan: Plan) -> Iterator[Row]:
    """One row a test, as each is done."""
    from .. import hub

    path = str(hub.resolve(name))
    before_starts = State.now()
    if plan.start:  # first: a child's peak counts what its parent had when it was started
        samples, peak = _starts(path, n_threads, plan)
    states = (before_starts, State.now())
    told = facts()
    told["emulated"] |= plan.emulated
    told = {
        "door": "python",
        "version": __version__,
        "seed": plan.seed,
        "model_sha256": _file_hash(path),
        **told,
    }
    before = time.perf_counter()
    with Model(path, threads=n_threads, context=plan.context, isa=plan.isa) as model:
        model.session()
        load_ms = 1e3 * (time.perf_counter() - before)
        fixed = {
            "model_filename": path,
            "model_type": _model_type(model),
            "model_size": sum(tensor[4] for tensor in model._opened().tensors()),
            "model_n_params": model.n_params,
            "cpu_info": cpu_name(),
            "isa": model.isa,
            "n_threads": n_threads,
        }
        if plan.start:
            start_ms = 1e3 * statistics.median(samples)
            row = _row(fixed, 0, 1, 0, samples, load_ms, peak=peak, start_ms=start_ms)
            yield {**row, **told, **between(*states)}
        for n_depth in plan.depths:
            tests = [(n, 0) for n in plan.lengths if n] + [(0, n) for n in plan.steps if n]
            for n_prompt, n_gen in tests:
                row, states = _test(model, fixed, n_prompt, n_gen, n_depth, plan, load_ms)
                yield {**row, **told, **between(*states)}


def _random_ids(seed: int, vocab_size: int) -> Iterator[int]:
    """Random tokens that every door makes alike: xorshift with 13, 17, 5 (Marsaglia 2003), modulo the
    vocabulary."""
    state = (seed ^ seed >> 32) & 0xFFFFFFFF or 1
    while True:
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        yield state % vocab_size


def _file_hash(path: str) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _test(
    model: Model, fixed: Row, n_prompt: int, n_gen: int, n_depth: int, plan: Plan, load_ms: float
) -> tuple[Row, tuple[State, State]]:
    ttft = None
    if not n_depth:
        ttft = _first_token_ms(model, fixed["n_threads"], n_prompt, plan)
    _reset_peak()
    core = model._new_core_session()
    random_ids = _random_ids(plan.seed, model.vocab_size)
    if n_depth:
        core.advance(list(islice(random_ids, n_depth)))
    before = State.now()
    if n_prompt:
        ids = list(islice(random_ids, n_prompt))
        samples, output = _run_prompt(core, ids, n_depth, plan.repeat)
        row = _row(
            fixed, n_prompt, 0, n_depth, samples, load_ms, ttft=ttft, peak=peak_memory(), output=output
        )
        return row, (before, State.now())
    ids = model.tokenize(PROMPT)
    samples, reads, output = _run_generation(core, ids, n_gen, n_depth, plan.repeat)
    states = (before, State.now())
    weights = core.token_bytes(0)
    first = n_depth + len(ids)
    whole = statistics.fmean(core.token_bytes(position) for position in range(first, first + n_gen))
    row = _row(
        fixed,
        0,
        n_gen,
        n_depth,
        samples,
        load_ms,
        ttft=ttft,
        peak=peak_memory(),
        output=output,
        token_bytes=(weights, whole),
        bound=weights / min(reads) / 1e9,
    )
    return row, states


def _row(
    fixed: Row,
    n_prompt: int,
    n_gen: int,
    n_depth: int,
    samples: list[float],
    load_ms: float,
    *,
    ttft: float | None = None,
    peak: int | None = None,
    output: list[int] | None = None,
    token_bytes: tuple[int, float] | None = None,
    bound: float | None = None,
    start_ms: float | None = None,
) -> Row:
    """`samples` are seconds; `token_bytes` those of the weights, and with keys and values."""
    rates = [(n_prompt or n_gen) / seconds for seconds in samples]
    median = statistics.median(rates)
    weights, whole = (per * median / 1e9 for per in token_bytes) if token_bytes else (None, None)
    return {
        **fixed,
        "n_prompt": n_prompt,
        "n_gen": n_gen,
        "n_depth": n_depth,
        "samples_ts": rates,
        "avg_ts": statistics.fmean(rates),
        "stddev_ts": statistics.stdev(rates) if len(rates) > 1 else 0.0,
        "median_ts": median,
        "load_ms": load_ms,
        "ttft_ms": ttft,
        "peak_rss_bytes": peak,
        "weights_gb_per_s": weights,
        "output_hash": None
        if output is None
        else hashlib.sha256(json.dumps(output).encode()).hexdigest()[:16],
        "bound_gb_per_s": bound,
        "bound_percent": None if whole is None or bound is None else 100 * whole / bound,
        "start_ms": start_ms,
    }


# ---- the tests ----


def _greedy() -> _core.Sampler:
    return _core.Sampler(
        temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0, seed=0, logit_bias=[]
    )


def _run_prompt(
    core: _core.Session, ids: list[int], start: int, repeat: int
) -> tuple[list[float], list[int]]:
    """Seconds from the prompt's ids to the first token, and that token; one run more to warm up."""
    sampler = _greedy()
    samples, output = [], []
    for _ in range(repeat + 1):
        core.rewind(start)
        before = time.perf_counter()
        core.advance(ids)
        output = [core.sample(sampler)[0]]
        samples.append(time.perf_counter() - before)
    return samples[1:], output


def _run_generation(
    core: _core.Session, ids: list[int], n_gen: int, start: int, repeat: int
) -> tuple[list[float], list[float], list[int]]:
    """Seconds for n_gen tokens after a short prompt, end tokens or not; seconds for reading the weights, in
    turn with these; and the tokens."""
    sampler = _greedy()
    samples, reads, output = [], [], []
    for run in range(repeat + 1):
        for _ in range(_READS):
            before = time.perf_counter()
            core.read_weights()
            reads.append(time.perf_counter() - before)
        core.rewind(start)
        core.advance(ids)
        output = [core.sample(sampler)[0]]
        before = time.perf_counter()
        for _ in range(min(n_gen, 8) if run == 0 else n_gen):  # the first run warms up
            core.advance(output[-1:])
            output.append(core.sample(sampler)[0])
        samples.append(time.perf_counter() - before)
    return samples[1:], reads, output


def _first_token_ms(model: Model, n_threads: int, n_prompt: int, plan: Plan) -> float:
    """From the call with a text of about n_prompt tokens (0: a short one) to the first token: the first call
    in a model that was just loaded."""
    text = PROMPT
    if n_prompt:
        ids = model.tokenize(_SENTENCE * (n_prompt // 8 + 1))[:n_prompt]
        text = model.detokenize(ids, skip_special=True) or PROMPT
    samples = []
    for _ in range(plan.repeat):
        with Model(model.path, threads=n_threads, context=plan.context, isa=plan.isa) as fresh:
            before = time.perf_counter()
            next(fresh.stream(text, raw=True, temperature=0, max_tokens=1))
            samples.append(time.perf_counter() - before)
    return 1e3 * statistics.median(samples)


def _starts(path: str, n_threads: int, plan: Plan) -> tuple[list[float], int | None]:
    """Seconds of whole processes that generate one token: the interpreter's start, imports, loading, the
    token, the end; and the largest peak of their memory. One more to warm up."""
    command = [sys.executable, "-m", "pyedge", "generate", PROMPT, "-m", path, "-t", str(n_threads)]
    command += ["-n", "1", "-c", "512", "--raw", "--temp", "0"]
    environment = {**os.environ, "PYEDGE_ISA": plan.isa} if plan.isa else None
    runs = []
    for _ in range(plan.repeat + 1):
        _reset_peak()
        runs.append(whole_process(command, environment))
    peaks = [peak for _, peak, _ in runs if peak is not None]
    return [seconds for seconds, _, _ in runs[1:]], max(peaks, default=None)


def whole_process(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[float, int | None, str]:
    """Run a command to its end: seconds, peak memory in bytes where the system tells it, standard output."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        before = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environment
        )
        peak = None
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        else:
            process.wait()
        seconds = time.perf_counter() - before
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            told = errors.read().decode("utf-8", "replace").strip()[-400:]
            raise Error(f"{command[0]} failed with status {process.returncode}: {told}")
        return seconds, peak, out.read().decode("utf-8", "replace")


# ---- facts ----


def _model_type(model: Model) -> str:
    sizes: dict[int, int] = {}
    for _, number, shape, _, size in model._opened().tensors():
        if len(shape) > 1:
            sizes[number] = sizes.get(number, 0) + size
    names = _core.types()
    largest = max(sizes, key=lambda number: sizes[number], default=-1)
    kind = names[largest][0] if largest in names else "?"
    return f"{model.arch} {model.n_params / 1e6:.0f}M {kind}"


def _reset_peak() -> None:
    """Let the system forget this process's peak memory, where it can (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w") as control:
            control.write("5")
    except OSError:
        pass


def peak_memory() -> int | None:
    """The largest resident memory of this process so far, or since the reset."""
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
