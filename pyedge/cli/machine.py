"""`pyedge doctor`: what pyedge found on this machine, what it chose, and why."""

from __future__ import annotations

import os
import platform
import sys

import typer

from .. import __version__, _core, hub
from ..errors import Error
from ..progress import mebibytes
from .common import table


def cpu_name() -> str:
    """The processor by name, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model", "Hardware"):
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def doctor() -> None:
    """Tell what was detected, which kernels are used, and why."""
    import jinja2
    import numpy

    problems: list[Error] = []
    chosen, forced = "", os.environ.get("PYEDGE_ISA")
    try:
        chosen = _core.isa_select()
        kernels = f"{chosen} ({f'PYEDGE_ISA={forced}' if forced else 'the best one that is usable'})"
    except Error as error:
        problems.append(error)
        kernels = f"none: {error}"
    count, allowed, quota, forced_threads = _core.threads_explain()
    reasons = [f"{allowed} processors allowed", f"cgroup quota {quota:g}" if quota > 0 else "no cgroup quota"]
    wish = f"PYEDGE_THREADS={os.environ.get('PYEDGE_THREADS')}"
    threads = f"{count} ({', '.join([*reasons, wish if forced_threads else 'PYEDGE_THREADS not set'])})"
    if forced_threads < 0:
        problems.append(Error(f"{wish} cannot be followed; expected a number from 1 to 512"))
        threads = f"none: {problems[-1]}"
    cache = hub.cache_dir()
    here = [entry.name for entry in hub.entries() if hub.cached(entry.name)]
    rows = [
        ("pyedge", f"{__version__} (core {_core.version()})"),
        ("Python", f"{platform.python_version()} at {sys.executable}"),
        ("packages", f"numpy {numpy.__version__}, jinja2 {jinja2.__version__}"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("processor", cpu_name()),
        ("kernels", kernels),
        ("threads", threads),
        ("memory", _memory()),
        ("cache", f"{cache} ({'writable' if _writable(cache) else 'not writable: set PYEDGE_CACHE'})"),
        ("models", ", ".join(here) or "none fetched yet"),
    ]
    rows += [(name, value) for name, value in sorted(os.environ.items()) if name.startswith("PYEDGE_")]
    table((), rows)
    print()
    table(
        ("kernels", "usable", ""),
        (
            (f"{name}{' *' if name == chosen else ''}", "yes" if usable else "no", reason)
            for name, usable, reason in _core.isas()
        ),
    )
    if problems:
        raise problems[0]


def _memory() -> str:
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{mebibytes(page * pages)}, {mebibytes(page * free)} free"


def _writable(path: os.PathLike[str]) -> bool:
    """Whether the directory, or the nearest one above it that exists, can be written."""
    candidate = os.path.abspath(path)
    while not os.path.exists(candidate) and os.path.dirname(candidate) != candidate:
        candidate = os.path.dirname(candidate)
    return os.path.isdir(candidate) and os.access(candidate, os.W_OK)


def register(app: typer.Typer) -> None:
    app.command()(doctor)
