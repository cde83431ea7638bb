"""A model folder as Hugging Face lays it out: JSON files, and tensors in one or several safetensors files.

Nothing in it is trusted: every size is compared with the file that it is said to be in, names of shards may
not lead out of the folder, and JSON has a limit of size and depth. Tensors are read in pieces, on demand.

Format: https://github.com/huggingface/safetensors (8 bytes of length, a JSON header, the data).
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ..errors import ModelFileError, UnsupportedError
from ..gguf_file import Bytes

_JSON_LIMIT = 128 << 20  # bytes; the largest tokenizer.json in use has some 35 million
_HEADER_LIMIT = 100 << 20  # bytes; the limit of the safetensors library
_MAX_DIMS = 8
# Bytes of the types of weights; the names are GGUF's too. Others (integers, 8-bit floats) are none here.
_DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_OTHER_SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2}
_OTHER_SIZES |= {"I32": 4, "U32": 4, "I64": 8, "U64": 8, "C64": 8}
_INDEX = "model.safetensors.index.json"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"the name {name[:64]!r} is there twice")
        made[name] = value
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def parse_json(data: bytes, where: str, *, constants: bool = False) -> Any:
    """JSON from outside, or a `ModelFileError`.

    constants   let NaN and Infinity pass, as Python writes them
    """
    try:
        text = data.decode("utf-8-sig")
        if constants:
            return json.loads(text, object_pairs_hook=_once)
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ModelFileError(f"{where}: lists within lists without end") from None
    except ValueError as error:  # of decoding, syntax, and the hooks; also numbers of thousands of digits
        raise ModelFileError(f"{where}: no sound JSON: {error}") from None


@dataclass(frozen=True)
class Source:
    """A tensor in a safetensors file; `shape` has the contiguous dimension last."""

    name: str
    path: Path
    dtype: str  # F64, F32, F16, BF16, or another that cannot be converted
    shape: tuple[int, ...]
    offset: int
    size: int

    @property
    def n_rows(self) -> int:
        """Rows of the first dimension; a vector is one row."""
        return self.shape[0] if len(self.shape) > 1 else 1

    def require_weights(self) -> None:
        if self.dtype not in _DTYPES:
            raise UnsupportedError(
                f"{self.path}: tensor {self.name!r} has the type {self.dtype}, which cannot be converted; "
                f"{', '.join(_DTYPES)} can"
            )

    def read(self, first: int = 0, count: int | None = None) -> Bytes:
        """Bytes of some rows of the first dimension, [count, bytes of a row]."""
        count = self.n_rows - first if count is None else count
        row = self.size // self.n_rows
        return read_bytes(self.path, self.name, self.offset + first * row, count * row).reshape(count, row)


def read_bytes(path: Path, name: str, offset: int, size: int) -> Bytes:
    """Bytes of the tensor `name`."""
    out = np.empty(size, np.uint8)
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        view, done = out.data, 0
        while done < size:
            got = file.readinto(view[done:])
            if not got:
                raise ModelFileError(f"{path}: tensor {name!r}: the file became shorter")
            done += got
    return out


def _numbers(value: Any, most: int) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and 0 <= n <= most for n in value)


def _entry(path: Path, name: str, entry: Any, start: int, size: int) -> Source:
    where = f"{path}: tensor {name[:128]!r}"
    if not isinstance(entry, dict):
        raise ModelFileError(f"{where}: its entry is no object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or (dtype not in _DTYPES and dtype not in _OTHER_SIZES):
        raise ModelFileError(f"{where}: unknown dtype {dtype!r}")
    if not _numbers(shape, 1 << 48) or len(shape) > _MAX_DIMS:
        raise ModelFileError(f"{where}: its shape {str(shape)[:64]} is no list of sizes")
    if not _numbers(offsets, 1 << 60) or len(offsets) != 2:
        raise ModelFileError(f"{where}: its data_offsets {str(offsets)[:64]} are no two numbers")
    begin, end = offsets
    if end < begin or end > size:
        raise ModelFileError(f"{where}: it lies at {begin} to {end} of the {size} bytes of data")
    expected = _DTYPES[dtype] if dtype in _DTYPES else _OTHER_SIZES[dtype]
    for n in shape:
        expected *= n
    if expected != end - begin:
        raise ModelFileError(f"{where}: {dtype} {shape} takes {expected} bytes, and it has {end - begin}")
    return Source(name, path, dtype, tuple(shape), start + begin, expected)


def read_header(path: Path) -> list[Source]:
    """The tensors of one safetensors file, which fill its data without overlap."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(size - 8, _HEADER_LIMIT):
                raise ModelFileError(
                    f"{path}: no safetensors file: a header of {length} bytes in a file of {size}"
                )
            header = parse_json(file.read(length), f"{path}: its header")
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error
    if not isinstance(header, dict):
        raise ModelFileError(f"{path}: its header is no object")
    header.pop("__metadata__", None)
    data = size - 8 - length
    found = [_entry(path, name, entry, 8 + length, data) for name, entry in header.items()]
    at = 8 + length
    for tensor in sorted(found, key=lambda tensor: (tensor.offset, tensor.size)):
        if tensor.offset != at:
            what = (
                "overlaps another"
                if tensor.offset < at
                else f"leaves {tensor.offset - at} bytes before it unused"
            )
            raise ModelFileError(f"{path}: tensor {tensor.name[:128]!r} {what}")
        at += tensor.size
    if at != size:
        raise ModelFileError(f"{path}: {size - at} bytes after the last tensor belong to none")
    return found


class Folder:
    """A folder with `config.json`; `tensors` by name."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_file():
            raise ModelFileError(f"{self.path}: it is a file; the folder of a model is expected")
        if not self.path.is_dir():
            raise ModelFileError(f"{self.path}: there is no such folder")
        self.config = self.json("config.json", required=True)
        self.tensors = self._read_tensors()

    def bytes(self, name: str) -> bytes | None:
        """A file of the folder, None where there is none."""
        path = self.path / name
        if not path.is_file():
            return None
        try:
            size = path.stat().st_size
            if size > _JSON_LIMIT:
                raise ModelFileError(f"{path}: {size} bytes are too many; at most {_JSON_LIMIT} are read")
            return path.read_bytes()
        except OSError as error:
            raise ModelFileError(f"{path}: {error.strerror}") from error

    def text(self, name: str) -> str | None:
        data = self.bytes(name)
        try:
            return None if data is None else data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{self.path / name}: no UTF-8 text: {error}") from None

    def json(self, name: str, *, required: bool = False) -> dict[str, Any]:
        """A JSON object of the folder; an empty one where there is no such file."""
        data = self.bytes(name)
        if data is None:
            if required:
                raise ModelFileError(f"{self.path}: there is no {name}: is it a Hugging Face model folder?")
            return {}
        made = parse_json(data, str(self.path / name), constants=True)
        if not isinstance(made, dict):
            raise ModelFileError(f"{self.path / name}: it is no JSON object")
        return made

    def _shards(self) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        """Files with the names that the index says are in them; without an index, all that is in the file."""
        index = self.json(_INDEX)
        single = self.path / "model.safetensors"
        if not index:
            if not single.is_file():
                raise ModelFileError(f"{self.path}: there is neither model.safetensors nor {_INDEX}")
            yield single, {}
            return
        names = index.get("weight_map")
        if not isinstance(names, dict) or not names:
            raise ModelFileError(f"{self.path / _INDEX}: weight_map is no object with tensors")
        by_file: dict[str, dict[str, Any]] = {}
        for tensor, file in names.items():
            if not isinstance(file, str) or not file or file != os.path.basename(file) or file in (".", ".."):
                raise ModelFileError(
                    f"{self.path / _INDEX}: {tensor[:128]!r} is said to be in {str(file)[:128]!r}, which is "
                    "no file of this folder"
                )
            by_file.setdefault(file, {})[tensor] = None
        for file, wanted in by_file.items():
            if "\\" in file or "\0" in file or not (self.path / file).is_file():
                raise ModelFileError(f"{self.path}: the shard {file!r} that the index names is missing")
            yield self.path / file, wanted

    def _read_tensors(self) -> dict[str, Source]:
        tensors: dict[str, Source] = {}
        for path, wanted in self._shards():
            found = read_header(path)
            missing = set(wanted) - {tensor.name for tensor in found}
            if missing:
                raise ModelFileError(
                    f"{path}: tensor {min(missing)!r} is missing, which the index says is there"
                )
            for tensor in found:
                if tensor.name in tensors:
                    raise ModelFileError(f"{path}: tensor {tensor.name!r} is in another shard too")
                tensors[tensor.name] = tensor
        return tensors
