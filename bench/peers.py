"""pyedge beside its peers: the same file, the same machine, the runs in turn, and the ratio of medians.

    python bench/peers.py MODEL... --peer best=/path/llama-bench --peer plain=/other/llama-bench
        [-t 1,2] [-p 512] [-n 128] [-d 0] [-r 5] [--isa avx2] [--flash both]
        [--llama-cli best=/path/llama-completion] [--openvino DIR] [--json FILE]

Absolute figures drift with whatever else the machine does, so each round runs all engines one after the
other, and the medians are taken over rounds. A peer is a `llama-bench` by name and path; without --peer the
one on PATH, else the `llama-cpp-python` of this interpreter. With --flash both, each llama-bench runs without
and with flash attention, and for each test the better median counts. --llama-cli compares whole processes
that end with the first token: llama.cpp's command line, and ours with Python's own start.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pyedge.cli.measure import PROMPT, whole_process

OURS = "pyedge"
PLAIN: dict[str, list[str]] = {"default": []}
WORKER = Path(__file__).with_name("peer_worker.py")


@dataclass(frozen=True)
class Key:
    """One test of one model."""

    model: str
    test: str
    threads: int


@dataclass
class Results:
    """Samples in tokens/s (or in 1/s for whole processes) and peaks in bytes, by test and engine. An engine
    that runs in several ways has one list for each."""

    samples: dict[Key, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    peaks: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, key: Key, engine: str, way: str, values: list[float]) -> None:
        ways = self.samples.setdefault(key, {}).setdefault(engine, {})
        ways.setdefault(way, []).extend(values)

    def peak(self, model: str, engine: str, value: int | None) -> None:
        if value is not None:
            self.peaks[model][engine] = max(value, self.peaks[model].get(engine, 0))

    def best(self, key: Key, engine: str) -> tuple[str, float] | None:
        """The way with the best median, and this median."""
        ways = self.samples.get(key, {}).get(engine, {})
        medians = {way: statistics.median(values) for way, values in ways.items() if values}
        return max(medians.items(), key=lambda item: item[1]) if medians else None


@dataclass(frozen=True)
class Engine:
    """What measures a model: a command that prints llama-bench's JSON. `ways` are sets of options."""

    name: str
    command: list[str]
    ways: dict[str, list[str]]
    environment: dict[str, str] | None = None

    def round(self, model: str, common: list[str], results: Results) -> None:
        for way, options in self.ways.items():
            _, peak, out = whole_process([*self.command, *common, *options, "-m", model], self.environment)
            results.peak(Path(model).name, self.name, peak)
            for row in json.loads(out):
                key = Key(Path(model).name, label(row), int(row["n_threads"]))
                results.add(key, self.name, way, [float(value) for value in row["samples_ts"]])


def label(row: dict[str, Any]) -> str:
    test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
    return f"{test} @ d{row['n_depth']}" if row["n_depth"] else test


def named(text: str) -> tuple[str, str]:
    """NAME=PATH, or a path that is its own name."""
    name, equals, path = text.partition("=")
    return (name, path) if equals else (Path(text).name, text)


def executable(path: str, option: str) -> str:
    found = shutil.which(path)
    if not found:
        sys.exit(f"{option}: {path} is no program that can be run")
    return os.path.abspath(found)


def own_libraries(program: str) -> dict[str, str]:
    """The environment of a peer: a copied build still names the folder that it was made in, and would
    quietly run another build's kernels."""
    paths = [os.path.dirname(program), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, paths))}


def peers(options: argparse.Namespace) -> list[Engine]:
    """The engines to compare with; each that is asked for and not there is told."""
    extra = [part for option in options.peer_option for part in option.split("=", 1)]
    flash = {"both": {"fa=0": ["-fa", "0"], "fa=1": ["-fa", "1"]}, "default": PLAIN}
    flash |= {value: {f"fa={value}": ["-fa", value]} for value in ("0", "1")}
    given = [named(text) for text in options.peer]
    if not given and (found := shutil.which("llama-bench")):
        given = [("llama.cpp", found)]
    engines = []
    for name, path in given:
        program = executable(path, "--peer")
        engines.append(Engine(name, [program, *extra], flash[options.flash], own_libraries(program)))
    if not engines and find_spec("llama_cpp"):
        engines.append(Engine("llama-cpp-python", [sys.executable, str(WORKER), "llama-cpp"], PLAIN))
    if options.openvino:
        if find_spec("openvino_genai"):
            command = [sys.executable, str(WORKER), "openvino", "--directory", options.openvino]
            engines.append(Engine("openvino", command, PLAIN))
        else:
            print("openvino-genai is not installed here: that comparison is skipped", file=sys.stderr)
    return engines


@dataclass(frozen=True)
class Start:
    """A command line that generates one token, the whole process of it."""

    name: str
    command: list[str]
    environment: dict[str, str] | None

    def run(self, model: str, threads: str) -> tuple[float, int | None]:
        command = [*self.command, "-n", "1", "-c", "512", "--temp", "0", "-m", model, "-t", threads]
        return whole_process(command, self.environment)[:2]


def starts(options: argparse.Namespace, own_environment: dict[str, str] | None) -> list[Start]:
    if not options.llama_cli:
        return []
    found = [Start(OURS, [sys.executable, "-m", "pyedge", "generate", PROMPT, "--raw"], own_environment)]
    for name, path in map(named, options.llama_cli):
        program = executable(path, "--llama-cli")
        found.append(Start(name, [program, "-p", PROMPT, "-no-cnv"], own_libraries(program)))
    return found


def run(options: argparse.Namespace) -> tuple[Results, list[str]]:
    """All rounds; the results and the names of the peers."""
    environment = {**os.environ, "PYEDGE_ISA": options.isa} if options.isa else None
    own = Engine(OURS, [sys.executable, "-m", "pyedge", "bench"], PLAIN, environment)
    engines, commands = [own, *peers(options)], starts(options, environment)
    if len(engines) == 1:
        engines = []
        if not commands:
            sys.exit("no peer was found: give one with --peer NAME=/path/to/llama-bench")
    common = ["-p", options.p, "-n", options.n, "-d", options.d, "-t", options.t, "-r", "1", "-o", "json"]
    results = Results()
    for turn in range(options.r):
        for model in options.models:
            name = Path(model).name
            print(f"round {turn + 1} of {options.r}: {name}", file=sys.stderr)
            for engine in engines:
                engine.round(model, common, results)
            for threads in options.t.split(","):
                for start in commands:
                    if turn == 0:
                        start.run(model, threads)  # its files are read from the disk once, and not timed
                    seconds, peak = start.run(model, threads)
                    results.add(Key(name, "start", int(threads)), start.name, "default", [1 / seconds])
                    results.peak(f"{name}, start", start.name, peak)
    names = [engine.name for engine in engines] + [command.name for command in commands]
    return results, [name for name in dict.fromkeys(names) if name != OURS]


def markdown(results: Results, names: list[str], isa: str) -> str:
    """Tokens per second (whole processes: per second) and, for each peer, the ratio of medians."""
    head = ["model", "test", "threads", f"pyedge ({isa})"]
    head += [cell for name in names for cell in (name, "ratio")]
    lines = [f"| {' | '.join(head)} |", "|---|---|" + "---:|" * (len(head) - 2)]
    for key in results.samples:
        mine = results.best(key, OURS)
        if mine is None:
            continue
        cells = [key.model, key.test, str(key.threads), f"{mine[1]:.1f}"]
        for name in names:
            best = results.best(key, name)
            way = f" ({best[0]})" if best and best[0] not in PLAIN else ""
            cells += [f"{best[1]:.1f}{way}", f"{mine[1] / best[1]:.2f}"] if best else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"| peak memory, MiB | {' | '.join([OURS, *names])} |",
        "|---|" + "---:|" * (len(names) + 1),
    ]
    for model, peaks in results.peaks.items():
        cells = [f"{peaks[name] / 2**20:.0f}" if name in peaks else "" for name in [OURS, *names]]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_json(results: Results, names: list[str], isa: str) -> dict[str, Any]:
    tests = []
    for key, engines in results.samples.items():
        mine = results.best(key, OURS)
        medians = {name: best for name in engines if (best := results.best(key, name))}
        tests.append(
            {
                "model": key.model,
                "test": key.test,
                "n_threads": key.threads,
                "samples_ts": engines,
                "median_ts": {name: value for name, (_, value) in medians.items()},
                "ratio": {name: mine[1] / medians[name][1] for name in names if mine and name in medians},
            }
        )
    return {"isa": isa, "peers": names, "tests": tests, "peak_rss_bytes": results.peaks}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="GGUF files")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=LLAMA_BENCH", help="repeatable")
    parser.add_argument("--llama-cli", action="append", default=[], metavar="NAME=PATH", help="repeatable")
    parser.add_argument("--openvino", metavar="DIR", help="a model exported for OpenVINO GenAI")
    parser.add_argument("-t", default="1,2", help="thread counts")
    parser.add_argument("-p", default="512", help="prompt lengths")
    parser.add_argument("-n", default="128", help="generated tokens")
    parser.add_argument("-d", default="0", help="depths")
    parser.add_argument("-r", type=int, default=5, help="rounds")
    parser.add_argument("--isa", help="force pyedge's instruction set")
    parser.add_argument("--flash", choices=["both", "0", "1", "default"], default="default")
    parser.add_argument(
        "--peer-option", action="append", default=[], help="passed on: --peer-option=-ctk=f32"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    options = parser.parse_args()
    from pyedge import Error, _core

    try:
        isa = options.isa or _core.isa_select()
        results, names = run(options)
    except Error as error:
        sys.exit(str(error))
    if options.json:
        options.json.write_text(json.dumps(as_json(results, names, isa), indent=1) + "\n")
    print(markdown(results, names, isa))


if __name__ == "__main__":
    main()
