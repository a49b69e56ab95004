"""The same promises on every transport: uvloop's, TLS, and Tornado's stream where uvloop is missing."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import Certificate
from tests.conformance.frames import Opcode, close_frame, frame

from .client import ENCODINGS, Http, open_stream
from .metrics import Metrics
from .process import Server, running_server, until
from .raw import Wire

DOUBLE = "/v1/models/double/stream"
EVENT = {"id": 1, "data": [1, 2, 3, 4]}
ANSWER = {"id": 1, "outputs": {"y": [2, 4, 6, 8]}}
CHUNK = frame(Opcode.BINARY, bytes(60_000))
RECEIVE_BUFFER = 65536
PATIENCE = 0.4
MOST_GROWTH = 40 << 20

TRANSPORTS = ("uvloop", "TLS", "fallback")


@contextmanager
def server_on(transport: str, models: Path, certificate: Certificate, *arguments: str) -> Iterator[Server]:
    """Run a server whose sockets are on that transport."""
    secure, missing = "TLS" in transport, "fallback" in transport
    with running_server(
        *("--models", str(models)),
        *(certificate.arguments if secure else ()),
        *arguments,
        env=without_uvloop(models) if missing else None,
        tls=certificate.trusted() if secure else None,
    ) as server:
        assert ("uvloop is not installed" in server.log) == missing
        yield server


def without_uvloop(folder: Path) -> dict[str, str]:
    """Return an environment in which uvloop cannot be imported."""
    hiding = folder.parent / "hiding-uvloop"
    hiding.mkdir(exist_ok=True)
    (hiding / "uvloop.py").write_text('raise ImportError("hidden by a test")\n')
    return {"PYTHONPATH": str(hiding)}


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Give the name of a transport."""
    name = request.param
    assert isinstance(name, str)
    return name


@pytest.fixture(scope="module")
def patient(transport: str, zoo_models: Path, certificate: Certificate) -> Iterator[Server]:
    """Give a server with the default settings."""
    with server_on(transport, zoo_models, certificate) as server:
        yield server


@pytest.fixture(scope="module")
def impatient(transport: str, zoo_models: Path, certificate: Certificate) -> Iterator[Server]:
    """Give a server that waits for nobody."""
    settings = ("--slow-consumer-seconds", "--ping-after-seconds", "--pong-wait-seconds")
    arguments = [text for name in settings for text in (name, str(PATIENCE))]
    with server_on(transport, zoo_models, certificate, *arguments) as server:
        yield server


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_events_are_answered(patient: Server, encoding: str) -> None:
    with open_stream(patient, DOUBLE + "?tensors=list", encoding, announced=True) as stream:
        assert stream.receive()["op"] == "welcome"
        for _ in range(20):
            assert stream.ask(EVENT) == ANSWER
        stream.send([EVENT] * 200)
        assert [stream.receive() for _ in range(200)] == [ANSWER] * 200
        assert "error" in stream.ask({"data": []})


def test_requests_are_answered(patient: Server) -> None:
    with Http(patient) as http:
        for _ in range(3):
            assert http.request("GET", "/healthz").json == {"live": True}
            assert http.request("POST", "/v1/models/double/predict", json.dumps(EVENT)).json == ANSWER


@pytest.mark.parametrize("size", [0, 1, 125, 126, 16383, 16384, 16385, 65535, 65536, 1 << 20])
def test_messages_of_any_size_come_back(patient: Server, size: int) -> None:
    with open_stream(patient, "/v1/echo") as stream:
        message = bytes(range(256)) * (size // 256) + bytes(size % 256)
        stream.send_raw(message)
        assert stream.socket.recv(5) == message
        stream.send_raw("ä" * (size // 2))
        assert stream.socket.recv(5) == "ä" * (size // 2)


def test_many_messages_in_flight_come_back_in_order(patient: Server) -> None:
    with Wire(patient, "/v1/echo") as client:
        client.send(b"".join(frame(Opcode.TEXT, str(number).encode()) for number in range(5000)))
        assert [client.receive()[1] for _ in range(5000)] == [str(number).encode() for number in range(5000)]


def test_messages_that_come_octet_by_octet_are_understood(patient: Server) -> None:
    with Wire(patient, "/v1/echo") as client:
        for octet in frame(Opcode.TEXT, b"slowly") + frame(Opcode.PING, b"?"):
            client.send(bytes([octet]))
        assert client.receive() == (Opcode.TEXT, b"slowly")
        assert client.receive() == (Opcode.PONG, b"?")


def test_the_client_s_close_is_answered_and_the_connection_ended(patient: Server) -> None:
    with Wire(patient, "/v1/echo") as client:
        client.send(frame(Opcode.TEXT, b"last words") + close_frame(1000, b"bye"))
        assert client.receive() == (Opcode.TEXT, b"last words")
        assert client.close_code() == 1000
        client.expect_end()


@pytest.mark.parametrize(
    ("octets", "code"),
    [(frame(3), 1002), (frame(Opcode.TEXT, b"\xff"), 1007), (frame(Opcode.BINARY, bytes((1 << 20) + 1)), 1009)],
)
def test_a_violation_is_told_before_the_connection_ends(patient: Server, octets: bytes, code: int) -> None:
    with Wire(patient, "/v1/echo") as client:
        client.send(octets)
        assert client.close_code() == code


def test_the_server_s_own_close_reaches_the_client(patient: Server) -> None:
    with open_stream(patient, DOUBLE) as stream:
        for _ in range(100):
            stream.send({"dta": 1})
        assert stream.close_code() == 4501
    until(lambda: Metrics(patient)("sockets") == 0)


def test_a_client_that_vanishes_is_forgotten(patient: Server) -> None:
    with Wire(patient, DOUBLE) as client:
        client.send(frame(Opcode.TEXT, b'[{"data":[1,2,3,4]}'))
        until(lambda: Metrics(patient)("sockets") == 1)
    until(lambda: Metrics(patient)("sockets") == 0)


def test_a_client_that_does_not_read_is_not_read_and_misses_nothing(patient: Server) -> None:
    before = patient.rss_bytes
    with Wire(patient, "/v1/echo", RECEIVE_BUFFER) as client:
        count = client.send_until_stuck(CHUNK)
        assert patient.rss_bytes - before < MOST_GROWTH
        assert [client.receive() for _ in range(count)] == [(Opcode.BINARY, bytes(60_000))] * count
        client.send(frame(Opcode.TEXT, b"and on"))
        assert client.receive() == (Opcode.BINARY, bytes(60_000))
        assert client.receive() == (Opcode.TEXT, b"and on")


def test_clients_that_do_not_read_are_told_why_they_are_closed_and_cut(impatient: Server) -> None:
    with (
        Wire(impatient, "/v1/echo", RECEIVE_BUFFER) as never,
        Wire(impatient, "/v1/echo", RECEIVE_BUFFER) as too_late,
    ):
        for client in (never, too_late):
            client.send_until_stuck(CHUNK, must_stick=False)
        time.sleep(2 * PATIENCE)  # the promise is about time; nothing tells from outside that it has passed
        assert too_late.close_code() == 4008
        until(lambda: Metrics(impatient)("sockets") == 0)


def test_an_idle_client_is_pinged_and_then_given_up(impatient: Server) -> None:
    with Wire(impatient, "/v1/echo") as client:
        assert client.receive() == (Opcode.PING, b"")
        client.send(frame(Opcode.PONG))
        assert client.receive() == (Opcode.PING, b"")
        assert client.close_code() == 4012


def test_a_terminated_server_answers_what_is_in_flight(
    transport: str, zoo_models: Path, certificate: Certificate
) -> None:
    with server_on(transport, zoo_models, certificate) as server:
        with open_stream(server, "/v1/models/slow/stream") as stream:
            stream.send([{"id": number, "data": 1000} for number in range(12)])
            until(lambda: Metrics(server)("queue_depth", model="slow") == 4)
            server.terminate()
            assert stream.receive()["op"] == "goaway"
            assert [stream.receive()["id"] for _ in range(12)] == list(range(12))
            assert stream.close_code() == 1001
        assert server.wait() == 0
