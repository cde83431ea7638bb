"""The failures that pyedge reports, apart from wrong arguments (those are `ValueError` and `TypeError`).

The compiled core looks these classes up by name, so that one `except pyedge.Error` catches what either side
raises.
"""

from __future__ import annotations

__all__ = [
    "AdapterError",
    "CancelledError",
    "ContextOverflowError",
    "Error",
    "ModelFileError",
    "OutOfMemoryError",
    "UnsupportedError",
]


class Error(Exception):
    """Base of all failures that pyedge reports."""


class ModelFileError(Error):
    """A model file is missing, unreadable, or contradicts its format; the message says where and how."""


class UnsupportedError(Error):
    """A well-formed file or a valid request of a kind that this build does not run."""


class AdapterError(Error):
    """A LoRA adapter that cannot be read, does not fit the model, or is not there; the message says which
    tensor, and why. Sessions go on as they were before the call."""


class ContextOverflowError(Error):
    """The tokens do not fit: `needed` positions were asked for, the context has `capacity`."""

    def __init__(self, message: str, needed: int = 0, capacity: int = 0) -> None:
        super().__init__(message)
        self.needed = needed
        self.capacity = capacity


class CancelledError(Error):
    """`Session.cancel()` ended the evaluation; the session is as it was before the call."""


class OutOfMemoryError(Error, MemoryError):
    """The system has no memory left, or the caller's own limit would be passed."""
