"""Connections in masses: ten thousand sockets in ten seconds, and sockets that break off in every state."""

import contextlib
import itertools
import re
import selectors
import socket
import struct
import time
from collections import Counter
from typing import Final

import pytest

from tests.conformance.frames import Opcode, frame

from ..metrics import Metrics
from ..process import Server, until
from ..raw import upgrade_request
from .hostile import DOUBLE
from .scene import Arena, Measure

STORM: Final = 10_000
SECONDS: Final = 10.0
ANSWERED_WITHIN: Final = 20.0  # seconds after the last has come
RESET: Final = struct.pack("ii", 1, 0)  # linger: closing does not say goodbye
STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Storm:
    """Sockets that are opened at a steady rate, each with its handshake, and kept."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._selector = selectors.DefaultSelector()
        self.sockets: list[socket.socket] = []
        self.statuses: Counter[int] = Counter()  # with which handshakes were answered; 0: not at all

    def blow(self, count: int, seconds: float, attack: Measure) -> None:
        """Open so many sockets in that time, and wait until each has been answered."""
        request = upgrade_request(self._server, DOUBLE)
        started = time.monotonic()
        while len(self.sockets) < count:
            due = min(count, int((time.monotonic() - started) / seconds * count) + 1)
            for _ in range(due - len(self.sockets)):
                self._open(request)
            self._take(timeout=0.001)
            attack.lasts()
        until(lambda: self._take(timeout=0.1) == count, within=ANSWERED_WITHIN)

    def close(self) -> None:
        """Close all at once, without a goodbye."""
        for connection in self.sockets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()
        self._selector.close()

    def _open(self, request: bytes) -> None:
        connection = socket.socket()
        self.sockets.append(connection)
        connection.connect(self._server.address)
        connection.sendall(request)
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)

    def _take(self, timeout: float) -> int:
        """Take the answers that have come; return how many came so far."""
        for key, _ in self._selector.select(timeout):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            octets = b""
            with contextlib.suppress(ConnectionError):
                octets = connection.recv(4096)
            matched = STATUS.match(octets)
            self.statuses[int(matched[1]) if matched else 0] += 1
            self._selector.unregister(connection)
        return self.statuses.total()


@pytest.mark.alone
def test_a_storm_of_ten_thousand_sockets_is_answered(arena: Arena) -> None:
    with arena.under_attack(rounds=12, most_amid=300 << 20, most_left=100 << 20) as attack:
        for _ in range(3):  # more than one only where others are at work on the machine that runs the tests
            with contextlib.closing(Storm(arena.server)) as storm:
                storm.blow(STORM, SECONDS, attack)
                assert set(storm.statuses) <= {101, 429, 503}, storm.statuses
                assert Metrics(arena.server)("sockets") >= storm.statuses[101]
            if attack.is_bearable:
                break


#: After which octets of a conversation the client resets the connection.
UPTO: Final = (
    b"",
    b"GET /v1/echo HT",
    b"POST /v1/models/slow/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n",
    b'POST /v1/models/slow/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n{"data":500}',
    b"GET /v1/watch/sse?topics=* HTTP/1.1\r\nHost: localhost\r\n\r\n",
)


def test_sockets_that_break_off_in_every_state_leave_nothing(arena: Arena) -> None:
    upgrade = upgrade_request(arena.server, "/v1/models/slow/stream")
    event = frame(Opcode.TEXT, b'{"data":500}')
    states = [*UPTO, upgrade, upgrade + event, upgrade + event * 50, upgrade + frame(Opcode.CLOSE)]
    with arena.under_attack() as attack:
        for octets in itertools.cycle(states):
            with socket.create_connection(arena.server.address) as connection:
                connection.sendall(octets)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if not attack.lasts(pause=0.001):
                break
    until(lambda: Metrics(arena.server)("queue_depth", model="slow") == 0)
