"""What measures: `pyedge bench`, reading the weights as the bound, and the comparison with peers.

Never a time: what is checked is that the figures are there, that they fit each other, and that the work
behind them was done.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import ggufmake as gm
import numpy as np
import pytest
from kernel_table import Kernels, kernels, library  # noqa: F401
from test_cli import ELSEWHERE, run, succeed

from pyedge import _core

BENCH = Path(__file__).resolve().parents[2] / "bench"
PEERS, KERNELS = BENCH / "peers.py", BENCH / "kernels.py"

SCHEMA = json.loads((BENCH / "schema.json").read_text())
COLUMNS = list(SCHEMA["properties"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "tiny.gguf"
    path.write_bytes(gm.tiny_llama())
    return path


# ---- the bound ---------------------------------------------------------------------------------------------


def words(data: bytes) -> int:
    """Sum of the 64-bit words, modulo 2^64."""
    padded = np.frombuffer(data + bytes(-len(data) % 8), np.uint64)
    return int(padded.sum(dtype=np.uint64))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 64, 255, 256, 257, 1000, 4096, 5003])
def test_read_sum_reads_every_byte(kernels: Kernels, size: int) -> None:  # noqa: F811
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    fenced = kernels.memory.fenced(data)
    assert kernels.table.read_sum(kernels.bytes(fenced), size) == words(data.tobytes())


def tensors(model: _core.Model) -> dict[str, tuple[int, int]]:
    return {name: (offset, size) for name, _, _, offset, size in model.tensors()}


def core_session(model: _core.Model, n_threads: int = 2, isa: str | None = None) -> _core.Session:
    return _core.Session(model, n_ctx=512, n_threads=n_threads, kv_type="f16", isa=isa, memory_limit=0)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_weights_are_read_once_and_whole(smollm2: Path, n_threads: int) -> None:
    model, data = _core.Model(smollm2), smollm2.read_bytes()
    places = tensors(model).values()
    session = core_session(model, n_threads)
    assert (
        session.read_weights() == sum(words(data[offset : offset + size]) for offset, size in places) % 2**64
    )
    assert session.token_bytes(0) == sum(size for _, size in places)


def test_an_embedding_beside_an_output_is_not_read(tiny: Path) -> None:
    """The tiny model has both: one token reads all of the output, and of the embedding its own row."""
    model, data = _core.Model(tiny), tiny.read_bytes()
    places = tensors(model)
    assert "output.weight" in places
    _, embedding = places.pop("token_embd.weight")
    session = core_session(model)
    expected = sum(words(data[offset : offset + size]) for offset, size in places.values()) % 2**64
    assert session.read_weights() == expected
    row = embedding // model.info()["n_vocab"]
    assert session.token_bytes(0) == sum(size for _, size in places.values()) + row


def test_bytes_of_a_token_grow_with_what_it_sees(smollm2: Path, gemma3: Path) -> None:
    model = _core.Model(smollm2)
    facts = model.info()
    session = core_session(model)
    head_dim = facts["n_embd"] // facts["n_head"]
    per_position = facts["n_layer"] * facts["n_head_kv"] * head_dim * 2 * 2  # keys and values, f16
    assert session.token_bytes(100) - session.token_bytes(0) == 100 * per_position
    model = _core.Model(gemma3)  # five layers in six see no further than their window
    session, facts = core_session(model), model.info()
    metadata = model.metadata(False)
    window, head_dim = metadata["gemma3.attention.sliding_window"], metadata["gemma3.attention.key_length"]
    per_layer = facts["n_head_kv"] * head_dim * 2 * 2
    whole = facts["n_layer"] // 6
    assert session.token_bytes(10 * window + 1) - session.token_bytes(10 * window) == whole * per_layer
    assert session.token_bytes(10) - session.token_bytes(0) == 10 * facts["n_layer"] * per_layer


# ---- the command -------------------------------------------------------------------------------------------


def test_bench(smollm2: Path) -> None:
    arguments = ("bench", "-m", smollm2, "-p", "16", "-n", "4", "-d", "0,8", "-t", "1,2", "-r", "2")
    rows = json.loads(succeed(*arguments, "-o", "json"))
    assert len(rows) == 8
    for row in rows:
        assert list(row) == COLUMNS
        assert len(row["samples_ts"]) == 2 and row["median_ts"] == statistics.median(row["samples_ts"])
        assert row["load_ms"] > 0 and row["start_ms"] is None
        assert row["peak_rss_bytes"] is None or row["peak_rss_bytes"] > row["model_size"]
        assert (row["ttft_ms"] is None) == (row["n_depth"] > 0)
        generated = ("weights_gb_per_s", "bound_gb_per_s", "bound_percent")
        assert all((row[name] is None) == (row["n_gen"] == 0) for name in generated)
        if row["n_gen"]:  # the share counts keys and values as well
            share = 100 * row["weights_gb_per_s"] / row["bound_gb_per_s"]
            assert share < row["bound_percent"] < 1.1 * share
    for n_depth in (0, 8):  # one seed, one model, one instruction set: threads change nothing
        for kind in ("n_prompt", "n_gen"):
            hashes = {row["output_hash"] for row in rows if row["n_depth"] == n_depth and row[kind]}
            assert len(hashes) == 1


def test_bench_formats(tiny: Path) -> None:
    short = ("bench", "-m", tiny, "-p", "0", "-n", "2", "-r", "1", "-t", "1")
    row = next(csv.DictReader(io.StringIO(succeed(*short, "-o", "csv"))))
    assert list(row) == COLUMNS and row["n_gen"] == "2"
    table = succeed(*short)
    assert "| tg2 |" in table and "% of the bound" in table
    lines = succeed(*short, "-d", "0,4", "-o", "jsonl", "--isa", "scalar").splitlines()
    assert [json.loads(line)["n_depth"] for line in lines] == [0, 4]
    assert {json.loads(line)["isa"] for line in lines} == {"scalar"}


def test_bench_of_whole_processes(tiny: Path) -> None:
    arguments = ("bench", "-m", tiny, "-p", "0", "-n", "0", "-r", "1", "-t", "1", "--start", "-o", "json")
    (row,) = json.loads(succeed(*arguments, "--isa", "scalar"))
    assert list(row) == COLUMNS
    assert row["start_ms"] > row["load_ms"] and row["n_gen"] == 1 and row["isa"] == "scalar"
    assert row["start_ms"] == pytest.approx(1e3 / row["median_ts"])
    assert row["peak_rss_bytes"] is None or row["peak_rss_bytes"] > 10 * 2**20  # of Python, at least


@pytest.mark.parametrize("threads", ["0", "-1", "513", "10000", "1,0", "two"])
def test_bench_refuses_thread_counts(tiny: Path, threads: str) -> None:
    done = run("bench", "-m", tiny, "-t", threads)
    assert done.returncode == 2 and "from 1 to 512" in " ".join(done.stderr.split())
    assert done.stdout == ""


# ---- kernel by kernel --------------------------------------------------------------------------------------


def test_every_slot_is_measured(library: Any) -> None:  # noqa: F811
    quick = ("--mib", "0.1", "--seconds", "0", "--tokens", "2,16", "--depth", "64", "--json")
    command = [sys.executable, str(KERNELS), "--isa", "scalar", "--type", "Q4_K", "--type", "F16", *quick]
    environment = {**os.environ, "PYEDGE_TEST_LIB": str(library.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    rows = json.loads(done.stdout)
    fields = dict(library.ffi.typeof("pe_kernels").fields)
    slots = {name for name, field in fields.items() if field.type.kind == "function"}
    products = {f"{slot}_{kind}" for slot in ("gemv", "gemm") for kind in ("q4_k", "f16")}
    attention = {f"attend_{head_dim}_d64" for head_dim in (64, 256)}
    assert {row["kernel"] for row in rows} == (slots - {"attend"}) | products | attention
    assert all(row["rate"] > 0 for row in rows)
    assert {row["tokens"] for row in rows if row["kernel"] == "gemm_q4_k"} == {2, 16}
    assert all(row["cost"] > 0 for row in rows if row["kernel"].startswith("gem"))


# ---- beside peers ------------------------------------------------------------------------------------------

FAKE = """#!{python}
import json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
base = {rate} * (2 if given.get("-fa") == "1" else 1)
rows = []
for threads in given["-t"].split(","):
    for depth in given["-d"].split(","):
        for n_prompt, n_gen in ((int(given["-p"]), 0), (0, int(given["-n"]))):
            row = {{"n_prompt": n_prompt, "n_gen": n_gen, "n_depth": int(depth), "n_threads": int(threads)}}
            if n_prompt or n_gen:
                rows.append({{**row, "samples_ts": [base * int(threads)]}})
print(json.dumps(rows))
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def compare(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PEERS), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ELSEWHERE, timeout=300)


@pytest.mark.skipif(os.name != "posix", reason="its programs are scripts")
def test_peers_in_turn(tiny: Path, tmp_path: Path) -> None:
    fast = program(tmp_path / "a" / "llama-bench", FAKE.format(python=sys.executable, rate=100.0))
    slow = program(tmp_path / "b" / "llama-bench", FAKE.format(python=sys.executable, rate=1.0))
    cli = program(tmp_path / "llama-cli", "#!/bin/sh\nexit 0\n")
    out = tmp_path / "out.json"
    done = compare(
        tiny,
        *("--peer", f"fast={fast}", "--peer", f"slow={slow}", "--llama-cli", f"fast={cli}"),
        *("-t", "1,2", "-p", "8", "-n", "4", "-d", "0,4", "-r", "2", "--flash", "both"),
        *("--isa", "scalar", "--openvino", tmp_path, "--json", out),
    )
    assert done.returncode == 0, done.stderr
    assert "openvino-genai is not installed here" in done.stderr
    result: dict[str, Any] = json.loads(out.read_text())
    assert result["isa"] == "scalar" and result["peers"] == ["fast", "slow"]
    tests = {(test["test"], test["n_threads"]): test for test in result["tests"]}
    kinds = ["pp8", "tg4", "pp8 @ d4", "tg4 @ d4", "start"]
    assert set(tests) == {(kind, threads) for kind in kinds for threads in (1, 2)}
    for (kind, threads), test in tests.items():
        ours = test["samples_ts"]["pyedge"]["default"]
        assert len(ours) == 2  # one a round
        if kind == "start":
            assert set(test["ratio"]) == {"fast"}
            continue
        # Two ways to run a peer, and the better one counts.
        assert test["samples_ts"]["slow"] == {"fa=0": [threads] * 2, "fa=1": [2 * threads] * 2}
        assert test["median_ts"]["slow"] == 2 * threads
        assert test["ratio"]["slow"] == pytest.approx(statistics.median(ours) / (2 * threads))
        assert test["ratio"]["slow"] == pytest.approx(100 * test["ratio"]["fast"])
    assert result["peak_rss_bytes"]["tiny.gguf"]["pyedge"] > 0
    table = done.stdout.splitlines()
    assert "slow" in table[0] and "pyedge (scalar)" in table[0]
    assert any("2.0 (fa=1)" in line for line in table)


def test_peers_that_fail_or_are_missing(tiny: Path, tmp_path: Path) -> None:
    broken = program(tmp_path / "llama-bench", "#!/bin/sh\necho no such model >&2\nexit 3\n")
    done = compare(tiny, "--peer", broken, "-p", "4", "-n", "0", "-t", "1", "-r", "1")
    assert done.returncode == 1 and "status 3" in done.stderr and "no such model" in done.stderr
    done = compare(tiny, "--peer", tmp_path / "nowhere")
    assert done.returncode == 1 and "nowhere" in done.stderr and "Traceback" not in done.stderr
