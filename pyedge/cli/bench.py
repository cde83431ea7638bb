"""`pyedge bench`: how fast models run here.

Two kinds of test, as llama-bench has them: `pp` evaluates a prompt of random tokens, `tg` generates greedily,
one token at a time; both optionally after `depth` tokens. Columns that llama-bench has keep its names.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any

import typer

from .. import _core
from ..completion import integer
from .common import model_or_default
from .machine import cpu_name

PROMPT = "The quick brown fox"


class Format(str, Enum):
    md = "md"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def _numbers(name: str, text: str, low: int) -> list[int]:
    try:
        return [
            integer(name, int(item), low, 2**31 - 1, f"numbers from {low} on") for item in text.split(",")
        ]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of numbers from {low} on", param_hint=name) from None


def bench(
    model: Annotated[list[str] | None, typer.Option("-m", "--model", help="Model; repeatable.")] = None,
    prompt: Annotated[str, typer.Option("-p", "--n-prompt", help="Prompt lengths; 0: none.")] = "512",
    gen: Annotated[str, typer.Option("-n", "--n-gen", help="Tokens to generate; 0: no such test.")] = "128",
    depth: Annotated[str, typer.Option("-d", "--n-depth", help="Tokens that are there before.")] = "0",
    threads: Annotated[str | None, typer.Option("-t", "--threads", help="Thread counts, as 1,2.")] = None,
    repeat: Annotated[int, typer.Option("-r", "--repetitions", min=1, help="Samples of each test.")] = 5,
    output: Annotated[Format, typer.Option("-o", "--output", help="Format of the result.")] = Format.md,
    isa: Annotated[str | None, typer.Option("--isa", help="Force an instruction set.")] = None,
) -> None:
    """Measure prompt evaluation and generation."""
    counts = _numbers("-t", threads, 1) if threads else [_core.threads_explain()[0]]
    lengths, steps, depths = _numbers("-p", prompt, 0), _numbers("-n", gen, 0), _numbers("-d", depth, 0)
    rows: list[dict[str, Any]] = []
    for name in model or [model_or_default(None)]:
        for n_threads in counts:
            for row in _measure(name, n_threads, lengths, steps, depths, repeat, isa):
                rows.append(row)
                if output is Format.jsonl:
                    print(json.dumps(row), flush=True)
                elif sys.stderr.isatty():
                    print(f"{_label(row)}: {row['median_ts']:.2f} tokens/s", file=sys.stderr)
    if output is Format.json:
        print(json.dumps(rows, indent=1))
    elif output is Format.csv:
        print(_as_csv(rows), end="")
    elif output is Format.md:
        print(_as_markdown(rows))


def _measure(
    name: str,
    n_threads: int,
    lengths: list[int],
    steps: list[int],
    depths: list[int],
    repeat: int,
    isa: str | None,
) -> Iterator[dict[str, Any]]:
    from ..model import Model

    needed = max(depths) + max([*lengths, *(n + 64 for n in steps)])
    _reset_peak()
    before = time.perf_counter()
    with Model(name, threads=n_threads, context=needed, isa=isa) as model:
        model.session()
        load_ms = 1e3 * (time.perf_counter() - before)
        fixed = {
            "model_filename": str(model.path),
            "model_type": _model_type(model),
            "model_size": sum(tensor[4] for tensor in model._opened().tensors()),
            "model_n_params": model.n_params,
            "cpu_info": cpu_name(),
            "isa": model.isa,
            "n_threads": n_threads,
        }
        for n_depth in depths:
            tests = [(n, 0) for n in lengths if n] + [(0, n) for n in steps if n]
            for n_prompt, n_gen in tests:
                core = model._new_core_session()
                rng = random.Random(n_depth)
                if n_depth:
                    core.advance([rng.randrange(model.vocab_size) for _ in range(n_depth)])
                if n_prompt:
                    ids = [rng.randrange(model.vocab_size) for _ in range(n_prompt)]
                    samples, output = _run_prompt(core, ids, n_depth, repeat)
                else:
                    ids = model.tokenize(PROMPT)
                    samples, output = _run_generation(core, ids, n_gen, n_depth, repeat)
                rates = [(n_prompt or n_gen) / seconds for seconds in samples]
                median = statistics.median(rates)
                yield {
                    **fixed,
                    "n_prompt": n_prompt,
                    "n_gen": n_gen,
                    "n_depth": n_depth,
                    "samples_ts": rates,
                    "avg_ts": statistics.fmean(rates),
                    "stddev_ts": statistics.stdev(rates) if len(rates) > 1 else 0.0,
                    "median_ts": median,
                    "load_ms": load_ms,
                    "ttft_ms": 1e3 * statistics.median(samples) if n_prompt else None,
                    "peak_rss_bytes": _peak(),
                    "weights_gb_per_s": _bytes_per_token(model) * median / 1e9 if n_gen else None,
                    "output_hash": hashlib.sha256(json.dumps(output).encode()).hexdigest()[:16],
                }
                del core


def _greedy() -> _core.Sampler:
    return _core.Sampler(
        temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0, seed=0, logit_bias=[]
    )


def _run_prompt(
    core: _core.Session, ids: list[int], start: int, repeat: int
) -> tuple[list[float], list[int]]:
    """Seconds from the prompt to the first token, and that token; one run more to warm up."""
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
) -> tuple[list[float], list[int]]:
    """Seconds for n_gen tokens after a short prompt, end tokens or not, and the tokens."""
    sampler = _greedy()
    samples, output = [], []
    for run in range(repeat + 1):
        core.rewind(start)
        core.advance(ids)
        output = [core.sample(sampler)[0]]
        before = time.perf_counter()
        for _ in range(min(n_gen, 8) if run == 0 else n_gen):  # the first run warms up
            core.advance(output[-1:])
            output.append(core.sample(sampler)[0])
        samples.append(time.perf_counter() - before)
    return samples[1:], output


def _model_type(model: Any) -> str:
    sizes: dict[int, int] = {}
    for _, number, shape, _, size in model._opened().tensors():
        if len(shape) > 1:
            sizes[number] = sizes.get(number, 0) + size
    names = _core.types()
    largest = max(sizes, key=lambda number: sizes[number], default=-1)
    kind = names[largest][0] if largest in names else "?"
    return f"{model.arch} {model.n_params / 1e6:.0f}M {kind}"


def _bytes_per_token(model: Any) -> int:
    """Weights that one token reads: all, but of an embedding that is not the output as well, one row only."""
    tensors = model._opened().tensors()
    tied = not any(name == "output.weight" for name, *_ in tensors)
    return sum(size for name, _, _, _, size in tensors if tied or name != "token_embd.weight")


def _reset_peak() -> None:
    """Let the system forget this process's peak memory, where it can (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w") as control:
            control.write("5")
    except OSError:
        pass


def _peak() -> int | None:
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


def _label(row: dict[str, Any]) -> str:
    test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
    return test + (f" @ d{row['n_depth']}" if row["n_depth"] else "")


def _as_csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "samples_ts": " ".join(f"{value:.3f}" for value in row["samples_ts"])})
    return out.getvalue()


def _as_markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| model | file | isa | threads | test | tokens/s | +- | weights GB/s | load ms | peak MiB |",
        "|---|---|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        read = row["weights_gb_per_s"]
        peak = row["peak_rss_bytes"]
        cells = [
            row["model_type"],
            os.path.basename(row["model_filename"]).replace("|", "\\|"),
            row["isa"],
            str(row["n_threads"]),
            _label(row),
            f"{row['median_ts']:.2f}",
            f"{row['stddev_ts']:.2f}",
            "" if read is None else f"{read:.1f}",
            f"{row['load_ms']:.1f}",
            "" if peak is None else f"{peak / 2**20:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if rows:
        lines.append(f"\n{rows[0]['cpu_info']}")
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    app.command()(bench)
