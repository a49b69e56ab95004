"""Silence has its limits: for sockets that are idle, for peers that are gone, and for requests that never end."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.frames import Opcode, frame

from .client import Http, get, open_stream
from .conftest import StartServer
from .graphs import WIDE
from .metrics import Metrics
from .process import Server, running_server, until
from .raw import Wire, connection_to, read_to_end

DOUBLE = "/v1/models/double/stream"
NO_PONG = 4012
SLOW = 2.5  # seconds that may pass at most until what is due after a fraction of a second has happened

PREDICT = b"POST /v1/models/double/predict HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def pinging(zoo_models: Path) -> Iterator[Server]:
    """Give a server that soon misses its clients."""
    arguments = ("--ping-after-seconds", "0.25", "--pong-wait-seconds", "0.25", "--header-seconds", "0.3")
    with running_server("--models", str(zoo_models), *arguments) as server:
        yield server


def expect_ping(client: Wire) -> None:
    """Receive a ping."""
    assert client.receive()[0] is Opcode.PING


@pytest.mark.parametrize("path", ["/v1/echo", DOUBLE])
def test_an_idle_socket_is_pinged_and_stays_open_while_it_answers(pinging: Server, path: str) -> None:
    with Wire(pinging, path) as client:
        for _ in range(2):
            expect_ping(client)
            client.send(frame(Opcode.PONG))


def test_any_frame_is_a_sign_of_life(pinging: Server) -> None:
    with Wire(pinging, "/v1/echo") as client:
        for _ in range(2):
            expect_ping(client)
            client.send(frame(Opcode.TEXT, b"here"))
            assert client.receive() == (Opcode.TEXT, b"here")


def test_a_socket_that_speaks_is_not_pinged(pinging: Server) -> None:
    with Wire(pinging, "/v1/echo") as client:
        deadline = time.monotonic() + 0.6  # longer than the server would wait for a ping's answer
        while time.monotonic() < deadline:
            client.send(frame(Opcode.TEXT, b"here"))
            assert client.receive() == (Opcode.TEXT, b"here")


def test_a_peer_that_does_not_answer_is_closed_and_then_cut(pinging: Server) -> None:
    with Wire(pinging, DOUBLE) as client:
        expect_ping(client)
        assert client.close_code() == NO_PONG
        # The peer, who is gone, does not answer the close frame either.
        until(lambda: Metrics(pinging)("sockets") == 0)


def test_a_client_library_keeps_its_socket_open_by_itself(pinging: Server) -> None:
    with open_stream(pinging, DOUBLE) as stream:
        with Wire(pinging, DOUBLE) as other:
            assert other.close_code() == NO_PONG  # by now the first has been pinged too
        assert stream.ask({"id": 1, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}


def test_a_client_that_stopped_reading_for_a_while_is_pinged_before_it_is_given_up(pinging: Server) -> None:
    with Wire(pinging, "/v1/echo", 65536) as client:
        count = client.send_until_stuck(frame(Opcode.BINARY, bytes(60_000)))
        time.sleep(0.8)  # longer than ping and pong may take together; the server does not read now either
        echoes = pings = 0
        while echoes < count or not pings:
            opcode = client.receive()[0]
            assert opcode in (Opcode.BINARY, Opcode.PING)
            echoes += opcode is Opcode.BINARY
            if opcode is Opcode.PING:
                pings += 1
                client.send(frame(Opcode.PONG))


UNFINISHED = {
    "nothing": b"",
    "half a request line": b"GET /heal",
    "half a header": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAccept: ",
    "half an upgrade": b"GET /v1/echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
}


@pytest.mark.parametrize("case", UNFINISHED)
def test_a_request_that_is_not_finished_is_closed(pinging: Server, case: str) -> None:
    with connection_to(pinging) as connection:
        started = time.monotonic()
        connection.sendall(UNFINISHED[case])
        assert read_to_end(connection) == b""
        assert 0.15 < time.monotonic() - started < SLOW


def has_ended(connection: socket.socket) -> bool:
    """Return whether the server has ended the connection within the socket's timeout."""
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_header_that_comes_drop_by_drop_is_closed_all_the_same(pinging: Server) -> None:
    with connection_to(pinging) as connection:
        started = time.monotonic()
        connection.sendall(b"GET /v1/echo HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        connection.settimeout(0.05)
        while not has_ended(connection):
            assert time.monotonic() - started < SLOW
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x")


def test_an_idle_connection_is_closed_but_a_websocket_is_not(pinging: Server) -> None:
    with open_stream(pinging, DOUBLE) as stream, connection_to(pinging) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_to_end(connection).endswith(b'{"live":true}')
        assert stream.ask({"id": 1, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}


def test_a_body_that_does_not_come_holds_up_nobody(start_server: StartServer) -> None:
    server = start_server("--header-seconds", "0.4")  # which ends with exit code 0 although the body never comes
    with connection_to(server) as connection:
        connection.sendall(PREDICT + b"Content-Length: 10\r\n\r\n{")
        assert get(server, "/healthz").status == 200
        server.terminate()
        assert read_to_end(connection) == b""


@pytest.fixture(scope="module")
def hasty(zoo_models: Path) -> Iterator[Server]:
    """Give a server that does not wait long for bodies."""
    with running_server("--models", str(zoo_models), "--body-seconds", "0.4") as server:
        yield server


@pytest.mark.parametrize("head", [PREDICT, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
@pytest.mark.parametrize("body", [b"Content-Length: 10\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
def test_a_body_that_comes_too_slowly_ends_the_connection(hasty: Server, head: bytes, body: bytes) -> None:
    with connection_to(hasty) as connection:
        started = time.monotonic()
        connection.sendall(head + body)
        read_to_end(connection)
        assert 0.15 < time.monotonic() - started < SLOW


@pytest.mark.parametrize("body", [b"Content-Length: 10\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
def test_a_client_that_leaves_amid_its_body_leaves_nothing_behind(start_server: StartServer, body: bytes) -> None:
    server = start_server()  # whose log tells when it ends of requests that still wait
    with connection_to(server) as connection:
        connection.sendall(PREDICT + body)
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection) == b""


def test_a_client_that_leaves_before_its_answer_leaves_nothing_behind(start_server: StartServer) -> None:
    server = start_server()
    body = b'[{"data":1000},{"data":1000}]'
    with connection_to(server) as connection:
        head = PREDICT.replace(b"double", b"slow")
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        with Http(server) as http:
            assert http.request("GET", "/healthz").status == 200
    until(lambda: Metrics(server)("events_total") == 2)  # which a request adds when it is done


ROWS = 256
LARGE = b"[" + b",".join([b'{"data":[1]}'] * ROWS) + b"]"  # whose answer is more than the kernels of both sides hold
ANSWER = ROWS * WIDE * 4  # bytes, and more, of that


@pytest.fixture(scope="module")
def impatient(zoo_models: Path) -> Iterator[Server]:
    """Give a server that does not wait long for its answers to be read."""
    with running_server("--models", str(zoo_models), "--slow-consumer-seconds", "1.6") as server:
        yield server


def ask_much(connection: socket.socket) -> None:
    """Send a request with a large answer, and wait for its beginning."""
    connection.sendall(PREDICT.replace(b"double", b"wide") + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE)
    assert connection.recv(12) == b"HTTP/1.1 200"


def test_an_answer_that_nobody_reads_ends_the_connection(impatient: Server) -> None:
    before = impatient.descriptors
    with connection_to(impatient, 65536) as connection:
        ask_much(connection)
        until(lambda: impatient.descriptors == before)
        assert len(read_to_end(connection)) < ANSWER


def test_an_answer_that_is_read_slowly_arrives(impatient: Server) -> None:
    with connection_to(impatient, 65536) as connection:
        ask_much(connection)
        started, octets = time.monotonic(), 12
        while time.monotonic() - started < 4.0:  # in which the kernel asks for more but once or twice
            octets += len(connection.recv(1 << 14))
            time.sleep(0.05)
        while octets <= ANSWER:
            chunk = connection.recv(1 << 18)
            assert chunk, f"the answer ends after {octets} bytes"
            octets += len(chunk)
