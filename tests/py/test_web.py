"""The server of `pyedge web`: what it answers, to whom, and with which headers."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import contextmanager

import pytest

from pyedge.errors import Error
from pyedge.webpage import PageServer

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": "default-src 'none'",
}
MODEL = bytes(range(256)) * 4


@pytest.fixture
def folder(tmp_path):
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html>")
    (page / "headers.json").write_text(json.dumps(HEADERS))
    (page / "models.json").write_text(
        json.dumps({"models": [{"name": "Far", "url": "https://example.org/x"}]})
    )
    (page / "assets" / "a.js").write_text("1")
    (page / "m.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a model.gguf").write_bytes(MODEL)
    return page


@contextmanager
def serving(folder, **options):
    with PageServer(folder, [("near", folder.parent / "a model.gguf")], port=0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_files_have_their_types_and_the_headers_that_threads_need(folder):
    with serving(folder) as server:
        for path, kind in [
            ("/", "text/html"),
            ("/assets/a.js", "text/javascript"),
            ("/m.wasm", "application/wasm"),
        ]:
            answer, _ = ask(server, path)
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith(kind)
            for name, text in HEADERS.items():
                assert answer.headers[name] == text
        answer, body = ask(server, "/", "HEAD")
        assert answer.status == 200 and body == b""
        tag = answer.headers["ETag"]
        answer, body = ask(server, "/", If_None_Match=tag)
        assert answer.status == 304 and body == b""


def test_models_of_this_computer_come_first(folder):
    with serving(folder, start=True, adapters=[("neko", folder.parent / "secret", 0.5)]) as server:
        _, body = ask(server, "/models.json")
        listed = json.loads(body)
        near, far = listed["models"]
        assert (near["name"], near["bytes"], near["local"]) == ("near", len(MODEL), True)
        assert far["name"] == "Far"
        assert listed["start"] == "near"
        assert ask(server, f"/{near['url']}")[1] == MODEL
        [adapter] = listed["adapters"]
        assert adapter["scale"] == 0.5
        assert ask(server, f"/{adapter['url']}")[1] == b"secret"


@pytest.mark.parametrize(
    ("wanted", "status", "first", "end"),
    [
        ("bytes=0-3", 206, 0, 4),
        ("bytes=1000-", 206, 1000, 1024),
        ("bytes=1000-9999", 206, 1000, 1024),
        ("bytes=-24", 206, 1000, 1024),
        ("bytes=1024-", 416, 0, 0),
        ("bytes=9-3", 416, 0, 0),
        ("bytes=-", 200, 0, 1024),
        ("lines=1-2", 200, 0, 1024),
    ],
)
def test_ranges(folder, wanted, status, first, end):
    with serving(folder) as server:
        answer, body = ask(server, "/models/a%20model.gguf", Range=wanted)
        assert answer.status == status
        assert body == MODEL[first:end]
        changed, body = ask(server, "/models/a%20model.gguf", Range="bytes=0-3", If_Range='"older"')
        assert changed.status == 200 and body == MODEL


@pytest.mark.parametrize(
    "path", ["/../secret", "/..%2fsecret", "/assets/", "/%00", "/models/", "//etc/passwd"]
)
def test_nothing_else_is_read(folder, path):
    with serving(folder) as server:
        answer, body = ask(server, path)
        assert answer.status == 404
        assert b"secret" not in body


@pytest.mark.parametrize("host", ["example.org", "example.org:80", "127.0.0.1.example.org:8080", ""])
def test_names_of_other_hosts_are_refused(folder, host):
    with serving(folder) as server:
        answer, _ = ask(server, "/models.json", Host=host)
        assert answer.status == 421


def test_a_port_that_is_taken_is_one_sentence(folder):
    with (
        serving(folder) as server,
        pytest.raises(Error, match=r"port \d+ cannot be used: .*--port names another"),
    ):
        PageServer(folder, port=server.server_port)


def test_parts_of_a_split_model(folder):
    parts = [folder.parent / f"big-{n:05}-of-00002.gguf" for n in (1, 2)]
    for part in parts:
        part.write_bytes(b"GGUF")
    with PageServer(folder, [("big", parts[0])], port=0) as server:
        listed = json.loads(server.entries["/models.json"].data)
        assert listed["models"][0]["url"] == [f"models/{part.name}" for part in parts]
        assert listed["models"][0]["bytes"] == 8
