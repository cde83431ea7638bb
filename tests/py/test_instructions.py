"""`bench/instructions.py`: what it makes of the counts that an emulator reports."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "bench" / "instructions.py"
# In place of QEMU: its arguments are -plugin, the plugin, then a program's own.
EMULATOR = """
import sys
program, model, n_prompt, n_decoded, *isa = sys.argv[3:]
assert model == "model.gguf"
opening, decoded, prefilled = 7_000_000, 4_000_000, 2_000_000
if isa == ["neon"]:
    opening, decoded, prefilled = 9_000_000, 2_000_000, 500_000
if program == "broken":
    sys.exit("no such model")
print("instructions:", opening + int(n_prompt) * prefilled + int(n_decoded) * decoded, file=sys.stderr)
"""


def run(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "emulator.py").write_text(EMULATOR)
    emulator = f"{sys.executable} {folder / 'emulator.py'}"
    command = [sys.executable, SCRIPT, "model.gguf", "--emulator", emulator, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("cc") is None, reason="the plugin is compiled")
def test_table(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, "--ours", "ours", "--isa", "neon", "--peer", "theirs", "--prompt", "64")
    assert done.returncode == 0, done.stderr
    ours, peer, ratio = done.stdout.splitlines()[2:]
    assert ours == "| pyedge, neon | 2.0 | 0.5 |"
    assert peer == "| llama.cpp | 4.0 | 2.0 |"
    assert ratio == "| ratio | 0.500 | 0.250 |"
    failed = run(tmp_path, "--ours", "broken")
    assert failed.returncode == 1 and "no such model" in failed.stderr and "broken" in failed.stderr
