"""What pages may try that a browser shows to somebody who can reach the server."""

import itertools
from typing import Final

import pytest

from ..raw import connection_to, read_head, upgrade_request
from .hostile import DOUBLE, exchange
from .scene import Arena

FOREIGN: Final = (
    "http://evil.example",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.1@evil.example",
    "http://evil.example#127.0.0.1",
    "http://evil.example/127.0.0.1",
    "http://localhost",
    "https://127.0.0.1",
    "null",
    "file://",
    "",
)


def test_pages_of_other_origins_may_not_open_a_socket(arena: Arena) -> None:
    host, port = arena.server.address
    origins = [
        *FOREIGN,
        f"http://{host}:{port}.evil.example",
        f"http://{host}:{port + 1}",
        f"http://evil@{host}:{port}",
    ]
    with arena.under_attack() as attack:
        for origin, path in itertools.cycle(
            itertools.product(origins, (DOUBLE, "/v1/watch", "/v1/stream", "/v1/echo"))
        ):
            with connection_to(arena.server) as connection:
                connection.sendall(upgrade_request(arena.server, path, Origin=origin))
                assert read_head(connection).startswith(b"HTTP/1.1 403 "), (origin, path)
            if not attack.lasts(pause=0.005):
                break


REBOUND: Final = (
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "127.0.0.1@evil",
    "",
)


def test_names_that_were_made_to_point_here_are_not_served(arena: Arena) -> None:
    requests = [
        "GET /v1/models",
        "GET /metrics",
        "GET /",
        "POST /v1/models/double/predict",
        "POST /v2/models/double/infer",
    ]
    with arena.under_attack() as attack:
        for host, request in itertools.cycle(itertools.product(REBOUND, requests)):
            octets = f"{request} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            answer = exchange(arena.server, octets)
            assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 ")), (host, request, answer[:300])
            upgrade = upgrade_request(arena.server, DOUBLE, Host=host, Origin=f"http://{host}")
            assert exchange(arena.server, upgrade).startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 ")), host
            if not attack.lasts(pause=0.005):
                break


@pytest.mark.parametrize("path", ["/v1/models", "/v1/stats", "/metrics", "/v2/models/double/config"])
def test_pages_of_other_origins_may_not_read_an_answer(arena: Arena, path: str) -> None:
    for origin in FOREIGN:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"
        with connection_to(arena.server) as connection:
            connection.sendall(request.encode())
            assert b"access-control-allow-origin" not in read_head(connection).lower()
