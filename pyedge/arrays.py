"""NumPy where arrays are made, and only there: generating text takes none, and small boards (ARMv7) find no
wheel of it on PyPI."""

from __future__ import annotations

from typing import Any

from .errors import Error

MISSING = "arrays need NumPy, which is not installed: pip install 'pyedge[arrays]'"


def numpy() -> Any:
    """The module, or an error that says how to get it."""
    try:
        import numpy
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        raise Error(MISSING) from None
    return numpy
