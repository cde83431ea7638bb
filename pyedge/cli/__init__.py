"""The `pyedge` command.

Each group of commands has a file of its own; this one puts them together and owns what all share at the end:
the exit status (0; 1 with one line on standard error; 2 for wrong usage) and the manner of warnings.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TextIO

import typer

from ..errors import Error
from . import answer, bench, chat, machine, models, quantize, text, verify

app = typer.Typer(
    name="pyedge",
    help="Language models on the machine at hand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    if version:
        from .. import __version__

        print(f"pyedge {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        raise typer.Exit(2)


for module in (answer, chat, models, text, bench, machine, quantize, verify):
    module.register(app)


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


def run() -> int:
    """Run the command line of this process; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character gets '?'
    warnings.showwarning = _one_line_warning
    try:
        app()
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else 0 if exit.code is None else _fail(exit.code, 1)
    except BrokenPipeError:  # the reader has gone: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except (ValueError, TypeError) as error:
        return _fail(error, 2)
    except (Error, OSError, MemoryError) as error:
        return _fail(error or type(error).__name__, 1)
    return 0


def main() -> None:
    """The entry point of the installed `pyedge` command."""
    sys.exit(run())
