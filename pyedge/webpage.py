"""The server behind `pyedge web`: the chat page's files, and model files for it, to this computer's browsers.

The page does all the work, so this only reads files: the standard library's server is enough, and nothing
more need be installed. Every path that is answered is in a table made at the start; a path from outside is
looked up there and never touches the file system. It listens on the loopback address alone, and answers only
requests that were addressed to it by that name, so that no foreign site can point a name of its own at it and
read along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from .errors import Error
from .hub import part_paths

__all__ = ["PageServer", "page_folder"]

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CHUNK = 1 << 18


def page_folder() -> Path:
    """The built page: inside the package, where the wheel brought it, or in the checkout around it."""
    package = Path(__file__).parent
    places = [package / "web", package.parent / "wasm" / "page" / "dist"]
    for place in places:
        if (place / "index.html").is_file() and (place / "headers.json").is_file():
            return place
    raise Error(
        "the chat page is not part of this installation: build it with `make wasm` in a checkout of pyedge, "
        "then install again"
    )


class _Entry(NamedTuple):
    """What a path gives: a file or bytes, its type, and how long browsers may keep it."""

    file: Path | None
    data: bytes
    type: str
    keep: str


class PageServer(ThreadingHTTPServer):
    """Serves the page in `folder`, and `models` as (name, file), the first of which it loads at once if
    `start`. `adapters` are (name, file, scale). Port 0 takes a free one; `url` tells which.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        folder: Path,
        models: Iterable[tuple[str, Path]] = (),
        *,
        adapters: Iterable[tuple[str, Path, float]] = (),
        start: bool = False,
        port: int = 8080,
    ) -> None:
        self.headers: Mapping[str, str] = json.loads((folder / "headers.json").read_text(encoding="utf-8"))
        self.entries: dict[str, _Entry] = {}
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                keep = "max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
                kind = _TYPES.get(file.suffix, "application/octet-stream")
                self.entries[f"/{name}"] = _Entry(file, b"", kind, keep)
        self.entries["/"] = self.entries["/index.html"]
        self._list_models(folder, list(models), list(adapters), start)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise Error(
                f"port {port} cannot be used: {error.strerror or error}; --port names another"
            ) from None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def _list_models(
        self,
        folder: Path,
        models: list[tuple[str, Path]],
        adapters: list[tuple[str, Path, float]],
        start: bool,
    ) -> None:
        """Puts the files of this computer before the models that the built page offers."""
        try:
            known = json.loads((folder / "models.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        here: list[dict[str, Any]] = []
        for name, path in models:
            parts = part_paths(path)
            urls = [self._add_file("models", part) for part in parts]
            size = sum(part.stat().st_size for part in parts)
            url = urls[0] if len(urls) == 1 else urls
            here.append({"name": name, "url": url, "bytes": size, "local": True})
        listed: dict[str, Any] = {**known, "models": [*here, *known.get("models", [])]}
        listed["adapters"] = [
            {
                "name": name,
                "url": self._add_file("adapters", path),
                "bytes": path.stat().st_size,
                "scale": scale,
            }
            for name, path, scale in adapters
        ]
        if start and here:
            listed["start"] = here[0]["name"]
        data = json.dumps(listed, ensure_ascii=False).encode()
        self.entries["/models.json"] = _Entry(None, data, _TYPES[".json"], "no-cache")

    def _add_file(self, group: str, path: Path) -> str:
        """An address, relative to the page, under which the file is served. The page keeps models in its own
        storage: a second copy in the browser's HTTP cache would be waste."""
        number, name = 0, path.name
        while (old := self.entries.get(f"/{group}/{name}")) is not None and old.file != path:
            number += 1
            name = f"{number}-{path.name}"
        self.entries[f"/{group}/{name}"] = _Entry(path, b"", "application/octet-stream", "no-store")
        return f"{group}/{quote(name)}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pyedge", ""
    timeout = 60  # seconds without a request, or a reader that has gone away
    server: PageServer

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is read here is nobody's business."""

    def _answer(self, *, body: bool) -> None:
        name = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        if name not in ("127.0.0.1", "localhost"):
            return self._plain(
                HTTPStatus.MISDIRECTED_REQUEST, "This server answers to 127.0.0.1 and localhost."
            )
        entry = self.server.entries.get(unquote(urlsplit(self.path).path))
        if entry is None:
            return self._plain(HTTPStatus.NOT_FOUND, "There is no such file.")
        try:
            if entry.file is None:
                return self._bytes(entry, body)
            with entry.file.open("rb") as file:
                self._file(entry, entry.file, file, body)
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the browser went away, as when loading is cancelled
        except OSError:
            self._plain(HTTPStatus.NOT_FOUND, "The file cannot be read any more.")

    def _bytes(self, entry: _Entry, body: bool) -> None:
        self._head(HTTPStatus.OK, entry.type, len(entry.data), {"Cache-Control": entry.keep})
        if body:
            self.wfile.write(entry.data)

    def _file(self, entry: _Entry, path: Path, file: BinaryIO, body: bool) -> None:
        status = path.stat()
        size, tag = status.st_size, f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
        fields = {
            "Accept-Ranges": "bytes",
            "Cache-Control": entry.keep,
            "ETag": tag,
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
        }
        if self.headers.get("If-None-Match") == tag:
            return self._head(HTTPStatus.NOT_MODIFIED, entry.type, None, fields)
        first, end = 0, size
        wanted = _RANGE.fullmatch(self.headers.get("Range") or "")
        if wanted and self.headers.get("If-Range") in (None, tag) and (wanted[1] or wanted[2]):
            if wanted[1]:
                first, end = int(wanted[1]), min(size, int(wanted[2]) + 1 if wanted[2] else size)
            else:
                first = max(0, size - int(wanted[2]))
            if first >= end:
                fields["Content-Range"] = f"bytes */{size}"
                return self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, entry.type, 0, fields)
            fields["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
            self._head(HTTPStatus.PARTIAL_CONTENT, entry.type, end - first, fields)
        else:
            self._head(HTTPStatus.OK, entry.type, size, fields)
        if body:
            file.seek(first)
            self._copy(file, end - first)

    def _copy(self, file: BinaryIO, count: int) -> None:
        while count > 0:
            data = file.read(min(_CHUNK, count))
            if not data:  # shorter than it was: the browser must not wait for the rest
                self.close_connection = True
                return
            self.wfile.write(data)
            count -= len(data)

    def _plain(self, status: HTTPStatus, text: str) -> None:
        data = f"{text}\n".encode()
        self._head(status, "text/plain; charset=utf-8", len(data), {"Cache-Control": "no-store"})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _head(self, status: HTTPStatus, kind: str, length: int | None, fields: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in {**self.server.headers, **fields}.items():
            self.send_header(name, value)
        self.end_headers()
