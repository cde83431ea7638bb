"""`pyedge doctor`: what pyedge found on this machine, what it chose, and why."""

from __future__ import annotations

import os
import platform
import sys

import typer

from .. import __version__, _core, hub
from ..device import State, cpu_name, facts
from ..errors import Error
from ..progress import mebibytes
from .common import table


def doctor() -> None:
    """Tell what was detected, which kernels are used, and why."""
    from importlib.metadata import version

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
        ("packages", f"jinja2 {version('jinja2')}, {_numpy()}"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("processor", cpu_name()),
        ("kernels", kernels),
        ("threads", threads),
        ("memory", _memory()),
        ("clock, heat", _state()),
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


def _numpy() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"numpy {version('numpy')}"
    except PackageNotFoundError:
        return "no numpy (only arrays need it: pip install numpy)"


def _memory() -> str:
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{mebibytes(page * pages)}, {mebibytes(page * free)} free"


def _state() -> str:
    """Board, governor, frequency, temperature, power: what the system shows of them."""
    told, now = facts(), State.now()
    parts = [
        told["board"],
        told["governor"] and f"governor {told['governor']}",
        now.freq_mhz and f"{now.freq_mhz:.0f} MHz",
        told["freq_max_mhz"] and f"{told['freq_max_mhz']:.0f} MHz at most",
        now.temp_c and f"{now.temp_c:.0f} degrees C",
        now.power_w and f"{now.power_w:.1f} W",
        now.throttled_now and "throttled now",
    ]
    return ", ".join(str(part) for part in parts if part) or "not shown by this system"


def _writable(path: os.PathLike[str]) -> bool:
    """Whether the directory, or the nearest one above it that exists, can be written."""
    candidate = os.path.abspath(path)
    while not os.path.exists(candidate) and os.path.dirname(candidate) != candidate:
        candidate = os.path.dirname(candidate)
    return os.path.isdir(candidate) and os.access(candidate, os.W_OK)


def register(app: typer.Typer) -> None:
    app.command()(doctor)
