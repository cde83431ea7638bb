"""Making a GGUF file from the folder that a model is published as on Hugging Face, or from a file of Nano
or llama2.c.

Tensors go from their files to the new one in pieces, so the memory taken is that of one or two of
the largest tensors at most, whatever the size of the model. Keys and names are those that llama.cpp's files
have.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelFileError, UnsupportedError
from ..gguf_file import Value, type_name, write
from ..progress import Progress
from . import archs, plain
from .config import Config, common_keys, rope_keys
from .folder import Folder
from .general import chat_keys, general_keys, license_keys, name_of, pooling_keys, sampling_keys
from .rules import Arch
from .tensors import Converter, Plan, Planner, Steps, steps
from .values import text
from .vocab import vocab_keys

__all__ = ["TYPES", "Report", "convert"]

# Type of matrices: the number that `general.file_type` has for it.
TYPES = {"F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7, "Q4_K": 15}


@dataclass(frozen=True)
class Report:
    """What was written."""

    arch: str
    n_tensors: int
    n_weights: int
    size: int  # bytes of the file
    types: dict[str, int]  # name of a type: how many tensors have it


def _config(folder: Folder) -> tuple[Arch, Config]:
    where = str(folder.path / "config.json")
    raw = folder.config
    if "quantization_config" in raw:
        raise UnsupportedError(
            f"{where}: the weights are quantised (quantization_config): convert the original"
        )
    inner = raw.get("text_config")
    arch = archs.find(raw, where)
    if isinstance(inner, dict):  # a model of text and pictures: the part for text
        raw = {**raw, **inner}
    config = Config(raw, where, arch.renames, arch.defaults)
    config.set(arch.derived(config))
    config.require("is_causal", True)
    config.require("hidden_activation" if "hidden_activation" in config else "hidden_act", *arch.activations)
    return arch, config


def _keys(arch: Arch, config: Config) -> dict[str, Value]:
    keys = common_keys(config, arch.epsilon, arch.rms)
    if arch.rope:
        keys |= rope_keys(config, arch.scalings)
    keys |= arch.keys(config)
    return {f"{arch.name}.{name}": value for name, value in keys.items()}


def _file_type(plans: Sequence[Plan]) -> int:
    """The type of most matrices, by weights."""
    counts: Counter[str] = Counter()
    for plan in plans:
        if len(plan.target.dims) > 1:
            counts[plan.target.type_name] += plan.target.n
    return TYPES[counts.most_common(1)[0][0]] if counts else 0


@dataclass(frozen=True)
class _Planned:
    """What is to be written."""

    arch: str
    name: str
    plans: Sequence[Plan]
    steps: Steps
    keys: dict[str, Value]  # without those of general.* that hold for all


def _of_folder(path: Path, wanted: str | None, pretokenizer: str | None) -> _Planned:
    if wanted == "Q4_K":
        raise ValueError("Q4_K is for Nano files of Q4K: convert a folder to f16, then quantize it")
    folder = Folder(path)
    arch, config = _config(folder)
    pooling = {f"{arch.name}.{name}": value for name, value in pooling_keys(folder).items()}
    keys = {**_keys(arch, config), **pooling}
    plans = Planner(folder, arch, config, wanted).plan()
    try:
        vocab = vocab_keys(folder, arch.name, config.n_vocab, pretokenizer)
    except RecursionError:  # sections within sections
        raise ModelFileError(f"{folder.path / 'tokenizer.json'}: nested too deeply") from None
    keys = {**license_keys(folder), **sampling_keys(folder), **keys, **vocab, **chat_keys(folder)}
    return _Planned(arch.name, name_of(folder.path.resolve()), plans, steps(config), keys)


def _of_file(path: Path, wanted: str | None, tokenizer: Path | None) -> _Planned:
    found = plain.read(path, tokenizer, wanted)
    return _Planned("llama", path.stem, found.plans, {}, dict(found.keys))


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    type: str | None = None,
    *,
    pretokenizer: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    quiet: bool = True,
) -> Report:
    """Write the model `source`, a folder or a file of Nano or llama2.c, as the GGUF file `target`.

    type           of the matrices: "F32", "F16", "BF16" or "Q8_0"; None: each as it is in the folder, and F32
                   for what a file has in 8 or 4 bits, since no type of GGUF has its scales. "Q8_0" keeps the
                   integers of such a file and rounds the scales to halves; so does "Q4_K" for Nano's Q4K
    pretokenizer   GGUF's name of the pre-tokeniser, where that of the folder is not known
    tokenizer      the vocabulary of a llama2.c file; None: tokenizer.bin beside it
    quiet          show no progress on standard error

    Vectors are written as F32. `target` appears when it is whole.
    """
    wanted = None if type is None else type.upper()
    if wanted is not None and wanted not in TYPES:
        raise ValueError(f"unknown type {type!r}: use one of {', '.join(TYPES)}, or quantize the file after")
    if threads is not None and not 1 <= threads <= 512:
        raise ValueError(f"threads must be from 1 to 512, not {threads}")
    if pretokenizer is not None and not pretokenizer:
        raise ValueError("the name of the pre-tokeniser is empty")
    origin, path = Path(source), Path(target)
    is_file = origin.is_file()
    if is_file and pretokenizer is not None:
        raise ValueError("the vocabulary of such a file has no pre-tokeniser")
    if not is_file and tokenizer is not None:
        raise ValueError("a vocabulary of its own (tokenizer) is for files of llama2.c")
    if is_file:
        planned = _of_file(origin, wanted, None if tokenizer is None else Path(tokenizer))
    else:
        planned = _of_folder(origin, wanted, pretokenizer)
    plans = planned.plans
    tensors = [plan.target for plan in plans]
    n_weights = sum(tensor.n for tensor in tensors)
    if path.exists() and any(path.samefile(source.path) for plan in plans for source in plan.sources):
        raise ValueError(f"{path} is a file of the source: give the new file another name")
    keys = {
        "general.architecture": text(planned.arch),
        **general_keys(planned.name, n_weights, _file_type(plans)),
        **planned.keys,
    }
    total = sum(source.size for plan in plans for source in plan.sources)
    with Progress(path.name, max(total, 1), quiet=quiet) as progress:
        write(path, keys, tensors, Converter(plans, planned.steps, threads or 0, progress).pieces)
    types = dict(Counter(type_name(tensor.type) for tensor in tensors))
    return Report(planned.arch, len(tensors), n_weights, path.stat().st_size, types)
