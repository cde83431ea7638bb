"""LoRA adapters of a model: loaded once, by name or by path, and attached to sessions with a scale each.

`lora` arguments are a name that `Model.load_lora` gave, a path, or a dict of names or paths to scales. A path
is loaded when it is first named and kept, under itself as its name; where the file has changed since, it is
loaded anew.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from . import _core
from .errors import AdapterError

Lora = str | os.PathLike[str] | Mapping[str | os.PathLike[str], float] | None

_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|[-+]?(inf|nan)"
WEIGHTS = "adapter_model.safetensors"


class LoraInfo(NamedTuple):
    """A loaded adapter: `rank` is its largest, `targets` counts the tensors that it changes, `memory` is in
    bytes."""

    path: str
    format: str
    rank: int
    targets: int
    n_params: int
    memory: int


class Attached(NamedTuple):
    """What a `lora` argument stands for, ready for a session of the core."""

    scales: dict[str, float]  # by name
    adapters: list[_core.Adapter]

    def to(self, core: _core.Session) -> None:
        """Attach these to a session, and nothing else."""
        try:
            core.set_adapters(self.adapters, list(self.scales.values()))
        except ValueError as error:  # of adapters and scales that do not go together
            raise AdapterError(str(error)) from None


class _Loaded(NamedTuple):
    core: _core.Adapter
    path: str
    signature: tuple[Any, ...]


def _signature(path: str) -> tuple[Any, ...]:
    """What changes where a file is written anew, of the weights and of their config."""
    weights = os.path.join(path, WEIGHTS) if os.path.isdir(path) else path
    config = os.path.join(os.path.dirname(weights), "adapter_config.json")
    facts: list[Any] = [os.path.realpath(weights)]
    for file in (weights, config):
        try:
            stat = os.stat(file)
        except OSError:
            facts.append(None)
        else:
            facts.append((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(facts)


def default_name(path: str) -> str:
    """The folder's name, or the file's without its ending."""
    given = Path(path)
    if given.name in (WEIGHTS, "adapter_config.json"):
        given = given.absolute().parent
    return given.stem if given.is_file() else given.absolute().name


class Adapters:
    """The adapters of one model."""

    def __init__(self, model: _core.Model) -> None:
        self._model: _core.Model | None = model
        self._loaded: dict[str, _Loaded] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._model = None
            self._loaded.clear()

    def load(self, path: str | os.PathLike[str], name: str | None = None) -> str:
        text = os.fspath(path)
        if not isinstance(text, str):
            text = os.fsdecode(text)
        if name is None:
            name = default_name(text)
        if not isinstance(name, str):
            raise TypeError(f"the name of an adapter must be a string, not {type(name).__name__}")
        if not name:
            raise AdapterError("the name of an adapter must not be empty")
        with self._lock:
            self._refuse_taken(name)
            loaded = self._open(text)
            self._loaded[name] = loaded
        return name

    def unload(self, name: str) -> None:
        with self._lock:
            if name not in self._loaded:
                raise AdapterError(self._unknown(name))
            sessions = self._loaded[name].core.info()["n_sessions"]
            if sessions:
                raise AdapterError(
                    f"the adapter {name!r} is in use by {sessions} session{'s' * (sessions > 1)}: "
                    "detach it there with set_lora first"
                )
            del self._loaded[name]

    def infos(self) -> dict[str, LoraInfo]:
        with self._lock:
            return {name: self._info(loaded) for name, loaded in self._loaded.items()}

    def resolve(self, lora: Lora) -> Attached:
        """The adapters that an argument names, loaded where it is a path."""
        if lora is None:
            return Attached({}, [])
        named = lora if isinstance(lora, Mapping) else {lora: 1.0}
        scales: dict[str, float] = {}
        adapters: list[_core.Adapter] = []
        for key, scale in named.items():
            if not isinstance(key, (str, os.PathLike)):
                raise TypeError(
                    "lora must be a name, a path, or a dict of names or paths to scales, "
                    f"not {type(key).__name__}"
                )
            checked = _scale(key, scale)
            with self._lock:
                name, loaded = self._find(key)
            if name in scales:
                raise AdapterError(f"the adapter {name!r} is named twice")
            scales[name] = checked
            adapters.append(loaded.core)
        return Attached(scales, adapters)

    def _find(self, key: str | os.PathLike[str]) -> tuple[str, _Loaded]:
        if isinstance(key, str) and key in self._loaded and self._loaded[key].path != key:
            return key, self._loaded[key]
        path = os.fspath(key)
        if not os.path.exists(path):
            raise AdapterError(self._unknown(path))
        signature = _signature(path)
        for name, loaded in self._loaded.items():
            if loaded.signature == signature:
                return name, loaded
        loaded = self._loaded[path] = self._open(path)
        return path, loaded

    def _open(self, path: str) -> _Loaded:
        if self._model is None:
            raise AdapterError("the model is closed: open it again with pyedge.Model(path)")
        signature = _signature(path)
        return _Loaded(_core.Adapter(self._model, path), path, signature)

    def _refuse_taken(self, name: str) -> None:
        if name in self._loaded:
            raise AdapterError(
                f"the name {name!r} is taken by {self._loaded[name].path}: "
                "give another one (name=...), or unload that adapter first"
            )

    def _unknown(self, name: str) -> str:
        loaded = f"loaded are {', '.join(map(repr, self._loaded))}" if self._loaded else "none is loaded"
        return f"{name!r} is neither a loaded adapter nor a file or folder; {loaded}"

    @staticmethod
    def _info(loaded: _Loaded) -> LoraInfo:
        facts = loaded.core.info()
        return LoraInfo(
            loaded.path, facts["format"], facts["rank"], facts["n_targets"], facts["n_params"], facts["bytes"]
        )


def _scale(key: Any, scale: Any) -> float:
    if isinstance(scale, bool) or not isinstance(scale, Real):
        raise TypeError(f"the scale of {str(key)!r} must be a number, not {type(scale).__name__}")
    if not math.isfinite(scale):
        raise AdapterError(f"the scale of {str(key)!r} is {scale}: it must be finite")
    return float(scale)


def parse_lora(text: str) -> tuple[str, float]:
    """`PATH[:SCALE]` of a command line. What exists as a whole is a path, colon or not."""
    path, colon, scale = text.rpartition(":")
    if not colon or os.path.exists(text):
        return text, 1.0
    if not re.fullmatch(_NUMBER, scale, re.IGNORECASE):
        return text, 1.0
    return path, float(scale)


def parse_loras(texts: list[str] | None) -> dict[str | os.PathLike[str], float] | None:
    """Several of them as a `lora` argument."""
    if not texts:
        return None
    named: dict[str | os.PathLike[str], float] = {}
    for text in texts:
        path, scale = parse_lora(text)
        if path in named:
            raise AdapterError(f"the adapter {path!r} is named twice")
        named[path] = scale
    return named
