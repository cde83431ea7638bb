"""Getting models by name: fetched once, checked, and kept in a cache directory.

`models.json` holds names, sources, sizes and digests. Every start goes through here, so what fetches
(`fetch.py`) is loaded only when there is something to fetch. One lock file for each model keeps two processes
apart.
"""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from .errors import Error, ModelFileError

_HF = re.compile(r"hf:([^/:]+/[^/:]+)/(.+\.gguf)", re.IGNORECASE)
_PART = re.compile(r"(.*)-\d{5}-of-(\d{5})\.gguf", re.IGNORECASE)


class Part(NamedTuple):
    """One wheel and the member of it that is a part of the model file."""

    requirement: str
    bytes: int
    member: str


class Entry(NamedTuple):
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
    return text.startswith("hf:") or ("/" not in text and text in _catalogue()[1])


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


def part_paths(path: Path) -> list[Path]:
    """All files of a model that is split, by the name of one of them; else the one."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    numbers = range(1, int(match[2]) + 1)
    return [path.with_name(f"{match[1]}-{number:05}-of-{match[2]}.gguf") for number in numbers]


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

        from .fetch import fetch_wheels

        with FileLock(directory / f".{entry.file}.lock"):
            # Another process may have been quicker while this one waited.
            return cached(name) or fetch_wheels(entry, directory, quiet)
    except OSError as error:
        raise Error(
            f"cannot write {entry.name} to the cache directory {directory}: {error.strerror or error}; "
            "PYEDGE_CACHE names another"
        ) from error


def _entry(name: str) -> Entry:
    entry = _catalogue()[1].get(name)
    if entry is None:
        raise ValueError(
            f"no model is known by the name {name!r}; known are {', '.join(names())}, "
            "and hf:owner/repo/file.gguf"
        )
    return entry


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
        parts = [part.as_posix() for part in part_paths(Path(match[2]))]
        paths = [hub.hf_hub_download(repo_id=match[1], filename=part) for part in parts]
        return Path(paths[0])
    except Exception as error:  # its exceptions are many, and differ between versions
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Error(f"{name} could not be fetched: {reason}") from error
