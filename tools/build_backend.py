"""The build backend: scikit-build-core, and a C++ compiler where the system has none.

The core is C, and only the thin binding is C++. So that a C compiler and pip are enough to install from
source, a system without a C++ compiler gets the one that the PyPI package `ziglang` ships, while it builds.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scikit_build_core import build as _backend
from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, Any] | None


def _has_cxx() -> bool:
    return bool(os.environ.get("CXX")) or any(map(shutil.which, ("c++", "g++", "clang++")))


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    needed: list[str] = _backend.get_requires_for_build_wheel(config_settings)
    return needed if _has_cxx() else [*needed, "ziglang>=0.14"]


@contextmanager
def _cxx() -> Iterator[None]:
    """CXX names a compiler: the system's own, or a little program that calls zig's."""
    if _has_cxx():
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "zig-c++"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ziglang c++ "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        os.environ["CXX"] = str(program)
        try:
            yield
        finally:
            del os.environ["CXX"]


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    with _cxx():
        return str(_backend.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    with _cxx():
        return str(_backend.build_editable(wheel_directory, config_settings, metadata_directory))
