"""The `pyedge` command.

`app.py` puts the commands together; this file owns what all share at the end: the exit status (0; 1 with one
line on standard error; 2 for wrong usage) and the manner of warnings. It imports nothing that a command may
not need.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING

from ..errors import Error

if TYPE_CHECKING:
    from typing import TextIO


def _one_line_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"pyedge: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(message: object, status: int) -> int:
    print(f"pyedge: {' '.join(str(message).split())}", file=sys.stderr)
    return status


def _dispatch(arguments: list[str]) -> None:
    if arguments[:1] == ["generate"]:
        from . import generate

        values = generate.parsed(arguments[1:])
        if values is not None:
            generate.generate(**values)
            return
    from .app import build

    build(arguments)()


def run() -> int:
    """Run the command line of this process; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character gets '?'
    warnings.showwarning = _one_line_warning
    try:
        _dispatch(sys.argv[1:])
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else 0 if exit.code is None else _fail(exit.code, 1)
    except BrokenPipeError:  # the reader has gone: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except (ValueError, TypeError) as error:
        return _fail(error, 2)
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        from ..arrays import MISSING

        return _fail(MISSING, 1)
    except (Error, OSError, MemoryError) as error:
        return _fail(error or type(error).__name__, 1)
    return 0


def main() -> None:
    """The entry point of the installed `pyedge` command."""
    sys.exit(run())
