"""GGUF files as they lie on disk: for tools that copy, change and check files, not for running models.

Values keep the bytes that they have in the file, so that what a tool does not touch comes out as it went in.
Files are read through a mapping and written in pieces: a tool takes as much memory as the pieces it holds.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import Error, ModelFileError, UnsupportedError
from .hub import part_paths
from .progress import mebibytes

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_DIMS = 4
_ALIGNMENT = 32

Bytes = NDArray[np.uint8]


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


@dataclass(frozen=True)
class Value:
    """A metadata value as its bytes: the type number, then what follows it in a file."""

    raw: bytes

    @staticmethod
    def uint32(value: int) -> Value:
        return Value(struct.pack("<II", 4, value))

    @staticmethod
    def string(value: str) -> Value:
        return Value(struct.pack("<I", _STRING) + _text(value))

    @staticmethod
    def strings(values: Sequence[str]) -> Value:
        return Value(struct.pack("<IIQ", _ARRAY, _STRING, len(values)) + b"".join(map(_text, values)))

    def get(self) -> Any:
        """The number, the text, or a list of either."""
        return _Cursor(self.raw, "a value").value()


@dataclass(frozen=True)
class Tensor:
    """An entry of a directory; the first dimension is the contiguous one."""

    name: str
    dims: tuple[int, ...]
    type: int
    offset: int = 0  # in the file
    size: int = 0
    part: int = 0  # of a split model, from 0

    @property
    def n_per_row(self) -> int:
        return self.dims[0]

    @property
    def n(self) -> int:
        return math.prod(self.dims)

    @property
    def type_name(self) -> str:
        return type_name(self.type)


def type_name(number: int) -> str:
    known = _core.types().get(number)
    return known[0] if known else f"type {number}"


def row_bytes(number: int, n: int) -> int:
    """Bytes of n weights of a type that this build knows."""
    known = _core.types().get(number)
    if known is None:
        raise UnsupportedError(f"tensor type {number} is not one that this build knows")
    name, elements, size = known
    if n % elements:
        raise ModelFileError(f"a row of {n} weights is no multiple of the {elements} in a block of {name}")
    return n // elements * size


class _Cursor:
    """Reads forward through bytes; whatever would pass the end is an error that says so."""

    def __init__(self, data: bytes | mmap.mmap, where: str) -> None:
        self.data, self.where, self.at = data, where, 0

    def take(self, count: int) -> int:
        start = self.at
        if count > len(self.data) - start:
            raise ModelFileError(
                f"{self.where}: the file ends within its directory, at byte {len(self.data)}"
            )
        self.at += count
        return start

    def number(self, kind: str) -> Any:
        return struct.unpack_from("<" + kind, self.data, self.take(struct.calcsize("<" + kind)))[0]

    def string(self) -> bytes:
        size = self.number("Q")
        start = self.take(size)
        return self.data[start : start + size]

    def text(self) -> str:
        return self.string().decode("utf-8", "replace")

    def value(self) -> Any:
        kind = self.number("I")
        if kind != _ARRAY:
            return self._item(kind)
        kind, count = self.number("I"), self.number("Q")
        if kind == _ARRAY:
            raise ModelFileError(f"{self.where}: an array of arrays, which GGUF files have not")
        if kind == _STRING:
            return [self.text() for _ in range(count)]
        code = self._code(kind)
        start = self.take(count * struct.calcsize(code))
        return np.frombuffer(self.data, np.dtype(code).newbyteorder("<"), count, start).tolist()

    def _item(self, kind: int) -> Any:
        return self.text() if kind == _STRING else self.number(self._code(kind))

    def _code(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise ModelFileError(f"{self.where}: value type {kind} at byte {self.at} is none of GGUF's")
        return _SCALARS[kind]

    def skip_value(self) -> bytes:
        """The bytes of a value, of which only the lengths are looked at."""
        start = self.at
        kind, count = self.number("I"), 1
        if kind == _ARRAY:
            kind, count = self.number("I"), self.number("Q")
        if kind == _STRING:
            self._skip_strings(count)
        else:
            self.take(count * struct.calcsize(self._code(kind)))
        return self.data[start : self.at]

    def _skip_strings(self, count: int) -> None:
        unpack, data, at, end = struct.Struct("<Q").unpack_from, self.data, self.at, len(self.data) - 8
        for _ in range(count):
            if at > end:
                at = len(data) + 1  # for the message below
                break
            at += 8 + unpack(data, at)[0]
        self.take(at - self.at)


class GgufFile:
    """A GGUF file that is open for reading: `keys` and `tensors` in the order of the file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                self.size = os.fstat(file.fileno()).st_size
                if self.size < 24:
                    raise ModelFileError(f"{self.path}: {self.size} bytes are too few for a GGUF file")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ModelFileError(f"{self.path}: {error.strerror}") from error
        self._parts = [np.frombuffer(self._map, np.uint8)]
        cursor = _Cursor(self._map, str(self.path))
        if self._map[:4] != b"GGUF":
            raise ModelFileError(
                f"{self.path}: no GGUF file: it begins with {bytes(self._map[:4])!r}; of files of Nano and "
                "llama2.c `pyedge convert` makes one"
            )
        cursor.at = 4
        self.version = cursor.number("I")
        if self.version not in (2, 3):
            raise UnsupportedError(f"{self.path}: GGUF version {self.version}; 2 and 3 can be read")
        n_tensors, n_keys = cursor.number("Q"), cursor.number("Q")
        self.keys = self._read_keys(cursor, n_keys)
        self.alignment = self.get("general.alignment", _ALIGNMENT)
        if not isinstance(self.alignment, int) or self.alignment < 1 or self.alignment % 8:
            raise ModelFileError(
                f"{self.path}: general.alignment is {self.alignment!r}; it must be a multiple of 8"
            )
        self.tensors = self._read_directory(cursor, n_tensors)

    def _read_keys(self, cursor: _Cursor, count: int) -> dict[str, Value]:
        keys: dict[str, Value] = {}
        for _ in range(count):
            name = cursor.text()
            if name in keys:
                raise ModelFileError(f"{self.path}: the key {name!r} is there twice")
            keys[name] = Value(cursor.skip_value())
        return keys

    def _read_directory(self, cursor: _Cursor, count: int) -> dict[str, Tensor]:
        entries: dict[str, Tensor] = {}
        for _ in range(count):
            name, n_dims = cursor.text(), cursor.number("I")
            if name in entries:
                raise ModelFileError(f"{self.path}: the tensor {name!r} is there twice")
            if not 1 <= n_dims <= _MAX_DIMS:
                raise ModelFileError(
                    f"{self.path}: tensor {name!r} has {n_dims} dimensions; 1 to {_MAX_DIMS} are allowed"
                )
            dims = tuple(cursor.number("Q") for _ in range(n_dims))
            entries[name] = Tensor(name, dims, cursor.number("I"), cursor.number("Q"))
        start = cursor.at + -cursor.at % self.alignment
        return {name: self._placed(entry, start) for name, entry in entries.items()}

    def _placed(self, entry: Tensor, start: int) -> Tensor:
        try:
            size = row_bytes(entry.type, entry.n_per_row) * (entry.n // max(entry.n_per_row, 1))
        except (ModelFileError, UnsupportedError) as error:
            raise type(error)(f"{self.path}: tensor {entry.name!r}: {error}") from None
        offset = start + entry.offset
        if entry.offset % self.alignment:
            raise ModelFileError(
                f"{self.path}: tensor {entry.name!r} lies at {entry.offset}, not aligned to {self.alignment}"
            )
        if offset + size > self.size:
            raise ModelFileError(
                f"{self.path}: tensor {entry.name!r} would end at byte {offset + size}, and the file has "
                f"{self.size}: it is cut short"
            )
        return Tensor(entry.name, entry.dims, entry.type, offset, size)

    def get(self, key: str, default: Any = None) -> Any:
        value = self.keys.get(key)
        return default if value is None else value.get()

    def data(self, tensor: Tensor) -> Bytes:
        """The bytes of a tensor: pages of the file, not a copy."""
        return self._parts[tensor.part][tensor.offset : tensor.offset + tensor.size]

    def _join(self, part: GgufFile) -> None:
        number, count = len(self._parts), self.get("split.count")
        if (part.get("split.no"), part.get("split.count")) != (number, count):
            raise ModelFileError(f"{part.path} is not part {number + 1} of {count} of {self.path}")
        for tensor in part.tensors.values():
            if tensor.name in self.tensors:
                raise ModelFileError(f"{part.path}: the tensor {tensor.name!r} is in another part, too")
            self.tensors[tensor.name] = replace(tensor, part=number)
        self._parts += part._parts


def open_whole(path: str | os.PathLike[str]) -> GgufFile:
    """A model file; of one that is split, by its first part, all tensors, as if it were not."""
    file = GgufFile(path)
    count = file.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return file
    paths = part_paths(file.path)
    if len(paths) != count or paths[0].name != file.path.name:
        raise ModelFileError(
            f"{file.path} is of a model in {count} parts: name the first, ...-00001-of-{count:05}.gguf, "
            "with the others beside it"
        )
    for other in paths[1:]:
        file._join(GgufFile(other))
    total = file.get("split.tensors.count", len(file.tensors))
    if total != len(file.tensors):
        raise ModelFileError(
            f"{file.path}: the parts have {len(file.tensors)} tensors together, but split.tensors.count is "
            f"{total}"
        )
    file.keys = {key: value for key, value in file.keys.items() if not key.startswith("split.")}
    return file


# ---- writing -----------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path, expected: int) -> Iterator[IO[bytes]]:
    """A file to write that becomes `path` when all went well, and leaves nothing when it did not.

    expected   bytes that it will have, so that a full disk is known before the work
    """
    folder = path.parent
    if not folder.is_dir():
        raise Error(f"{path}: there is no folder {folder}")
    if path.is_dir():
        raise Error(f"{path} is a folder")
    free = shutil.disk_usage(folder).free
    if free < expected:
        raise Error(f"{path}: it takes {mebibytes(expected)}, and the disk has {mebibytes(free)} left")
    name = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)  # what open() would have given; mkstemp keeps others out
        os.replace(name, path)
        name = None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full; nothing was left behind" if full else error.strerror or error
        raise Error(f"{path}: {why}") from error
    finally:
        if name is not None:
            os.unlink(name)


def write(
    path: Path,
    keys: dict[str, Value],
    tensors: Sequence[Tensor],
    pieces: Callable[[Tensor], Iterable[Bytes]],
    *,
    alignment: int = _ALIGNMENT,
    version: int = 3,
) -> None:
    """Write a file whose tensors come in pieces. `size` of each tensor must be what its pieces add up to."""
    head = [struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(keys))]
    head += [_text(key) + value.raw for key, value in keys.items()]
    offset = 0
    for tensor in tensors:
        dims = struct.pack(f"<I{len(tensor.dims)}Q", len(tensor.dims), *tensor.dims)
        head.append(_text(tensor.name) + dims + struct.pack("<IQ", tensor.type, offset))
        offset += tensor.size + -tensor.size % alignment
    start = b"".join(head)
    with replacing(path, len(start) + alignment + offset) as file:
        file.write(start + bytes(-len(start) % alignment))
        for tensor in tensors:
            written = 0
            for piece in pieces(tensor):
                file.write(piece.data)
                written += piece.size
            if written != tensor.size:
                raise Error(f"{path}: tensor {tensor.name!r} came out as {written} bytes, not {tensor.size}")
            file.write(bytes(-tensor.size % alignment))
