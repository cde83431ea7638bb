"""`pyedge bench`: how fast models run here.

Two kinds of test, as llama-bench has them: `pp` evaluates a prompt of random tokens, `tg` generates greedily,
one token at a time; both optionally after `depth` tokens. Columns that llama-bench has keep its names.
Generation is held against the memory: reading the model's own weights, with nothing to do but to add them up,
is the bound. `start` measures whole processes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from enum import Enum
from typing import Annotated, Any

import typer

from .. import _core
from ..completion import integer
from .common import model_or_default


class Format(str, Enum):
    md = "md"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def _numbers(name: str, text: str, low: int, high: int = 2**30) -> list[int]:
    allowed = f"from {low} to {high}" if high < 2**30 else f"from {low} on"
    try:
        return [integer(name, int(item), low, high, allowed) for item in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of numbers {allowed}", param_hint=name) from None


def bench(
    model: Annotated[list[str] | None, typer.Option("-m", "--model", help="Model; repeatable.")] = None,
    prompt: Annotated[str, typer.Option("-p", "--n-prompt", help="Prompt lengths; 0: none.")] = "512",
    gen: Annotated[str, typer.Option("-n", "--n-gen", help="Tokens to generate; 0: no such test.")] = "128",
    depth: Annotated[str, typer.Option("-d", "--n-depth", help="Tokens that are there before.")] = "0",
    threads: Annotated[str | None, typer.Option("-t", "--threads", help="Thread counts, as 1,2.")] = None,
    repeat: Annotated[int, typer.Option("-r", "--repetitions", min=1, help="Samples of each test.")] = 5,
    output: Annotated[Format, typer.Option("-o", "--output", help="Format of the result.")] = Format.md,
    isa: Annotated[str | None, typer.Option("--isa", help="Force an instruction set.")] = None,
    start: Annotated[
        bool, typer.Option("--start", help="Also whole processes that end with the first token.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random prompts.")] = 1,
    emulated: Annotated[bool, typer.Option("--emulated", help="Mark the results as emulated.")] = False,
) -> None:
    """Measure prompt evaluation and generation."""
    from .measure import Plan, measure

    counts = _numbers("-t", threads, 1, 512) if threads else [_core.threads_explain()[0]]
    plan = Plan(
        _numbers("-p", prompt, 0),
        _numbers("-n", gen, 0),
        _numbers("-d", depth, 0),
        repeat,
        isa,
        start,
        seed,
        emulated,
    )
    rows: list[dict[str, Any]] = []
    for name in model or [model_or_default(None)]:
        for n_threads in counts:
            for row in measure(name, n_threads, plan):
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


def _label(row: dict[str, Any]) -> str:
    if row["start_ms"] is not None:
        return "start"
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
        "| model | file | isa | threads | test | tokens/s | +- | weights GB/s | % of the bound "
        "| first token ms | load ms | peak MiB |",
        "|---|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        first = row["ttft_ms"] if row["start_ms"] is None else row["start_ms"]
        peak = row["peak_rss_bytes"]
        cells = [
            row["model_type"],
            os.path.basename(row["model_filename"]).replace("|", "\\|"),
            row["isa"],
            str(row["n_threads"]),
            _label(row),
            f"{row['median_ts']:.2f}",
            f"{row['stddev_ts']:.2f}",
            _number(row["weights_gb_per_s"], 1),
            _number(row["bound_percent"], 0),
            _number(first, 1),
            _number(row["load_ms"], 1),
            _number(None if peak is None else peak / 2**20, 0),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if rows:
        lines.append(f"\n{rows[0]['cpu_info']}")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def register(app: typer.Typer) -> None:
    app.command()(bench)
