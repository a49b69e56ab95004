"""Clients that take their time: each is ended when its time is up, and nobody waits for all of them together."""

import contextlib
from typing import Final

import msgpack
import pytest

from tests.conformance.frames import Opcode, frame

from ..process import until
from ..raw import connection_to, read_to_end, send_and_read_to_end
from .hostile import crowd, drip, is_open, websocket
from .scene import MOST_LEFT, Arena

CROWD: Final = 500
WIDE: Final = "/v1/models/wide/stream"
FEW: Final = 10
RECEIVE_BUFFER: Final = 65536
MAX_WRITE_BYTES: Final = 4 << 20  # the server's default
ROWS: Final = b"[" + b",".join([b'{"data":[1]}'] * 64) + b"]"
ANSWER: Final = 4 << 20  # bytes, and a little more, of the answers to that
HEAD: Final = b"GET /v1/echo HTTP/1.1\r\nHost: x\r\n"
BODY: Final = b"POST /v1/models/double/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
INFER: Final = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
HELLO: Final = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"  # a record of 16 KiB that never becomes whole

#: What comes first, and what comes then, again and again.
LORISES = {
    "nothing": (b"", b""),
    "request lines": (b"GET /", b"a"),
    "headers": (HEAD, b"X-a: b\r\n"),
    "one header": (HEAD + b"X: ", b"x"),
    "bodies in chunks": (BODY, b"1\r\n{\r\n"),
    "bodies": (INFER, b" "),
}


def hold_out(arena: Arena, first: bytes, then: bytes, most_left: int = MOST_LEFT) -> None:
    """Open a crowd that sends slowly, until the server has ended all of it."""
    with arena.under_attack(most_left=most_left) as attack, crowd(arena.server, CROWD) as connections:
        alive = drip(connections, first)
        while attack.lasts(pause=0.05):
            alive = drip(alive, then)
        until(lambda: not any(map(is_open, connections)), within=5)


@pytest.mark.parametrize("case", LORISES)
def test_a_slow_loris_is_ended_in_time(arena: Arena, case: str) -> None:
    hold_out(arena, *LORISES[case])


@pytest.mark.parametrize("case", ["nothing", "half a handshake"])
def test_a_handshake_of_tls_that_never_ends_is_ended(secure_arena: Arena, case: str) -> None:
    hold_out(secure_arena, *((b"", b"") if case == "nothing" else (HELLO, b"x")), most_left=48 << 20)


ANSWERS = {
    "predictions": frame(Opcode.BINARY, msgpack.packb([{"data": b"\0\0\0\0"}] * 10)),
    "pongs": frame(Opcode.TEXT, b'{"op":"ping","t":"' + b"x" * 9000 + b'"}'),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_sockets_that_do_not_read_are_closed(arena: Arena, case: str) -> None:
    amid, left = FEW * MAX_WRITE_BYTES + (64 << 20), 48 << 20
    with arena.under_attack(most_amid=amid, most_left=left) as attack, contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(websocket(arena.server, WIDE, RECEIVE_BUFFER)) for _ in range(FEW)]
        for connection in sockets:
            connection.setblocking(False)
        alive = sockets
        while attack.lasts(pause=0.01):
            alive = drip(alive, ANSWERS[case])
        for connection in sockets:
            connection.settimeout(5)
            send_and_read_to_end(connection, b"")


def test_requests_whose_answers_are_not_read_are_ended(arena: Arena) -> None:
    head = f"POST /v1/models/wide/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ROWS)}\r\n\r\n"
    with arena.under_attack(most_amid=256 << 20, most_left=64 << 20) as attack, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connection_to(arena.server, RECEIVE_BUFFER)) for _ in range(4)]
        for connection in connections:
            connection.sendall(head.encode() + ROWS)
        attack.hold()
        assert all(len(read_to_end(connection)) < ANSWER for connection in connections)
