"""Tables and plots from a folder of results of `pyedge bench -o json`.

    python bench/report.py [bench/results] [--out docs/results.md] [--plots DIR]

A file holds what one device gave, from any door (native command, Python, browser); the columns are those of
`schema.json`. The tables go to standard output or --out. --plots needs matplotlib (`pip install
'pyedge[plots]'`) and draws decode against model size with the bound that memory sets, prefill, memory, and
start-up. Results of an emulated processor are listed apart, and without times: only their hashes say
something.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SCHEMA = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
_TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "array": list,
    "boolean": bool,
    "null": type(None),
}
# Main ID register: implementer and part (Arm, "CPU Architecture" of each core's reference manual).
CORES = {
    ("0x41", "0xc07"): "Cortex-A7",
    ("0x41", "0xc08"): "Cortex-A8",
    ("0x41", "0xc09"): "Cortex-A9",
    ("0x41", "0xc0f"): "Cortex-A15",
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
}

Row = dict[str, Any]


# ---- reading -----------------------------------------------------------------------------------------------


def problem(row: Any) -> str | None:
    """What of the schema a row breaks."""
    if not isinstance(row, dict):
        return "is no object"
    missing = [name for name in SCHEMA["required"] if name not in row]
    if missing:
        return f"lacks {', '.join(missing)}"
    strange = [name for name in row if name not in SCHEMA["properties"]]
    if strange:
        return f"has unknown columns: {', '.join(strange)}"
    for name, rule in SCHEMA["properties"].items():
        kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
        value = row[name]
        right = any(isinstance(value, _TYPES[kind]) for kind in kinds)
        if not right or (isinstance(value, bool) and "boolean" not in kinds):
            return f"has {name} = {value!r}; expected {' or '.join(kinds)}"
        if value not in rule.get("enum", [value]):
            return f"has {name} = {value!r}; expected one of {', '.join(rule['enum'])}"
    return None


def read(folder: Path) -> list[Row]:
    """All rows of all files; ends with a message at what is no result."""
    rows: list[Row] = []
    for path in sorted(folder.rglob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            sys.exit(f"{path}: is no JSON: {error}")
        for index, row in enumerate(found if isinstance(found, list) else [found]):
            wrong = problem(row)
            if wrong:
                sys.exit(f"{path}: entry {index} {wrong}")
            rows.append({**row, "device": path.stem})
    return rows


# ---- tables ------------------------------------------------------------------------------------------------


def processor(row: Row) -> str:
    words = row["cpu_info"].split()
    if len(words) == 4 and words[0] == "implementer":
        return CORES.get((words[1], words[3]), row["cpu_info"])
    return str(row["cpu_info"])


def label(row: Row) -> str:
    if row["start_ms"] is not None:
        return "start"
    test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
    return test + (f" @ d{row['n_depth']}" if row["n_depth"] else "")


def slowed(row: Row) -> bool:
    """Whether the clock fell by a tenth, or the system says that it throttled."""
    before, after = row["freq_before_mhz"], row["freq_after_mhz"]
    fell = before is not None and after is not None and after < 0.9 * before
    return bool(row["throttled"]) or fell


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    right = ("tokens/s", "+-", "%", "ms", "MiB", "threads", "C", "W")
    marks = ["---:" if name.endswith(right) else "---" for name in head]
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(head) + " |", "|" + "|".join(marks) + "|", *body, ""]


def heat(row: Row) -> str:
    before, after = row["temp_before_c"], row["temp_after_c"]
    return "" if after is None else f"{number(before, 0)} to {number(after, 0)}"


def _timed(row: Row) -> list[str]:
    first = row["ttft_ms"] if row["start_ms"] is None else row["start_ms"]
    peak = row["peak_rss_bytes"]
    return [
        row["model_type"],
        row["door"],
        row["isa"],
        str(row["n_threads"]),
        label(row),
        number(row["median_ts"], 2),
        number(row["stddev_ts"], 2),
        number(row["bound_percent"], 0),
        number(first, 1),
        number(row["load_ms"], 1),
        number(None if peak is None else peak / 2**20, 0),
        heat(row),
        number(row["power_w"], 1),
        "slowed down" if slowed(row) else "",
    ]


TIMED = (
    "model", "door", "isa", "threads", "test", "tokens/s", "+-", "bound %", "first token ms", "load ms",
    "peak MiB", "degrees C", "W", "",
)  # fmt: skip


def device_facts(row: Row) -> str:
    memory = row["memory_bytes"]
    facts = [
        row["board"],
        f"{processor(row)}, {row['n_processors']} processors",
        memory and f"{memory / 2**30:.1f} GiB",
        row["kernel"],
        row["machine"],
        row["governor"] and f"governor {row['governor']}",
        row["freq_max_mhz"] and f"up to {row['freq_max_mhz']:.0f} MHz",
        f"instruction sets: {row['cpu_features']}",
        f"pyedge {row['version']}",
    ]
    return "; ".join(str(fact) for fact in facts if fact)


def report(rows: Sequence[Row], notes: str = "") -> str:
    lines = ["# Results", "", "Made by `python bench/report.py` from the files beside it.", ""]
    lines += [notes.strip(), ""] if notes.strip() else []
    devices: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        devices[row["device"]].append(row)
    for device, own in devices.items():
        emulated = [row for row in own if row["emulated"]]
        timed = [row for row in own if not row["emulated"]]
        lines += [f"## {device}", "", device_facts(own[0]) + (" (emulated)" if emulated else ""), ""]
        if timed:
            lines += table(TIMED, map(_timed, timed))
        if emulated:
            cells = (
                [row["model_type"], row["door"], row["isa"], label(row), row["output_hash"] or ""]
                for row in emulated
            )
            lines += table(("model", "door", "isa", "test", "output hash"), cells)
    return "\n".join([*lines, *agreement(rows)])


def agreement(rows: Sequence[Row]) -> list[str]:
    """Doors and threads must give the same tokens for one file, seed and instruction set."""
    groups: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in rows:
        if row["output_hash"]:
            key = (row["model_sha256"], row["seed"], label(row), row["isa"], row["version"])
            groups[key].add(row["output_hash"])
    torn = [key for key, hashes in groups.items() if len(hashes) > 1]
    lines = [
        f"Outputs: {len(groups)} tests (file, seed, instruction set), "
        f"{len(torn)} with more than one output hash."
    ]
    return [
        *lines,
        *(f"- {test} on {isa}: {sorted(groups[key])}" for key in torn for _, _, test, isa, _ in [key]),
        "",
    ]


# ---- plots -------------------------------------------------------------------------------------------------


def plots(rows: Sequence[Row], folder: Path) -> list[Path]:
    try:
        import matplotlib
    except ImportError:
        sys.exit("plots need matplotlib: pip install 'pyedge[plots]'")
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "pyedge"})  # small, the same again
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    timed = [row for row in rows if not row["emulated"]]
    made = []

    def finish(figure: Any, axes: Any, name: str, title: str, x: str, y: str) -> None:
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
        figure.tight_layout()
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)
        made.append(folder / f"{name}.svg")

    def series(chosen: Iterable[Row]) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in chosen:
            found[f"{row['device']}, {row['door']}, {row['isa']}, {row['n_threads']} threads"].append(row)
        return dict(sorted(found.items()))

    def shallow(chosen: Iterable[Row]) -> Iterable[Row]:
        return (row for row in chosen if not row["n_depth"] and row["start_ms"] is None)

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, own in series(row for row in shallow(timed) if row["n_gen"]).items():
        own.sort(key=lambda row: row["model_size"])
        sizes = [row["model_size"] / 2**20 for row in own]
        (line,) = axes.plot(sizes, [row["median_ts"] for row in own], "o-", label=name)
        bounds = [row["bound_gb_per_s"] * 1e9 / row["model_size"] for row in own if row["bound_gb_per_s"]]
        if len(bounds) == len(sizes):
            axes.plot(sizes, bounds, "--", color=line.get_color(), alpha=0.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    finish(
        figure,
        axes,
        "decode",
        "Decode; dashed: reading the weights and nothing else",
        "weights, MiB",
        "tokens/s",
    )

    for name, title, chosen in (
        ("prefill", "Prefill", [row for row in shallow(timed) if row["n_prompt"]]),
        (
            "memory",
            "Peak memory of the process, MiB",
            [row for row in shallow(timed) if row["peak_rss_bytes"]],
        ),
        (
            "start",
            "Whole process to the first token, ms",
            [row for row in timed if row["start_ms"] is not None],
        ),
    ):
        figure, axes = pyplot.subplots(figsize=(7, 1.5 + 0.3 * len(chosen)))
        names = [
            f"{row['device']} {row['model_type']} {row['door']} {row['isa']} {row['n_threads']}t {label(row)}"
            for row in chosen
        ]
        values = [
            row["median_ts"]
            if name == "prefill"
            else row["peak_rss_bytes"] / 2**20
            if name == "memory"
            else row["start_ms"]
            for row in chosen
        ]
        axes.barh(range(len(chosen)), values)
        axes.set_yticks(range(len(chosen)), names, fontsize=7)
        axes.invert_yaxis()
        finish(figure, axes, name, title, "tokens/s" if name == "prefill" else "", "")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).with_name("results"))
    parser.add_argument("--out", type=Path, help="Markdown file; standard output if not given")
    parser.add_argument("--plots", type=Path, help="folder for SVG files")
    options = parser.parse_args()
    rows = read(options.folder)
    if not rows:
        sys.exit(f"{options.folder} has no results (*.json, as `pyedge bench -o json` prints them)")
    notes = options.folder / "NOTES.md"  # what a reader should know about how these were taken
    text = report(rows, notes.read_text(encoding="utf-8") if notes.exists() else "")
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    if options.plots:
        for path in plots(rows, options.plots):
            print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
