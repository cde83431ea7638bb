"""pyedge beside llama.cpp: the same file, the same machine, the runs in turn, and the ratio of medians.

    python bench/peers.py MODEL... --llama-bench /path/to/llama-bench [-t 1,2] [-p 512] [-n 128] [-d 0] [-r 5]

Absolute figures drift with whatever else the machine does, so each round runs both engines one after the
other, and the medians are taken over rounds. `llama-bench` comes with llama.cpp; without the option it is
looked for on PATH.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

Key = tuple[str, str, int]  # model file, test, threads


def run(command: list[str]) -> list[dict[str, object]]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed ({done.returncode}): {done.stderr.strip()[-400:]}")
    rows = json.loads(done.stdout)
    assert isinstance(rows, list)
    return rows


def label(row: dict[str, object]) -> str:
    test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
    return f"{test} @ d{row['n_depth']}" if row["n_depth"] else test


def collect(into: dict[Key, list[float]], model: str, rows: list[dict[str, object]]) -> None:
    for row in rows:
        threads = row["n_threads"]
        assert isinstance(threads, int)
        samples = row["samples_ts"]
        assert isinstance(samples, list)
        into[(Path(model).name, label(row), threads)] += samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("models", nargs="+", help="GGUF files")
    parser.add_argument("--llama-bench", default=shutil.which("llama-bench"), help="its path")
    parser.add_argument("-t", default="1,2", help="thread counts")
    parser.add_argument("-p", default="512", help="prompt lengths")
    parser.add_argument("-n", default="128", help="generated tokens")
    parser.add_argument("-d", default="0", help="depths")
    parser.add_argument("-r", type=int, default=5, help="rounds")
    parser.add_argument("--isa", help="force pyedge's instruction set")
    parser.add_argument("--peer-option", action="append", default=[], help="passed on: --peer-option=-fa=1")
    options = parser.parse_args()
    if not options.llama_bench:
        sys.exit("llama-bench was not found: give its path with --llama-bench")
    common = ["-p", options.p, "-n", options.n, "-d", options.d, "-t", options.t, "-r", "1", "-o", "json"]
    peer_options = [part for option in options.peer_option for part in option.split("=")]
    own = [sys.executable, "-m", "pyedge", "bench", *common, *(["--isa", options.isa] if options.isa else [])]
    ours: dict[Key, list[float]] = defaultdict(list)
    theirs: dict[Key, list[float]] = defaultdict(list)
    isa = ""
    for turn in range(options.r):
        for model in options.models:
            print(f"round {turn + 1} of {options.r}: {Path(model).name}", file=sys.stderr)
            rows = run([*own, "-m", model])
            isa = str(rows[0]["isa"])
            collect(ours, model, rows)
            collect(theirs, model, run([options.llama_bench, *common, *peer_options, "-m", model]))
    print(f"| model | test | threads | pyedge ({isa}) | llama.cpp | ratio |")
    print("|---|---|---:|---:|---:|---:|")
    for key in ours:
        if key not in theirs:
            continue
        a, b = statistics.median(ours[key]), statistics.median(theirs[key])
        print(f"| {key[0]} | {key[1]} | {key[2]} | {a:.1f} | {b:.1f} | {a / b:.2f} |")


if __name__ == "__main__":
    main()
