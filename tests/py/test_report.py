"""bench/report.py: what it reads, refuses and shows."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
SCHEMA = json.loads((BENCH / "schema.json").read_text())
EXAMPLES = {"string": "x", "integer": 1, "number": 1.5, "array": [1.0, 2.0], "boolean": False}


def row(**changes: Any) -> dict[str, Any]:
    made = {}
    for name, rule in SCHEMA["properties"].items():
        kind = rule["type"] if isinstance(rule["type"], str) else rule["type"][0]
        made[name] = rule["enum"][0] if "enum" in rule else EXAMPLES[kind]
    return {**made, "start_ms": None, "n_gen": 0, "n_depth": 0, "output_hash": "aa", **changes}


def report(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "report.py"), str(folder), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)


def write(folder: Path, name: str, *rows: object) -> Path:
    (folder / f"{name}.json").write_text(json.dumps(list(rows)))
    return folder


def test_tables(tmp_path: Path) -> None:
    write(
        tmp_path,
        "board",
        row(median_ts=123.456, cpu_info="implementer 0x41 part 0xd08", memory_bytes=2**32),
        row(n_prompt=0, n_gen=4, freq_before_mhz=1000.0, freq_after_mhz=700.0),
        row(start_ms=88.0),
    )
    text = report(tmp_path).stdout
    assert "## board" in text and "Cortex-A72" in text and "4.0 GiB" in text
    assert "| pp1 | 123.46 |" in text and "| tg4 |" in text and "| start |" in text
    assert text.count("slowed down") == 1


def test_emulated_results_have_no_times(tmp_path: Path) -> None:
    write(tmp_path, "emulated", row(emulated=True, median_ts=777.0, output_hash="bb"))
    text = report(tmp_path).stdout
    assert "(emulated)" in text and "777" not in text and "| bb |" in text


def test_outputs_that_differ_are_told(tmp_path: Path) -> None:
    write(
        tmp_path, "a", row(output_hash="aa", n_threads=1), row(output_hash="aa", n_threads=2, door="python")
    )
    assert "1 tests (file, seed, instruction set), 0 with more" in report(tmp_path).stdout
    write(tmp_path, "b", row(output_hash="bb"))
    text = report(tmp_path).stdout
    assert "1 with more than one output hash" in text and "['aa', 'bb']" in text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_threads": "two"}, "n_threads"),
        ({"n_threads": True}, "n_threads"),
        ({"door": "window"}, "door"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    done = report(write(tmp_path, "bad", row(**wrong)))
    assert done.returncode != 0 and "bad.json" in done.stderr and said in done.stderr


def test_missing_columns_broken_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    assert "no results" in report(tmp_path).stderr
    incomplete = row()
    del incomplete["seed"]
    assert "lacks seed" in report(write(tmp_path, "bad", incomplete)).stderr
    (tmp_path / "bad.json").write_text("[")
    assert "no JSON" in report(tmp_path).stderr


def test_plots(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed (pip install 'pyedge[plots]')")
    write(tmp_path, "board", row(), row(n_prompt=0, n_gen=4, model_size=10**8), row(start_ms=88.0))
    done = report(tmp_path, "--plots", tmp_path / "plots", "--out", tmp_path / "report.md")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {"decode.svg", "prefill.svg", "memory.svg", "start.svg"}
    assert "## board" in (tmp_path / "report.md").read_text()


def test_results_in_the_tree_are_results() -> None:
    if any((BENCH / "results").glob("*.json")):
        done = report(BENCH / "results")
        assert done.returncode == 0 and " 0 with more than one output hash" in done.stdout, done.stderr
