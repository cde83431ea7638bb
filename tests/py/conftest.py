"""Fixtures shared by all tests: reference data, the two real models, and the C library seen through cffi."""

from __future__ import annotations

import os
import pathlib
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


# ---- reference data ----------------------------------------------------------------------------------------


class References(type(pathlib.Path())):  # type: ignore[misc]
    """A folder of reference data; joining a name that this copy does not hold skips the test and says so."""

    def __truediv__(self, name: str | os.PathLike[str]) -> pathlib.Path:
        child = super().__truediv__(name)
        if not child.exists():
            pytest.skip(
                f"the reference data in {self} has no {name}; set PYEDGE_REFS to the whole collection"
            )
        return child


@pytest.fixture(scope="session")
def refs() -> References:
    """The reference data: PYEDGE_REFS, else a copy beside the repository, else the part in tests/golden."""
    named = os.environ.get("PYEDGE_REFS")
    if named:
        if not pathlib.Path(named).is_dir():
            pytest.fail(f"PYEDGE_REFS is {named!r}, which is not a folder")
        return References(named)
    beside = ROOT.parent / "shared" / "refs"
    return References(beside if beside.is_dir() else ROOT / "tests" / "golden")


# ---- real models -------------------------------------------------------------------------------------------


def _fetched(name: str) -> pathlib.Path:
    import pyedge
    from pyedge import hub

    try:
        return hub.fetch(name, quiet=True)
    except pyedge.Error as error:
        reason = f"{name} could not be fetched: {error}"
        if IN_CI:
            raise RuntimeError(reason) from error  # an error of the set-up, counted apart from failed tests
        pytest.skip(reason)


@pytest.fixture(scope="session")
def smollm2() -> pathlib.Path:
    """Path of SmolLM2-135M-Instruct (Q4_1), fetched once."""
    return _fetched("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def gemma3() -> pathlib.Path:
    """Path of gemma-3-270m (Q4_K_M), fetched once."""
    return _fetched("gemma-3-270m")


# ---- the C library through cffi ----------------------------------------------------------------------------


def declarations(header: pathlib.Path) -> str:
    """The declarations of one of our headers as cffi reads them: no comments, directives, inlines."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", header.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"^#\s*ifdef\s+__cplusplus.*?^#\s*endif", "", text, flags=re.S | re.M)
    text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*$", "", text, flags=re.M)
    text = re.sub(r"__attribute__\s*\(\(.*?\)\)(?=\s*;)", "", text, flags=re.S)
    text = re.sub(r"^static inline [^;{]*\{(?:[^\n]+\}$|[^\n}]*\n.*?^\}$)", "", text, flags=re.S | re.M)
    return text.replace("PE_API ", "")


class CLibrary:
    """A shared library opened from Python, with the public header declared."""

    def __init__(self, path: pathlib.Path) -> None:
        from cffi import FFI

        self.path = path
        self.ffi: Any = FFI()
        self._declared: set[str] = set()
        self.declare_header("pyedge.h")
        self.lib: Any = self.ffi.dlopen(str(path), self.ffi.RTLD_LAZY)

    def declare(self, text: str) -> None:
        """Declare more functions or types; the same text again is ignored: modules share one library."""
        if text not in self._declared:
            self._declared.add(text)
            self.ffi.cdef(text, override=True)

    def declare_header(self, name: str) -> None:
        """Declare a header of csrc, for example "text/tokenizer.h" (after the headers that it includes)."""
        self.declare(declarations(CSRC / name))

    def error(self) -> str:
        """The message of this thread's last failed call."""
        return bytes(self.ffi.string(self.lib.pe_last_error())).decode("utf-8", "replace")


@pytest.fixture(scope="session")
def core() -> CLibrary:
    """The test library: every internal function, and the shims of tests/c. Made by `make test`."""
    path = pathlib.Path(os.environ.get("PYEDGE_TEST_LIB") or ROOT / "build" / "test" / "libpyedge_test.so")
    if not path.exists():
        pytest.fail(f"the test library {path} does not exist; `make test` builds it (or set PYEDGE_TEST_LIB)")
    return CLibrary(path)


@pytest.fixture(scope="session")
def header() -> Iterator[CLibrary]:
    """The very library that `import pyedge` uses, opened as a C program would with csrc/pyedge.h."""
    import pyedge._core

    yield CLibrary(pathlib.Path(str(pyedge._core.__file__)))
