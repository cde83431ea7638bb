"""Disks that fill up for real: a small tmpfs in a namespace of its own, filled while a command works."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys
import sysconfig

import ggufmake
import hfmake
import pytest

SMALL = 4 << 20  # bytes of the disk

# Runs the command with the disk full but for some bytes from the moment that its room was looked at.
CHILD = """
import json, os, pathlib, runpy, shutil, sys
disk, room, before, argv = json.loads(sys.argv[1])
disk = pathlib.Path(disk)
for name, text in before.items():
    (disk / name).write_text(text)
real = shutil.disk_usage
def usage(path):
    found = real(path)
    with open(disk / "ballast", "wb") as file:
        file.write(bytes(max(found.free - room, 0)))
    return found
if room >= 0:
    shutil.disk_usage = usage
sys.argv = ["pyedge", *argv]
try:
    runpy.run_module("pyedge", run_name="__main__")
except SystemExit as end:
    code = end.code
left = {path.name: path.stat().st_size for path in disk.iterdir()}
kept = {name: (disk / name).read_text() for name in before}
print("\\n" + json.dumps([code, left, kept]))
"""


@functools.cache
def namespace() -> tuple[str, ...]:
    """The command that gives a child mounts of its own."""
    for command in (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount")):
        probe = [*command, "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
        try:
            if subprocess.run(probe, capture_output=True, timeout=60).returncode == 0:
                return command
        except OSError:
            break
    return ()


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> pathlib.Path:
    if sys.platform != "linux" or not namespace():
        pytest.skip("no disk can be mounted here: this needs Linux, and root or user namespaces (unshare)")
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def run(
    disk: pathlib.Path, room: int, *argv: object, before: dict[str, str] | None = None
) -> tuple[int, dict[str, int], dict[str, str], str]:
    """Exit code, what is on the disk in the end, what became of the files from before, standard error."""
    facts = json.dumps([str(disk), room, before or {}, [str(word) for word in argv]])
    shell = f'mount -t tmpfs -o size={SMALL} tmpfs "$1" && shift && exec "$@"'
    command = [*namespace(), "sh", "-c", shell, "sh", str(disk), sys.executable, "-c", CHILD, facts]
    paths = os.pathsep.join([sysconfig.get_path("purelib"), *sys.path])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
    code, left, kept = json.loads(done.stdout.splitlines()[-1])
    return code, left, kept, done.stderr


@pytest.fixture
def jobs(tmp_path: pathlib.Path, disk: pathlib.Path) -> dict[str, list[object]]:
    """Commands that write `out.gguf` on the disk."""
    model, text = tmp_path / "in.gguf", tmp_path / "text.txt"
    model.write_bytes(ggufmake.tiny_llama(n_embd=256, n_ff=512))
    text.write_text("the cat sat on the mat. " * 20)
    folder = hfmake.llama().write(tmp_path / "folder")
    out = disk / "out.gguf"
    return {
        "quantize": ["quantize", model, out, "--type", "Q8_0", "-q"],
        "convert": ["convert", folder, out, "-q"],
        "imatrix": ["imatrix", model, text, "-o", out, "-c", 32, "-q"],
    }


@pytest.mark.parametrize("command", ["quantize", "convert", "imatrix"])
def test_disk_that_fills_up(disk: pathlib.Path, jobs: dict[str, list[object]], command: str) -> None:
    before = {"out.gguf": "what was there before"}
    code, left, kept, errors = run(disk, 8192, *jobs[command], before=before)
    assert code == 1
    assert "the disk is full; nothing was left behind" in errors
    assert "out.gguf" in errors
    assert "Traceback" not in errors
    assert set(left) == {"ballast", "out.gguf"}
    assert kept == before


@pytest.mark.parametrize("command", ["quantize", "convert", "imatrix"])
def test_the_same_with_room(disk: pathlib.Path, jobs: dict[str, list[object]], command: str) -> None:
    code, left, _, errors = run(disk, -1, *jobs[command])
    assert not code, errors
    assert set(left) == {"out.gguf"}


def test_disk_that_is_too_small_from_the_start(disk: pathlib.Path, jobs: dict[str, list[object]]) -> None:
    big = [word if word != "Q8_0" else "F32" for word in jobs["quantize"]]
    code, left, _, errors = run(disk, -1, *big)
    assert code == 1
    assert "MiB, and the disk has 4.0 MiB left" in errors
    assert left == {}
