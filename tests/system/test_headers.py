"""The headers of every answer of every door, whatever it says."""

import http.client
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from handlers.app import DOORS
from handlers.doors import Door
from tests.certificates import Certificate

from .client import Http, Reply
from .process import Server, running_server

FILLED: Final = {"model": "double", "version": "1", "file": "main.js"}
MORE: Final = {
    "/static/{file}": {"file": "app.css"},
    "/docs/{file}": {"file": "swagger-ui.css"},
    "/vendor/{file}": {"file": "uplot.css"},
}
PAGES: Final = ("/", "/docs")
KEPT: Final = ("/", "/static/{file}", "/static/js/{file}", "/vendor/{file}", "/docs/{file}")
"""Doors of files that are the same for everybody: browsers may keep them."""

WRONG: Final = ["/nowhere", "/v2/nowhere", "/static/nowhere.js", "/v1/models/nowhere", "/%ff", "/v1/stats?x=1"]
HSTS: Final = "Strict-Transport-Security"

doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.path)


@pytest.fixture(scope="module")
def plain(zoo_models: Path) -> Iterator[Server]:
    """Give a server that no other test needs: some of the doors change what it serves."""
    with running_server("--models", str(zoo_models)) as server:
        yield server


@pytest.fixture(scope="module")
def secure(zoo_models: Path, certificate: Certificate) -> Iterator[Server]:
    """Give a server with TLS."""
    with running_server("--models", str(zoo_models), *certificate.arguments, tls=certificate.trusted()) as server:
        yield server


def path_of(door: Door) -> str:
    path = door.path.format_map(defaultdict(lambda: "none", FILLED | MORE.get(door.path, {})))
    return f"{path}?topics=$alerts" if path.endswith("/sse") else path


def ask(server: Server, method: str, path: str, **headers: str) -> Reply:
    """Return status and headers; the body of what goes on for ever is not waited for."""
    with Http(server) as client:
        client.connection.request(method, path, headers=headers)
        reply = client.connection.getresponse()
        return Reply(reply.status, reply.headers, b"")


def policy_of(headers: http.client.HTTPMessage) -> dict[str, str]:
    rules = (rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    return {rule[0]: rule[-1] for rule in rules}


def check(headers: http.client.HTTPMessage) -> None:
    """Check what every answer has, and has once."""
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = policy_of(headers)
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert not {name for name in headers if name.lower().startswith("access-control-")}
    assert "Server" not in headers
    assert "X-Powered-By" not in headers
    once = [name.lower() for name in headers]
    assert len(once) == len(set(once))


@doors
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE"])
def test_every_door_has_them_whatever_it_is_asked(plain: Server, door: Door, method: str) -> None:
    reply = ask(plain, method, path_of(door))
    check(reply.headers)
    if reply.status != 200 or door.path not in KEPT:
        assert reply.headers["Cache-Control"] == "no-store"
    assert HSTS not in reply.headers, "over TLS alone"


@doors
def test_over_tls_browsers_are_told_to_come_so_again(secure: Server, door: Door) -> None:
    reply = ask(secure, "GET", path_of(door))
    check(reply.headers)
    assert reply.headers[HSTS] == "max-age=31536000"


@pytest.mark.parametrize("path", WRONG)
def test_errors_have_them_too(plain: Server, path: str) -> None:
    reply = ask(plain, "GET", path)
    assert reply.status in (400, 404)
    check(reply.headers)
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/v2/models/double/infer", "/v1/models/double/predict"])
@pytest.mark.parametrize(("length", "status"), [(1, 400), (2 << 20, 413)])
def test_inference_that_is_refused_has_them_too(plain: Server, path: str, length: int, status: int) -> None:
    """What is too large is refused before it comes."""
    with Http(plain) as client:
        client.connection.putrequest("POST", path)
        client.connection.putheader("Content-Length", str(length))
        client.connection.endheaders(b"{")
        reply = client.connection.getresponse()
        assert reply.status == status
        check(reply.headers)
        assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
def test_pages_share_no_window_and_use_no_device(plain: Server, path: str) -> None:
    headers = ask(plain, "GET", path).headers
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert {"camera=()", "microphone=()", "geolocation=()"} <= set(headers["Permissions-Policy"].split(", "))
    policy = policy_of(headers)
    assert policy["script-src"] == "'self'"
    assert policy["base-uri"] == policy["form-action"] == "'none'"


def test_what_has_not_changed_keeps_them(plain: Server) -> None:
    etag = ask(plain, "GET", "/static/js/main.js").headers["ETag"]
    reply = ask(plain, "GET", "/static/js/main.js", **{"If-None-Match": etag})
    assert reply.status == 304
    check(reply.headers)


def test_behind_a_trusted_proxy_with_tls_browsers_are_told_so(zoo_models: Path) -> None:
    with running_server("--models", str(zoo_models), "--trusted-proxies", "127.0.0.1") as server:
        assert ask(server, "GET", "/", **{"X-Forwarded-Proto": "https"}).headers[HSTS]
        assert HSTS not in ask(server, "GET", "/").headers


def test_who_does_not_want_that_says_so(zoo_models: Path, certificate: Certificate) -> None:
    arguments = ("--models", str(zoo_models), *certificate.arguments, "--hsts-seconds", "0")
    with running_server(*arguments, tls=certificate.trusted()) as server:
        reply = ask(server, "GET", "/")
        check(reply.headers)
        assert HSTS not in reply.headers
