"""Requests as no library writes them: smuggled, stuffed with headers, or with paths that lead elsewhere."""

import itertools
import re
from pathlib import Path
from typing import Final

from ..client import Http
from ..conftest import StartServer
from ..graphs import double, write_model
from ..raw import connection_to, read_to_end
from .hostile import exchange
from .scene import Arena

PREDICT: Final = "POST /v1/models/double/predict HTTP/1.1\r\nHost: localhost\r\n"
INFER: Final = "POST /v2/models/double/infer HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED: Final = "GET /healthz?smuggled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
REFUSED: Final = re.compile(rb"(HTTP/1\.1 4\d\d )?")

#: Each may be read in two ways; a proxy that reads it in the other one would take the rest for another's request.
AMBIGUOUS = {
    "length and chunks": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and length": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": "Content-Length: 0\r\nContent-Length: 4\r\n\r\n" + SMUGGLED,
    "two lengths in one": "Content-Length: 0, 4\r\n\r\n" + SMUGGLED,
    "a length with a sign": "Content-Length: +0\r\n\r\n" + SMUGGLED,
    "a length in hexadecimal": "Content-Length: 0x0\r\n\r\n" + SMUGGLED,
    "a length below zero": "Content-Length: -1\r\n\r\n" + SMUGGLED,
    "a length of other digits": "Content-Length: \u00b2\r\n\r\n" + SMUGGLED,
    "a length with an underscore": "Content-Length: 1_0\r\n\r\n" + SMUGGLED,
    "a space before the colon": "Content-Length : 0\r\n\r\n" + SMUGGLED,
    "a tab before the colon": "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a folded line": "X-a: b\r\n Content-Length: 0\r\n\r\n" + SMUGGLED,
    "a folded encoding": "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a coding that is unknown": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two codings": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a coding with a vertical tab": "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a null in a header": "X-a: b\x00c\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "a bare carriage return": "X-a: b\rContent-Length: 0\r\n\r\n" + SMUGGLED,
    "a header without a name": ": b\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "a header without a colon": "Content-Length\r\n\r\n" + SMUGGLED,
    "a chunk with a sign": "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + SMUGGLED,
    "a chunk in other digits": "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + SMUGGLED,
    "a chunk with an underscore": "Transfer-Encoding: chunked\r\n\r\n0_0\r\n\r\n" + SMUGGLED,
    "a chunk below zero": "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + SMUGGLED,
    "a chunk of no size": "Transfer-Encoding: chunked\r\n\r\n\r\n\r\n" + SMUGGLED,
    "a chunk that is too long": "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" + SMUGGLED,
    "two hosts": "Host: y\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
}


def is_refused(answer: bytes) -> bool:
    """Return whether one refusal came, or nothing but the end."""
    matched = REFUSED.match(answer)
    return matched is not None and answer.count(b"HTTP/1.1 ") == (matched.end() > 0)


def test_what_may_be_read_in_two_ways_is_refused_and_ends_the_connection(arena: Arena) -> None:
    with arena.under_attack() as attack:
        for head, (case, request) in itertools.cycle(itertools.product((PREDICT, INFER), AMBIGUOUS.items())):
            answer = exchange(arena.server, (head + request).encode("latin-1"))
            assert is_refused(answer), (case, head, answer[:300])
            if not attack.lasts(pause=0.005):
                break


STUFFED = {
    "a huge header": b"X-a: " + b"x" * 1_000_000 + b"\r\n",
    "many headers": b"".join(b"X-%d: y\r\n" % number for number in range(100_000)),
    "the same header": b"X-a: y\r\n" * 100_000,
    "a huge cookie": b"Cookie: " + b"a=b; " * 200_000 + b"\r\n",
}


STARTS = [
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /v1/echo HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /v2/models/double/infer HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n",
]


def test_requests_stuffed_with_headers_are_refused(arena: Arena) -> None:
    with arena.under_attack() as attack:
        for start, (case, headers) in itertools.cycle(itertools.product(STARTS, STUFFED.items())):
            answer = exchange(arena.server, start + headers + b"\r\n")
            assert is_refused(answer), (case, start, answer[:300])
            if not attack.lasts(pause=0.1):
                break


def test_requests_that_come_all_at_once_are_answered_in_turn(arena: Arena) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with arena.under_attack() as attack:
        while attack.lasts(pause=0.1):
            with connection_to(arena.server) as connection:
                connection.sendall(request * 300 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                assert read_to_end(connection).count(b"HTTP/1.1 200 OK") == 301


ELSEWHERE = [
    climb.join(["", "", "", "etc/passwd"])
    for climb in ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "%252e%252e%252f", "....//", "%c0%ae%c0%ae/")
] + [
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "server.py",
    "..%2fserver.py",
    "%2e%2e%2f%2e%2e%2fserver.py",
    ".%00.",
    "app.js%00",
    "..",
    ".",
]
DOORS = [
    "/{}",
    "/static/{}",
    "/static/js/{}",
    "/vendor/{}",
    "/docs/{}",
    "/v1/models/{}",
    "/v1/models/double/versions/{}",
    "/v1/models/double?version={}",
    "/v2/models/{}/config",
    "/v2/models/double/versions/{}/ready",
    "/v1/models/{}/stream",
]
FILES: Final = re.compile(rb"root:|import asyncio|BEGIN ")


def test_paths_that_lead_elsewhere_lead_nowhere(arena: Arena) -> None:
    with arena.under_attack() as attack:
        for door, path in itertools.product(DOORS, ELSEWHERE):
            request = f"GET {door.format(path)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            answer = exchange(arena.server, request.encode())
            assert re.match(rb"HTTP/1\.1 (400|404) ", answer), (request, answer[:300])
            assert not FILES.search(answer), request
            attack.lasts(pause=0.005)


OUTSIDE: Final = ("..%2fsecret", "%2e%2e%2fsecret", "..%5csecret", "double%2f..%2f..%2fsecret", "secret%00", "%2f{}")


def test_no_model_outside_the_repository_can_be_loaded(start_server: StartServer, tmp_path: Path) -> None:
    write_model(tmp_path / "models", "double", double())
    write_model(tmp_path, "secret", double())
    absolute = str(tmp_path / "secret").replace("/", "%2f")
    with Http(start_server("--models", str(tmp_path / "models"), "--model-control", "explicit")) as http:
        for name in OUTSIDE:
            reply = http.request("POST", f"/v2/repository/models/{name.format(absolute)}/load", "{}")
            assert reply.status in (400, 404), (name, reply)
        models = http.request("POST", "/v2/repository/index").json
        assert [(model["name"], model["state"]) for model in models] == [("double", "UNAVAILABLE")]
