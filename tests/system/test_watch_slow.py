"""Watchers that do not read get less, then the latest, and are closed in time; producers do not notice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.certificates import Certificate
from tests.conformance.frames import Opcode, frame

from .client import TIMEOUT, Stream, decode, open_stream
from .metrics import Metrics
from .process import Server, running_server, until
from .raw import Wire

WIDE = "/v1/models/wide/stream"
SLOW_CONSUMER = 4008
RECEIVE_BUFFER = 65536
MOST_GROWTH = 60 << 20
KEYS = 60
ROUNDS = 6


@pytest.fixture(scope="module", params=["plain", "tls"])
def patient(request: pytest.FixtureRequest, zoo_models: Path, certificate: Certificate) -> Iterator[Server]:
    """Give a server that closes slow consumers late, over both kinds of sockets."""
    tls = certificate if request.param == "tls" else None
    arguments = tls.arguments if tls else ()
    trusted = tls.trusted() if tls else None
    with running_server("--models", str(zoo_models), *arguments, tls=trusted) as server:
        yield server


@pytest.fixture
def impatient(zoo_models: Path) -> Iterator[Server]:
    """Give a server that closes slow consumers soon."""
    with running_server("--models", str(zoo_models), "--slow-consumer-seconds", "0.4") as server:
        yield server


def order(message: Any) -> bytes:
    """Return the frame of an order."""
    return frame(Opcode.TEXT, json.dumps(message).encode())


def produce(sensor: Stream, rounds: int) -> None:
    """Have `wide` answer each key in turn: a round of updates is more than a socket holds that nobody reads."""
    for number in range(rounds * KEYS):
        assert sensor.ask({"id": number, "key": f"k{number % KEYS}", "data": b"\0\0\0\0"})["id"] == number


def test_a_watcher_that_stalls_gets_the_gap_and_then_the_latest(patient: Server) -> None:
    with open_stream(patient, WIDE, "msgpack") as sensor, Wire(patient, "/v1/watch", RECEIVE_BUFFER) as wire:
        wire.send(order({"op": "subscribe", "topics": ["wide/k*"], "hz": 60}))
        assert json.loads(wire.receive()[1])["op"] == "subscribed"
        before = patient.rss_bytes
        produce(sensor, ROUNDS)
        assert patient.rss_bytes - before < MOST_GROWTH
        seen: dict[str, int] = {}
        gaps, updates = [], 0
        while sum(seen.values()) < sum(range((ROUNDS - 1) * KEYS, ROUNDS * KEYS)):
            came = json.loads(wire.receive()[1])
            for message in came if isinstance(came, list) else [came]:
                if "topic" in message:
                    assert message["id"] >= seen.get(message["topic"], 0)
                    seen[message["topic"]] = message["id"]
                    updates += 1
                else:
                    gaps.append(message)
        assert gaps
        assert all(gap["why"] == "slow_consumer" and gap["count"] > 0 for gap in gaps)
        assert updates < ROUNDS * KEYS


def test_a_watcher_that_never_reads_is_closed_and_told_why(impatient: Server) -> None:
    with open_stream(impatient, WIDE, "msgpack") as sensor, Wire(impatient, "/v1/watch", RECEIVE_BUFFER) as wire:
        wire.send(order({"op": "subscribe", "topics": ["wide/*"], "hz": 60}))
        produce(sensor, ROUNDS)
        until(lambda: Metrics(impatient)("sockets") == 1)
        assert wire.close_code() in (SLOW_CONSUMER, None)  # None: it was cut with what it did not read
        produce(sensor, 1)


def test_a_neighbour_of_a_stalled_watcher_sees_everything(patient: Server) -> None:
    with (
        open_stream(patient, WIDE, "msgpack") as sensor,
        open_stream(patient, "/v1/watch", "msgpack") as neighbour,
        Wire(patient, "/v1/watch", RECEIVE_BUFFER) as wire,
    ):
        subscription = {"op": "subscribe", "topics": ["wide/n*"], "hz": 60}
        wire.send(frame(Opcode.BINARY, msgpack.packb(subscription)))
        neighbour.send(subscription)
        for number in range(2 * KEYS):
            sensor.ask({"id": number, "key": f"n{number % KEYS}", "data": b"\0\0\0\0"})
            wait_for(neighbour, number)


def wait_for(watcher: Stream, number: int) -> None:
    """Read until the update of that event, which no gap may stand before."""
    while True:
        came = decode(watcher.socket.recv(TIMEOUT))
        messages = came if isinstance(came, list) else [came]
        assert not any(message.get("op") == "gap" for message in messages)
        if any(message.get("id") == number for message in messages):
            return
