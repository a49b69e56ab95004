"""The dashboard's files as a server gives them: types, policy, caching, and nothing that is not meant to be served."""

from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from .client import TIMEOUT, get
from .conftest import StartServer
from .process import ROOT, Server, copy_server

SCRIPTS: Final = sorted(path.name for path in (ROOT / "static" / "js").glob("*.js"))


def raw_get(server: Server, target: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask for a target as it is written; clients of a higher level tidy paths up."""
    connection = HTTPConnection(*server.address, timeout=TIMEOUT)
    try:
        connection.request("GET", target, headers=headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.headers), reply.read()
    finally:
        connection.close()


def test_the_page_allows_nothing_inline_and_nothing_from_elsewhere(zoo: Server) -> None:
    page = get(zoo, "/")
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    rules = dict(rule.split(" ", 1) for rule in page.headers["Content-Security-Policy"].split("; "))
    host = "{}:{}".format(*zoo.address)
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["connect-src"] == f"'self' ws://{host} wss://{host}"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert b"<style" not in page.body
    assert b" style=" not in page.body


def test_a_host_that_is_none_does_not_reach_the_policy(zoo: Server) -> None:
    _, headers, _ = raw_get(zoo, "/", Host="a.example; script-src *")
    assert "script-src *" not in str(headers)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_served_as_one(zoo: Server, name: str) -> None:
    reply = get(zoo, f"/static/js/{name}")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert reply.body == (ROOT / "static" / "js" / name).read_bytes()


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/static/app.css", "text/css; charset=utf-8"),
        ("/static/favicon.svg", "image/svg+xml"),
        ("/vendor/uplot.js", "text/javascript; charset=utf-8"),
        ("/vendor/uplot.css", "text/css; charset=utf-8"),
    ],
)
def test_a_file_is_sent_once_and_then_known(zoo: Server, path: str, media_type: str) -> None:
    status, headers, body = raw_get(zoo, path)
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, media_type, "no-cache")
    assert len(body) > 100
    status, _, body = raw_get(zoo, path, **{"If-None-Match": headers["Etag"]})
    assert (status, body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/js/..%2f..%2fserver.py",
        "/static/js/%2e%2e%2fapp.css",
        "/static/%2e%2e/server.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/js",
        "/static/js/",
        "/static/.app.css",
        "/static/app.css%00.js",
        "/static/jsconfig.json",
        "/static/js/%5c..%5capp.css",
        "/static/js/absent.js",
        "/vendor/..%2f..%2fpackage.json",
        "/vendor/uPlot.d.ts",
        "/vendor/",
    ],
)
def test_nothing_else_is_served(zoo: Server, path: str) -> None:
    status, headers, body = raw_get(zoo, path)
    assert status == 404
    assert headers["Content-Type"] == "application/json"
    assert b"import" not in body


def test_without_uplot_the_server_says_how_to_get_it(start_server: StartServer, tmp_path: Path) -> None:
    copy_server(tmp_path)
    server = start_server(root=tmp_path)
    for name in ("uplot.js", "uplot.css"):
        reply = get(server, f"/vendor/{name}")
        assert reply.status == 404
        assert reply.error["message"] == "Not Found: uPlot is not installed: run make"
    assert get(server, "/").status == 200
