"""Bodies of those who may not ask, and bodies that nobody reads: they are thrown away as they come."""

import contextlib
import http.client as http_client
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.frames import Opcode, frame

from .access_parts import EVENT, PREDICT, Keys
from .attacks.scene import forget_peak, peak_bytes
from .client import Http
from .process import Server, running_server, until
from .raw import connection_to, read_head, read_to_end, upgrade_request

INFER: Final = "/v2/models/add/infer"
CROWD: Final = 64
SIZE: Final = 1 << 20  # of a body, bytes
MOST: Final = CROWD * SIZE // 4  # that all of them together may cost

DOORS: Final = (
    ("POST", "/v1/tickets"),
    ("POST", "/v1/admin/models/add/drain"),
    ("POST", "/v2/repository/index"),
    ("POST", PREDICT),
    ("POST", INFER),
    ("GET", "/healthz"),
    ("GET", "/v1/stream"),
    ("GET", "/static/nothing.js"),
    ("PUT", "/nowhere"),
    ("PUT", "/v2/nowhere"),
)


def unread_bytes(server: Server) -> int:
    """Return what has come for a server that it has not read yet."""
    connections = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = f":{server.address[1]:04X}"
    established = [fields for fields in connections if fields[1].endswith(own) and fields[3] == "01"]
    return sum(int(fields[4].partition(":")[2], 16) for fields in established)


@pytest.mark.parametrize(("method", "door"), DOORS)
def test_bodies_that_nobody_asked_for_take_no_memory(guarded_models: Path, keys: Keys, method: str, door: str) -> None:
    head = f"{method} {door} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE}\r\n\r\n".encode()
    with (
        running_server("--models", str(guarded_models), "--api-keys", str(keys.file)) as server,
        contextlib.ExitStack() as stack,
    ):
        connections = [stack.enter_context(connection_to(server)) for _ in range(CROWD)]
        before = server.rss_bytes
        forget_peak(server)
        for connection in connections:
            with contextlib.suppress(ConnectionError):  # some are refused at once
                connection.sendall(head + b"x" * (SIZE - 1))
        until(lambda: unread_bytes(server) == 0)
        assert peak_bytes(server) - before < MOST


FORM: Final = "multipart/form-data; boundary=x"


@pytest.mark.parametrize("content_type", ["application/json", FORM, "application/x-www-form-urlencoded"])
def test_a_body_that_is_thrown_away_changes_no_answer_and_the_connection_goes_on(
    server: Server, keys: Keys, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    with Http(server) as http:
        http.connection.connect()
        sock = http.connection.sock
        for path, who, status in (
            ("/v1/tickets", keys.bearer("all"), 200),
            ("/v1/tickets", {}, 401),
            ("/v1/admin/models/add/drain", keys.bearer("all"), 403),
            ("/nowhere", {}, 404),
            ("/healthz", {}, 405),
        ):
            assert http.request("POST", path, "x" * 100_000, {**headers, **who}).status == status
            assert http.connection.sock is sock
        assert http.request("POST", PREDICT, EVENT, keys.bearer("all")).status == 200
        assert http.connection.sock is sock


def test_a_refusal_before_the_end_of_a_body_says_that_the_connection_ends(server: Server, keys: Keys) -> None:
    for path, who, status in (
        (PREDICT, {}, 401),
        ("/v2/repository/models/add/load", keys.bearer("all"), 403),
        ("/v2/repository/index", {}, 401),
    ):
        with Http(server) as http:
            reply = http.request("POST", path, EVENT, who)
            assert (reply.status, reply.headers["Connection"]) == (status, "close")
            assert http.request("GET", "/healthz").status == 200, "the client knows that it has to connect again"
    with Http(server) as http:
        assert http.request("POST", PREDICT, EVENT, keys.bearer("all")).headers["Connection"] is None
        assert http.request("POST", PREDICT, "{", keys.bearer("all")).headers["Connection"] is None


def test_what_comes_after_a_refusal_is_none_of_its_business(server: Server, keys: Keys) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\n".encode()
    chunk = b"%x\r\n%s\r\n" % (SIZE, bytes(SIZE))
    with connection_to(server) as connection, connection_to(server) as later:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        answer = http_client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, len(answer.read())) == (401, int(answer.headers["Content-Length"]))
        connection.sendall(2 * chunk + b"0\r\n\r\n")
        connection.sendall(upgrade_request(server, "/v1/models/add/stream", **keys.bearer("all")))
        assert read_head(connection).startswith(b"HTTP/1.1 101 ")
        later.sendall(head + b"Content-Length: 1\r\n\r\n")
        assert read_to_end(later).startswith(b"HTTP/1.1 401 ")  # as long as a refused body may go on
        connection.sendall(frame(Opcode.PING, b"still here"))
        assert connection.recv(12) == b"\x8a\x0astill here"
        server.check_log()
