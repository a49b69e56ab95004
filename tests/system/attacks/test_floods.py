"""Floods on one socket: a client that sends more than its share gets its turn, and no more than that.

Each comes in bursts that take about 30 ms of the server's CPU, ten times a second. Taken in one turn they would be seen
in everybody's p99; the rest of the time is left free, so that what is measured is not how busy the machine is.
"""

import pytest

from tests.conformance.frames import Opcode, frame

from .hostile import flood, websocket
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
