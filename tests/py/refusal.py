"""What the tests of broken files share: bytes as a file, and the refusal that is expected."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import pytest

import pyedge

NAME = "broken.gguf"


@contextmanager
def on_disk(data: bytes) -> Iterator[pathlib.Path]:
    with TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / NAME
        path.write_bytes(data)
        yield path


def opened(data: bytes) -> pyedge.Model:
    """The mapping holds the file: it may lose its name."""
    with on_disk(data) as path:
        return pyedge.Model(str(path))


def path_refused(path: pathlib.Path, pattern: str, kind: type[pyedge.Error] = pyedge.ModelFileError) -> None:
    with pytest.raises(kind, match=pattern) as caught:
        pyedge.Model(str(path))
    assert path.name in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


def refused(data: bytes, pattern: str, kind: type[pyedge.Error] = pyedge.ModelFileError) -> None:
    with on_disk(data) as path:
        path_refused(path, pattern, kind)
