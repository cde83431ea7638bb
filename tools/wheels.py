"""Wheels and native commands for all targets, from one machine: `make wheels`.

    python tools/wheels.py [--targets manylinux_x86_64 ...] [--pythons 3.11 ...] [--out dist] [--native-only]

The compiler is clang as the PyPI package `ziglang` ships it: with the C libraries of all targets, so that the
oldest glibc that an object may need is part of the target's name. A wheel is the one that the project's own
build backend makes for this machine, with the module replaced by one that was compiled for the target. What
the module loads, and the glibc symbol versions that it asks for, are read from the file and held against the
tag.

Python's headers are those of the interpreters that are found here (python3.10 and later on PATH, under pyenv,
or the one that runs this); they are the same everywhere but for `pyconfig.h`, whose sizes the compiler knows.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from wheel.wheelfile import WheelFile

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 3_000_000  # bytes of a wheel
NATIVE_LIMIT = 1_500_000  # of a native command


@dataclass(frozen=True)
class Target:
    """One system: zig's name for it, and the platform tag of its wheels."""

    name: str
    zig: str
    tag: str

    @property
    def glibc(self) -> tuple[int, int] | None:
        found = re.search(r"gnu(?:eabihf)?\.(\d+)\.(\d+)$", self.zig)
        return (int(found[1]), int(found[2])) if found else None


# glibc 2.17 is the oldest that the compiler has for aarch64, and as old as any system with Python 3.10.
TARGETS = [
    Target("manylinux_x86_64", "x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
    Target("manylinux_aarch64", "aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64.manylinux2014_aarch64"),
    Target("manylinux_armv7l", "arm-linux-gnueabihf.2.17", "manylinux_2_17_armv7l.manylinux2014_armv7l"),
    Target("musllinux_x86_64", "x86_64-linux-musl", "musllinux_1_2_x86_64"),
    Target("musllinux_aarch64", "aarch64-linux-musl", "musllinux_1_2_aarch64"),
    Target("musllinux_armv7l", "arm-linux-musleabihf", "musllinux_1_2_armv7l"),
]
# What a module may load. All of it is part of glibc or musl themselves.
LIBRARIES = re.compile(r"(lib(c|m|pthread|dl|rt)\.so\.6|lib(pthread|dl|rt)\.so\.[0-2]|libc\.so|ld-linux.*)$")


def say(text: str) -> None:
    print(f"wheels: {text}", file=sys.stderr, flush=True)


def run(*command: str | os.PathLike[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


# ---- Python's headers --------------------------------------------------------------------------------------

_INCLUDE = "import sysconfig; print(sysconfig.get_path('include'))"


def interpreters(wanted: list[str]) -> dict[str, Path]:
    """Version -> folder of headers, of every wanted CPython that is here with its headers."""
    found: dict[str, Path] = {}
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for version in wanted:
        pyenv = sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")))
        for candidate in [
            shutil.which(f"python{version}"),
            *pyenv,
            sys.executable if version == own else None,
        ]:
            if candidate is None:
                continue
            done = subprocess.run([candidate, "-c", _INCLUDE], capture_output=True, text=True)
            folder = Path(done.stdout.strip() or "/nonexistent")
            if (
                done.returncode == 0
                and folder.name.startswith(f"python{version}")
                and (folder / "Python.h").exists()
            ):
                found[version] = folder
                break
        else:
            say(f"no Python {version} with headers here: no wheel for it")
    return found


_SIZES = {
    "SIZEOF_INT": "__SIZEOF_INT__",
    "SIZEOF_LONG": "__SIZEOF_LONG__",
    "SIZEOF_LONG_LONG": "__SIZEOF_LONG_LONG__",
    "SIZEOF_SHORT": "__SIZEOF_SHORT__",
    "SIZEOF_SIZE_T": "__SIZEOF_SIZE_T__",
    "SIZEOF_UINTPTR_T": "__SIZEOF_POINTER__",
    "SIZEOF_VOID_P": "__SIZEOF_POINTER__",
    "SIZEOF_WCHAR_T": "__SIZEOF_WCHAR_T__",
    "SIZEOF_FLOAT": "__SIZEOF_FLOAT__",
    "SIZEOF_DOUBLE": "__SIZEOF_DOUBLE__",
    "ALIGNOF_LONG": "__SIZEOF_LONG__",
    "ALIGNOF_SIZE_T": "__SIZEOF_SIZE_T__",
}


def copy_headers(source: Path, out: Path) -> None:
    """Headers for any target: sizes in pyconfig.h become those that the compiler tells."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(source, out)
    config = out / "pyconfig.h"
    text = config.read_text()
    inner = re.search(r"#\s*include <(\S+/pyconfig\.h)>", text)
    if inner:  # Debian: one file for each architecture, which this one chooses between
        machine = sorted(source.parent.glob(f"*-linux-*/{source.name}/pyconfig.h"))
        if not machine:
            sys.exit(f"{config} includes {inner[1]}, which is not installed")
        text = machine[0].read_text()
    for name, value in _SIZES.items():
        text = re.sub(rf"#define {name} \d+", f"#define {name} {value}", text)
    config.write_text(text)


# ---- building ----------------------------------------------------------------------------------------------


def build(target: Target, headers: list[Path], folder: Path, native: bool) -> None:
    import pybind11
    import ziglang

    zig = Path(ziglang.__file__).parent / "zig"
    pythons = ";".join(map(str, headers))
    run(
        "cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "--log-level=WARNING",
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / 'zig.cmake'}",
        f"-DPYEDGE_ZIG={zig}",
        f"-DPYEDGE_TARGET={target.zig}",
        f"-DPYEDGE_CROSS_PYTHONS={pythons}",
        f"-DPYEDGE_PYBIND11={pybind11.get_include()}",
        "-DPYEDGE_WERROR=ON",
        *(("-DPYEDGE_CLI=ON", "-DPYEDGE_STATIC=ON", "-DPYEDGE_QUANTIZE=OFF") if native else ()),
    )  # fmt: skip
    goals = [*(["cross_pythons"] if headers else []), *(["pyedge_cli"] if native else [])]
    run("cmake", "--build", folder, "--target", *goals)


def needs(path: Path) -> tuple[set[str], tuple[int, int]]:
    """Libraries that an ELF file loads, and the newest glibc whose symbols it asks for."""
    newest = (0, 0)
    with path.open("rb") as file:
        elf = ELFFile(file)
        dynamic = elf.get_section_by_name(".dynamic")
        libraries: set[str] = set()
        if isinstance(dynamic, DynamicSection):
            libraries = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
        versions = elf.get_section_by_name(".gnu.version_r")
        if isinstance(versions, GNUVerNeedSection):
            for _, entries in versions.iter_versions():
                for entry in entries:
                    found = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", entry.name)
                    if found:
                        newest = max(newest, (int(found[1]), int(found[2])))
    return libraries, newest


def check_module(path: Path, target: Target) -> None:
    libraries, newest = needs(path)
    strange = [name for name in libraries if not LIBRARIES.match(name)]
    if strange:
        sys.exit(f"{path} loads {', '.join(strange)}, which not every system has")
    if target.glibc is None and newest > (0, 0):
        sys.exit(f"{path} asks for glibc, but is for musl")
    if target.glibc is not None and not (0, 0) < newest <= target.glibc:
        sys.exit(f"{path} asks for glibc {newest}, its tag promises {target.glibc}")


def retag(wheel: Path, module: Path, tag: str, out: Path) -> Path:
    """A copy of a wheel with another module and other tags."""
    name, version = wheel.name.split("-")[:2]
    path = out / f"{name}-{version}-{tag}.whl"
    path.unlink(missing_ok=True)
    python, abi, platforms = tag.split("-")
    tags = "".join(f"Tag: {python}-{abi}-{one}\n" for one in platforms.split("."))
    with zipfile.ZipFile(wheel) as source, WheelFile(path, "w") as copy:
        for entry in source.infolist():
            if entry.filename.endswith((".so", "/RECORD")):
                continue
            data = source.read(entry)
            if entry.filename.endswith("/WHEEL"):
                data = (re.sub(r"(?m)^Tag: .*\n", "", data.decode()).rstrip("\n") + "\n" + tags).encode()
            copy.writestr(entry, data)
        module_entry = zipfile.ZipInfo("pyedge/_core.so", (1980, 1, 1, 0, 0, 0))
        module_entry.external_attr = 0o100755 << 16
        copy.writestr(module_entry, module.read_bytes(), zipfile.ZIP_DEFLATED)
    return path


def own_wheel(folder: Path) -> Path:
    """The wheel of the build backend for this machine; only its Python files and metadata are used."""
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
        "-C", f"build-dir={ROOT / 'build' / 'wheel'}", "-w", folder, ROOT)  # fmt: skip
    return next(folder.glob("*.whl"))


def make(targets: list[Target], versions: dict[str, Path], out: Path, native: bool) -> Iterator[Path]:
    base = ROOT / "build" / "wheels"
    wheel = own_wheel(base / "own") if versions else None
    headers = {version: base / "headers" / f"cp{version.replace('.', '')}" for version in versions}
    for version, source in versions.items():
        copy_headers(source, headers[version])
    out.mkdir(parents=True, exist_ok=True)
    for target in targets:
        say(f"{target.name} ({target.zig})")
        folder = base / target.name
        static = native and target.glibc is None  # glibc does not like to be linked statically; musl does
        if headers:
            build(target, list(headers.values()), folder, native=False)
        for header in headers.values():
            module = folder / header.name / "_core.so"
            check_module(module, target)
            assert wheel is not None
            yield retag(wheel, module, f"{header.name}-{header.name}-{target.tag}", out)
        if static:
            folder = base / f"{target.name}-command"
            build(target, [], folder, native=True)
            command = out / f"pyedge-{target.tag.removeprefix('musllinux_1_2_')}"
            shutil.copy(folder / "pyedge", command)
            if needs(command)[0]:
                sys.exit(f"{command} is not static")
            yield command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--targets", nargs="+", choices=[target.name for target in TARGETS])
    parser.add_argument("--pythons", nargs="+", default=["3.10", "3.11", "3.12", "3.13", "3.14"])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--no-native", action="store_true", help="wheels only")
    parser.add_argument("--native-only", action="store_true", help="no wheels, only the static commands")
    options = parser.parse_args()
    targets = [target for target in TARGETS if not options.targets or target.name in options.targets]
    if options.native_only:
        targets = [target for target in targets if target.glibc is None]
    versions = {} if options.native_only else interpreters(options.pythons)
    too_large = []
    for path in make(targets, versions, options.out.resolve(), not options.no_native):
        size = path.stat().st_size
        print(f"{size:>9} {path.name}", flush=True)
        if size > (LIMIT if path.suffix == ".whl" else NATIVE_LIMIT):
            too_large.append(path.name)
    if too_large:
        sys.exit(f"too large: {', '.join(too_large)}")


if __name__ == "__main__":
    main()
