"""Clients that take their time: each is ended when its time is up, and nobody waits for all of them together."""

import contextlib
import itertools
from typing import Final

import msgpack

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
ROWS: Final = b"[" + b",".join([b'{"data":[1]}'] * 96) + b"]"
ANSWER: Final = 6 << 20  # bytes, and a little more, of the answers to that
HEAD: Final = b"GET /v1/echo HTTP/1.1\r\nHost: localhost\r\n"
BODY: Final = b"POST /v1/models/double/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
INFER: Final = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
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


def hold_out(arena: Arena, kinds: list[tuple[bytes, bytes]], most_left: int = MOST_LEFT) -> None:
    """Open a crowd of these kinds that sends slowly, until the server has ended all of it."""
    with arena.under_attack(most_left=most_left) as attack, crowd(arena.server, CROWD) as connections:
        groups = [connections[number :: len(kinds)] for number in range(len(kinds))]
        alive = [drip(group, first) for group, (first, _) in zip(groups, kinds, strict=True)]
        while attack.lasts(pause=0.05):
            alive = [drip(group, then) for group, (_, then) in zip(alive, kinds, strict=True)]
        until(lambda: not any(map(is_open, connections)), within=5)


def test_slow_lorises_are_ended_in_time(arena: Arena) -> None:
    hold_out(arena, list(LORISES.values()))


def test_handshakes_of_tls_that_never_end_are_ended(secure_arena: Arena) -> None:
    hold_out(secure_arena, [(b"", b""), (HELLO, b"x")], most_left=48 << 20)


ANSWERS = {
    "predictions": frame(Opcode.BINARY, msgpack.packb([{"data": b"\0\0\0\0"}] * 10)),
    "pongs": frame(Opcode.TEXT, b'{"op":"ping","t":"' + b"x" * 9000 + b'"}'),
}


def test_sockets_that_do_not_read_are_closed(arena: Arena) -> None:
    amid, left = 2 * FEW * MAX_WRITE_BYTES + (64 << 20), 48 << 20
    with arena.under_attack(most_amid=amid, most_left=left) as attack, contextlib.ExitStack() as stack:
        groups = []
        for octets in ANSWERS.values():
            sockets = [stack.enter_context(websocket(arena.server, WIDE, RECEIVE_BUFFER)) for _ in range(FEW)]
            groups.append((octets, sockets))
            for connection in sockets:
                connection.setblocking(False)
        while attack.lasts(pause=0.01):
            for octets, sockets in groups:
                drip(sockets, octets)
        for connection in itertools.chain.from_iterable(sockets for _, sockets in groups):
            connection.settimeout(5)
            send_and_read_to_end(connection, b"")


def test_requests_whose_answers_are_not_read_are_ended(arena: Arena) -> None:
    head = f"POST /v1/models/wide/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(ROWS)}\r\n\r\n"
    before = arena.server.descriptors
    with arena.under_attack(most_amid=256 << 20, most_left=64 << 20) as attack, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connection_to(arena.server, RECEIVE_BUFFER)) for _ in range(4)]
        for connection in connections:
            connection.sendall(head.encode() + ROWS)
        attack.hold()
        until(lambda: arena.server.descriptors <= before)
        assert all(len(read_to_end(connection)) < ANSWER for connection in connections)
