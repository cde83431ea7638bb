"""The commands, put together with Typer.

Each group has a file of its own, loaded when one of its commands is called. Help, and a word that is no
command, load them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import typer

_GROUPS = {
    "answer": ("generate",),
    "chat": ("chat",),
    "models": ("list", "pull", "info"),
    "text": ("tokenize", "perplexity"),
    "bench": ("bench",),
    "machine": ("doctor",),
    "quantize": ("quantize",),
    "imatrix": ("imatrix",),
    "merge": ("merge",),
    "verify": ("verify",),
    "convert": ("convert",),
    "web": ("web",),
}


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


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application, with as many commands as these arguments need."""
    app = typer.Typer(
        name="pyedge",
        help="Language models on the machine at hand.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    called = [group for group, commands in _GROUPS.items() if arguments and arguments[0] in commands]
    for group in called or _GROUPS:
        import_module(f".{group}", __package__).register(app)
    return app
