"""Clients that do not read: the server stops reading them too, keeps its memory, and closes them in time."""

from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from tests.conformance.frames import Opcode, frame

from .client import open_stream
from .conftest import StartServer
from .metrics import Metrics
from .process import Server, running_server, until
from .raw import Wire

DOUBLE = "/v1/models/double/stream"
WIDE = "/v1/models/wide/stream"

SLOW_CONSUMER = 4008
PATIENCE = 0.4  # --slow-consumer-seconds
RECEIVE_BUFFER = 65536
MOST_GROWTH = 40 << 20

FLOODS = {
    "echo": ("/v1/echo", frame(Opcode.BINARY, bytes(60_000))),
    "pings": ("/v1/echo", frame(Opcode.PING, b"x" * 125) * 100),
    "predictions": (DOUBLE, frame(Opcode.TEXT, b'{"data":[1,2,3,4]}') * 100),
    "large predictions": (WIDE, frame(Opcode.BINARY, msgpack.packb({"data": b"\0\0\0\0"})) * 100),
    "errors": (DOUBLE, frame(Opcode.TEXT, b'{"data":[1]}') * 100),
    "pongs of the protocol": (DOUBLE, frame(Opcode.TEXT, b'{"op":"ping","t":"' + b"x" * 9000 + b'"}')),
}


@pytest.fixture(scope="module")
def impatient(zoo_models: Path) -> Iterator[Server]:
    """Give a server that closes a slow consumer soon."""
    with running_server("--models", str(zoo_models), "--slow-consumer-seconds", str(PATIENCE)) as server:
        yield server


@pytest.mark.parametrize("case", FLOODS)
def test_a_client_that_never_reads_is_not_read_either_and_costs_bounded_memory(zoo: Server, case: str) -> None:
    path, octets = FLOODS[case]
    with open_stream(zoo, DOUBLE) as neighbour:
        before = zoo.rss_bytes
        with Wire(zoo, path, RECEIVE_BUFFER) as client:
            client.send_until_stuck(octets)
            assert zoo.rss_bytes - before < MOST_GROWTH
            assert neighbour.ask({"id": 1, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}


def test_a_client_that_never_reads_its_predictions_is_cut_and_its_neighbour_is_not(impatient: Server) -> None:
    path, octets = FLOODS["large predictions"]
    with open_stream(impatient, DOUBLE) as neighbour, Wire(impatient, path, RECEIVE_BUFFER) as client:
        client.send_until_stuck(octets, must_stick=False)
        until(lambda: Metrics(impatient)("sockets") == 1)
        assert neighbour.ask({"id": 1, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}


def test_a_client_that_lets_too_many_answers_pile_up_is_closed(start_server: StartServer) -> None:
    server = start_server("--max-message-bytes", "2000", "--max-write-bytes", "300000")
    with Wire(server, WIDE, RECEIVE_BUFFER) as client:
        client.send(frame(Opcode.BINARY, msgpack.packb({"data": b"\0\0\0\0"})) * 250)
        until(lambda: is_done(Metrics(server)))
        assert client.close_code() == SLOW_CONSUMER


def is_done(metrics: Metrics) -> bool:
    """Return whether rows have run and none waits any more, be it because they were cancelled."""
    return metrics("predictions_total", model="wide") > 0 and metrics("queue_depth", model="wide") == 0


def test_a_client_that_reads_as_fast_as_it_can_is_not_slow(impatient: Server) -> None:
    with open_stream(impatient, WIDE, "msgpack") as stream:
        for _ in range(50):
            for number in range(20):
                stream.send({"id": number, "data": b"\0\0\0\0"})
            assert [stream.receive()["id"] for _ in range(20)] == list(range(20))
