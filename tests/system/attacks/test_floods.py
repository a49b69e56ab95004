"""Floods on one socket: a client that sends more than its share gets its turn, and no more than that.

Each comes in bursts that take about 30 ms of the server's CPU, ten times a second. Taken in one turn they would be seen
in everybody's p99; the rest of the time is left free, so that what is measured is not how busy the machine is.
"""

import json

import pytest

from tests.conformance.frames import Opcode, frame

from ..client import open_stream
from .hostile import DOUBLE, flood, websocket
from .scene import Arena

TINY = frame(Opcode.CONTINUATION, b" ", fin=False) * 500
FLOODS = {
    "pings": frame(Opcode.PING) * 10_000,
    "pongs": frame(Opcode.PONG, b"?" * 125) * 10_000,
    "empty fragments": frame(Opcode.CONTINUATION, fin=False) * 15_000,
    "tiny fragments": (frame(Opcode.TEXT, fin=False) + TINY + frame(Opcode.CONTINUATION, b'{"op":"ping"}')) * 20,
    "events": frame(Opcode.TEXT, b'{"data":[1,2,3,4]}') * 3000,
    "wrong events": frame(Opcode.TEXT, b'{"data":[1]}') * 1000,
    "pings of the protocol": frame(Opcode.TEXT, b'{"op":"ping"}') * 3000,
}


@pytest.mark.parametrize("case", FLOODS)
def test_a_flood_is_taken_in_turns(arena: Arena, case: str) -> None:
    with arena.under_attack() as attack, websocket(arena.server) as connection:
        if case == "empty fragments":
            connection.sendall(frame(Opcode.TEXT, fin=False))
        flood(connection, FLOODS[case], attack)


def orders(hz: int) -> bytes:
    """Return an order of as many patterns as there can be, which fit nothing and have to be compared."""
    return frame(Opcode.TEXT, json.dumps(subscription([f"double/*x*{n}*" for n in range(64)], hz)).encode())


def subscription(topics: list[str], hz: int = 10) -> dict[str, object]:
    return {"op": "subscribe", "topics": topics, "hz": hz}


ORDERS = {
    "patterns": b"".join(orders(1 + n % 2) for n in range(20)),
    "names": frame(Opcode.TEXT, json.dumps([subscription([f"double/{n}"]) for n in range(32)]).encode()) * 4,
    "too many in a frame": frame(Opcode.TEXT, json.dumps([subscription(["double/*"])] * 900).encode()),
}


@pytest.mark.parametrize("case", ORDERS)
def test_a_flood_of_subscriptions_keeps_nobody_waiting(arena: Arena, case: str) -> None:
    with open_stream(arena.server, DOUBLE) as sensor:
        for key in range(1000):
            sensor.ask({"data": [1, 2, 3, 4], "key": f"k{key}"})
        with arena.under_attack() as attack, websocket(arena.server, "/v1/watch") as connection:
            flood(connection, ORDERS[case], attack)
