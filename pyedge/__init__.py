"""pyedge: language models on the machine at hand.

    import pyedge
    print(pyedge.generate("Why is the sky blue?"))

Names are loaded when they are first used, so that `import pyedge` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Python started in a clone finds this folder first; the compiled module lies where the package was installed.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from .completion import Completion, Piece
    from .errors import (
        AdapterError,
        CancelledError,
        ContextOverflowError,
        Error,
        ModelFileError,
        OutOfMemoryError,
        UnsupportedError,
    )
    from .model import Model, generate, stream
    from .session import Session

_HOME = {
    "AdapterError": "errors",
    "CancelledError": "errors",
    "Completion": "completion",
    "ContextOverflowError": "errors",
    "Error": "errors",
    "Model": "model",
    "ModelFileError": "errors",
    "OutOfMemoryError": "errors",
    "Piece": "completion",
    "Session": "session",
    "UnsupportedError": "errors",
    "generate": "model",
    "stream": "model",
}

__all__ = [
    "AdapterError",
    "CancelledError",
    "Completion",
    "ContextOverflowError",
    "Error",
    "Model",
    "ModelFileError",
    "OutOfMemoryError",
    "Piece",
    "Session",
    "UnsupportedError",
    "__version__",
    "generate",
    "stream",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'pyedge' has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
