"""The rules that keep the house in shape, checked on the sources and on what the compiler made of them."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in (".c", ".h", ".def", ".cpp"))

# What each layer may include besides itself. pyedge.h stands outside of the layers: it has the public types.
MAY_INCLUDE = {
    "base": set(),
    "quant": {"base"},
    "kernels": {"base", "quant"},
    "format": {"base"},
    "text": {"base"},
    "model": {"base", "quant", "kernels", "format", "text"},
    "run": {"base", "quant", "kernels", "format", "text", "model"},
    "bind": set(),
    "cli": set(),
}

# Files past the limit, each with its reason.
LINE_LIMIT = 550  # about 500
LONG_FILES = {
    "csrc/text/unicode_data.h": "generated table",
}


def layer(path: pathlib.Path) -> str:
    return path.relative_to(CSRC).parts[0]


def code(path: pathlib.Path) -> str:
    """The source without comments and without the contents of string literals."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(encoding="utf-8"), flags=re.S)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def includes(path: pathlib.Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s+([<"][^>"]+[>"])', path.read_text(encoding="utf-8"), flags=re.M)


PROGRAM = frozenset({"cli"})  # has a heap, prints and ends, as programs do


def places(pattern: str, allowed: set[str], but: frozenset[str] = frozenset()) -> list[str]:
    """file:line of each match outside of the allowed files and layers."""
    found = []
    for path in SOURCES:
        name = path.relative_to(CSRC).as_posix()
        if name in allowed or path.suffix == ".cpp" or layer(path) in but:
            continue
        text = code(path)
        found += [f"{name}: {match.group().strip()}" for match in re.finditer(pattern, text)]
    return found


def test_includes_point_downward() -> None:
    wrong = []
    for path in SOURCES:
        if path.parent == CSRC:
            continue
        own = layer(path)
        for name in includes(path):
            if not name.startswith('"') or name == '"pyedge.h"':
                continue
            target = name.strip('"').split("/")[0]
            if target in MAY_INCLUDE and target != own and target not in MAY_INCLUDE[own]:
                wrong.append(f"{path.relative_to(CSRC)} ({own}) includes {name}")
            elif target not in MAY_INCLUDE and not (path.parent / name.strip('"')).exists():
                wrong.append(f"{path.relative_to(CSRC)} includes {name}, which is in no layer")
    assert not wrong, wrong


def test_bindings_see_only_the_public_header() -> None:
    for path in [*(CSRC / "bind").iterdir(), *(CSRC / "cli").iterdir()]:
        own = [name.strip('"') for name in includes(path) if name.startswith('"')]
        strange = [name for name in own if name != "pyedge.h" and not name.startswith(f"{path.parent.name}/")]
        assert not strange, f"{path.name} includes {strange}"


def test_public_header_needs_only_the_standard_library() -> None:
    assert set(includes(CSRC / "pyedge.h")) == {"<stdbool.h>", "<stddef.h>", "<stdint.h>"}


def test_intrinsics_only_in_the_vocabularies() -> None:
    headers = re.compile(r"<(?:[a-z]*mmintrin|x86intrin|arm_neon|arm_acle|arm_sve|wasm_simd128)\.h>")
    wrong = [
        f"{path.relative_to(CSRC)} includes {name}"
        for path in SOURCES
        for name in includes(path)
        if headers.fullmatch(name) and path.parent != CSRC / "kernels" / "simd"
    ]
    assert not wrong, wrong
    simd = {path.relative_to(CSRC).as_posix() for path in (CSRC / "kernels" / "simd").glob("*")}
    assert not places(r"\b_(?:mm\d*|tile)_\w+|\bv(?:ld1|st1|dot|mull)q?_\w+", simd)


def test_environment_is_read_in_one_file() -> None:
    assert not places(r"\b(?:secure_)?getenv\b", {"base/cpu.c"})


def test_heap_is_used_in_one_file() -> None:
    heap = r"\b(?:malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strn?dup|alloca)\s*\("
    assert not places(heap, {"base/arena.c"}, PROGRAM)
    assert not places(r"\bm(?:un)?map\s*\(", {"base/arena.c", "base/filemap.c"})


def test_library_neither_prints_nor_ends_the_process() -> None:
    ends = r"\b(?:abort|_?[eE]xit|quick_exit|assert|raise|__builtin_trap)\s*\("
    prints = r"\b(?:v?f?printf|puts|putchar|f?puts|fputc|perror)\s*\("
    assert not places(ends, set(), PROGRAM)
    assert not places(prints, set(), PROGRAM)
    assert not [path.name for path in SOURCES if "<assert.h>" in includes(path)]


def test_public_functions_are_declared_in_one_header() -> None:
    assert not places(r"\bPE_API\b", {"pyedge.h"})


def test_files_stay_short() -> None:
    files = [*SOURCES, *(ROOT / "pyedge").rglob("*.py"), *(ROOT / "tests").rglob("*.[cp]*")]
    long = {}
    for path in files:
        if path.suffix in (".c", ".h", ".cpp", ".def", ".py"):
            count = len(path.read_text(encoding="utf-8").splitlines())
            name = path.relative_to(ROOT).as_posix()
            if count > LINE_LIMIT and name not in LONG_FILES:
                long[name] = count
    assert not long, f"more than {LINE_LIMIT} lines; split them, or list them in LONG_FILES with a reason"


# ---- what was built ----------------------------------------------------------------------------------------


def symbols(path: pathlib.Path, *options: str) -> list[str]:
    if not shutil.which("nm"):
        pytest.skip("nm is not installed")
    lines = subprocess.run(["nm", *options, str(path)], check=True, capture_output=True, text=True).stdout
    return [line.split()[-1].split("@")[0] for line in lines.splitlines() if line.strip()]


def test_module_exports_only_the_contract() -> None:
    import pyedge._core

    exported = symbols(pathlib.Path(str(pyedge._core.__file__)), "-D", "--defined-only")
    strange = [name for name in exported if not name.startswith("pe_") and name != "PyInit__core"]
    assert not strange, strange
    text = re.sub(r"/\*.*?\*/", " ", (CSRC / "pyedge.h").read_text(encoding="utf-8"), flags=re.S)
    declared = set(re.findall(r"^PE_API [^;(]*?\b(pe_\w+)\(", text, flags=re.M))
    assert set(exported) - {"PyInit__core"} == declared


def test_instruction_set_objects_export_their_tables_alone(core: Any) -> None:
    objects = sorted((core.path.parent / "CMakeFiles").glob("pyedge_isa_*.dir/**/*.o"))
    assert objects
    for path in objects:
        name = next(part for part in path.parts if part.startswith("pyedge_isa_"))
        name = name.removeprefix("pyedge_isa_").removesuffix(".dir")
        exported = set(symbols(path, "-g", "--defined-only"))
        # Rows with another row's floats have no fits of their own.
        assert f"pe_kernels_{name}" in exported and exported <= {f"pe_kernels_{name}", f"pe_fits_{name}"}
