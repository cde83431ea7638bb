"""`pyedge web`: the chat page in a browser of this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import Error
from .common import ModelOption, note


def web(
    model: ModelOption = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0: any that is free.")] = 8080,
    lora: Annotated[
        list[str] | None, typer.Option("--lora", help="Adapter to offer, as PATH or PATH:SCALE; repeatable.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Chat in the browser: the page runs the model itself, in the tab."""
    from ..webpage import PageServer, page_folder

    adapters = [_adapter(text) for text in lora or ()]
    with PageServer(
        page_folder(), _models(model), adapters=adapters, start=model is not None, port=port
    ) as server:
        note(f"The chat page is at {server.url} until Ctrl-C; it is for the browsers of this computer alone.")
        if show:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            note("")


def _models(wanted: str | None) -> list[tuple[str, Path]]:
    """The model that was asked for, then the others that are here. With none at all, the default is fetched,
    as everywhere; where that fails, the page still takes files and addresses."""
    from .. import hub

    found: dict[Path, str] = {}
    if wanted is not None:
        path = hub.resolve(wanted)
        found[path.resolve()] = wanted if hub.is_name(wanted) else path.stem
    for entry in hub.entries():
        here = hub.cached(entry.name)
        if here:
            found.setdefault(here.resolve(), entry.name)
    if not found:
        try:
            found[hub.fetch(hub.default_name()).resolve()] = hub.default_name()
        except Error as error:
            note(f"pyedge: {error}")
    return [(name, path) for path, name in found.items()]


def _adapter(text: str) -> tuple[str, Path, float]:
    path, colon, scale = text.rpartition(":")
    try:
        file, value = (Path(path), float(scale)) if colon and not Path(text).exists() else (Path(text), 1.0)
    except ValueError:
        file, value = Path(text), 1.0
    if not file.is_file():
        raise Error(f"{file}: there is no such file; --lora takes PATH or PATH:SCALE")
    return file.stem, file, value


def register(app: typer.Typer) -> None:
    app.command()(web)
