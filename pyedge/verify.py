"""Checking a model file: its structure, every weight, its tokenizer, and that it is the file it was.

A manifest is a JSON file with the SHA-256 of the model file and of each tensor; the digests of the tensors
can also be embedded in a copy of the file, as metadata. Checked later, they tell which tensor changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from .errors import Error, ModelFileError, UnsupportedError
from .gguf_file import Bytes, GgufFile, Tensor, Value, replacing, row_bytes, write
from .progress import Progress

NAMES_KEY, DIGESTS_KEY = "pyedge.sha256.tensors", "pyedge.sha256.digests"
_PIECE = 1 << 22  # weights decoded at a time
_PROBES = (
    "The quick brown fox jumps over the lazy dog.\n\n\tx = 3.14159 * (y - 2)",
    "你好，世界！ Grüße, naïve café — ½ €5",
    "👩‍👩‍👧 🇩🇪 \u0000\ufeff   trailing   ",
)


@dataclass
class TensorCheck:
    """What was found in one tensor."""

    name: str
    type: str
    dims: tuple[int, ...]
    size: int
    sha256: str
    least: float = 0.0
    most: float = 0.0
    not_finite: int = 0


@dataclass
class Report:
    """What `verify` found; `problems` is empty for a sound file."""

    path: Path
    size: int
    sha256: str
    tensors: list[TensorCheck]
    arch: str
    runs: bool  # this build can run the model
    compared: list[str] = field(default_factory=list)  # where digests to compare with came from
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def manifest(self) -> dict[str, Any]:
        tensors = {t.name: {"type": t.type, "dims": list(t.dims), "sha256": t.sha256} for t in self.tensors}
        return {"file": self.path.name, "size": self.size, "sha256": self.sha256, "tensors": tensors}


def _spans(data: Bytes, tensor: Tensor) -> Iterator[tuple[Bytes, int]]:
    """Bytes of some rows, and how many weights they are."""
    if not tensor.size:
        return
    stride = row_bytes(tensor.type, tensor.n_per_row)
    rows = max(_PIECE // tensor.n_per_row, 1)
    for at in range(0, tensor.size, rows * stride):
        piece = data[at : at + rows * stride]
        yield piece, piece.size // stride * tensor.n_per_row


def _check_tensor(file: GgufFile, tensor: Tensor, done: Callable[[int], None]) -> TensorCheck:
    digest = hashlib.sha256()
    check = TensorCheck(tensor.name, tensor.type_name, tensor.dims, tensor.size, "", np.inf, -np.inf)
    at = 0
    for piece, n in _spans(file.data(tensor), tensor):
        digest.update(piece.data)
        values = _core.dequantize(tensor.type, piece, n)
        finite = np.isfinite(values)
        if not finite.all():
            check.not_finite += int(n - finite.sum())
            values = values[finite]
        if values.size:
            check.least = min(check.least, float(values.min()))
            check.most = max(check.most, float(values.max()))
        at += piece.size
        done(at)
    if check.least > check.most:
        check.least = check.most = 0.0
    check.sha256 = digest.hexdigest()
    return check


def _check_vocabulary(file: GgufFile) -> Iterator[str]:
    """What in the lists of the tokenizer contradicts itself."""
    tokens = file.get("tokenizer.ggml.tokens")
    if tokens is None:
        return
    for key in ("scores", "token_type"):
        values = file.get(f"tokenizer.ggml.{key}")
        if values is not None and len(values) != len(tokens):
            yield f"the tokenizer has {len(tokens)} tokens and {len(values)} entries in {key}"
    for key in file.keys:
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id"):
            id = file.get(key)
            if not isinstance(id, int) or not 0 <= id < len(tokens):
                yield f"{key} is {id}, and there are {len(tokens)} tokens"
    embedding = file.tensors.get("token_embd.weight")
    if embedding is not None and len(embedding.dims) == 2 and embedding.dims[1] < len(tokens):
        yield f"token_embd.weight has {embedding.dims[1]} rows for {len(tokens)} tokens"


def _check_model(report: Report) -> None:
    """Open it as for running, and put some text through its tokenizer and back."""
    from .model import Model

    try:
        model = Model(os.fspath(report.path))
    except UnsupportedError as error:
        report.notes.append(f"this build does not run it: {error}")
        return
    except Error as error:
        report.problems.append(f"it cannot be opened: {error}")
        return
    with model:
        report.runs = True
        for probe in _PROBES:
            back = model.detokenize(model.tokenize(probe, add_special=False))
            if back.strip() != probe.strip():  # some tokenizers put a space before a text
                report.problems.append(f"the tokenizer makes {back!r} of {probe!r}")


def _compare(report: Report, expected: dict[str, str], where: str) -> None:
    found = {tensor.name: tensor.sha256 for tensor in report.tensors}
    report.compared.append(where)
    for name in sorted({*expected, *found}):
        if name not in found:
            report.problems.append(f"tensor {name} is missing, which {where} names")
        elif name not in expected:
            report.problems.append(f"tensor {name} is not in {where}")
        elif expected[name] != found[name]:
            report.problems.append(f"tensor {name} changed: its SHA-256 is not that in {where}")


def _compare_manifest(report: Report, path: Path) -> None:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        expected = {str(name): str(entry["sha256"]) for name, entry in manifest["tensors"].items()}
        whole = str(manifest["sha256"])
    except OSError as error:
        raise Error(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Error(f"{path}: no manifest of pyedge ({type(error).__name__}: {error})") from error
    before = len(report.problems)
    _compare(report, expected, path.name)
    if len(report.problems) == before and whole != report.sha256:
        report.problems.append(f"the tensors are those of {path.name}, but the metadata changed")


def verify(
    path: str | os.PathLike[str], *, manifest: str | os.PathLike[str] | None = None, quiet: bool = True
) -> Report:
    """Check a model file. A file that is no GGUF at all, or cut short, raises `ModelFileError`; what else is
    wrong is in the report.

    manifest  a manifest to compare with, beside the digests that the file itself may hold
    """
    file = GgufFile(path)
    total = sum(tensor.size for tensor in file.tensors.values())
    tensors = []
    with Progress(f"checking {file.path.name}", max(total, 1), quiet=quiet) as progress:
        for tensor in file.tensors.values():
            tensors.append(_check_tensor(file, tensor, progress.running))
            progress.finished(tensor.size)
    with open(file.path, "rb") as stream:
        whole = hashlib.sha256()
        while block := stream.read(1 << 20):
            whole.update(block)
    report = Report(
        file.path, file.size, whole.hexdigest(), tensors, str(file.get("general.architecture", "")), False
    )
    for check in tensors:
        if check.not_finite:
            report.problems.append(
                f"tensor {check.name} has {check.not_finite} weights that are no finite number"
            )
    report.problems += _check_vocabulary(file)
    if report.arch and file.get("split.count", 1) <= 1:
        _check_model(report)
    if NAMES_KEY in file.keys and DIGESTS_KEY in file.keys:
        digests = dict(zip(file.get(NAMES_KEY), file.get(DIGESTS_KEY), strict=False))
        _compare(report, digests, "the file's own digests")
    if manifest is not None:
        _compare_manifest(report, Path(manifest))
    return report


def write_manifest(report: Report, path: str | os.PathLike[str]) -> None:
    text = json.dumps(report.manifest(), indent=1).encode()
    with replacing(Path(path), len(text)) as file:
        file.write(text + b"\n")


def embed(report: Report, target: str | os.PathLike[str]) -> None:
    """A copy of the model file that holds the digests of its tensors."""
    file = GgufFile(report.path)
    path = Path(target)
    if path.exists() and path.samefile(file.path):
        raise ValueError(f"{path} is the source: give the copy another name")
    found = {tensor.name: tensor.sha256 for tensor in report.tensors}
    if set(found) != set(file.tensors):
        raise ModelFileError(f"{report.path} changed while it was read")
    keys = {
        **file.keys,
        NAMES_KEY: Value.strings(list(found)),
        DIGESTS_KEY: Value.strings(list(found.values())),
    }

    def pieces(tensor: Tensor) -> Iterator[Bytes]:
        data = file.data(file.tensors[tensor.name])
        for at in range(0, data.size, 4 * _PIECE):
            yield data[at : at + 4 * _PIECE]

    write(path, keys, list(file.tensors.values()), pieces, alignment=file.alignment)
