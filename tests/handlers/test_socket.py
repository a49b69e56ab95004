"""One connection, tick by tick and write by write: what no real clock and no real socket would repeat."""

import asyncio

from handlers.frames import Opcode
from handlers.heartbeat import Heartbeat, HeartbeatOptions
from handlers.socket import WebSocketConnection


class Recorder(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    @property
    def opcodes(self) -> list[int]:
        """The opcodes of the first frame of each write."""
        return [data[0] & 15 for data in self.written]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what is written."""
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Send nothing."""
        return sum(map(len, self.written))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take any limits."""

    def is_closing(self) -> bool:
        """Stay open unless the test says otherwise."""
        return self.closing

    def pause_reading(self) -> None:
        """Do nothing: bytes come only when the test gives them."""

    def resume_reading(self) -> None:
        """Do nothing."""


async def new_heartbeat() -> Heartbeat:
    return Heartbeat(HeartbeatOptions())


def connected() -> tuple[WebSocketConnection, Recorder, Heartbeat]:
    heartbeat = asyncio.run(new_heartbeat())
    connection, transport = WebSocketConnection(heartbeat, 1 << 20, 1 << 20), Recorder()
    connection.connection_made(transport)
    return connection, transport, heartbeat


def test_a_silent_peer_is_pinged_and_then_closed() -> None:
    connection, transport, heartbeat = connected()
    for _ in range(heartbeat.dead_after):
        connection.tick(0)
    assert transport.opcodes == [Opcode.PING]
    connection.tick(0)
    assert transport.opcodes == [Opcode.PING, Opcode.CLOSE]


def test_the_time_in_which_a_peer_was_not_read_is_no_silence_of_its_own() -> None:
    connection, transport, heartbeat = connected()
    heartbeat.slow_after = 10 * heartbeat.dead_after
    connection.pause_writing()
    for _ in range(2 * heartbeat.dead_after):
        connection.tick(0)
    connection.resume_writing()
    for _ in range(heartbeat.ping_after):
        assert transport.opcodes == []
        connection.tick(0)
    assert transport.opcodes == [Opcode.PING]


def test_what_was_corked_leaves_in_one_write() -> None:
    connection, transport, _ = connected()
    connection.send(Opcode.TEXT, b"before")
    connection.cork()
    connection.send(Opcode.TEXT, b"a")
    connection.send(Opcode.BINARY, bytes(200))
    assert transport.written == [b"\x81\x06before"]
    connection.uncork()
    connection.send(Opcode.TEXT, b"after")
    assert transport.written[1:] == [b"\x81\x01a\x82\x7e\x00\xc8" + bytes(200), b"\x81\x05after"]


def test_a_close_goes_behind_what_was_corked() -> None:
    connection, transport, _ = connected()
    connection.cork()
    connection.send(Opcode.TEXT, b"a")
    connection.close(1001, "bye")
    connection.send(Opcode.TEXT, b"too late")
    connection.uncork()
    assert transport.written == [b"\x81\x01a", b"\x88\x05\x03\xe9bye"]


def test_what_was_corked_on_a_lost_connection_is_dropped() -> None:
    connection, transport, _ = connected()
    connection.cork()
    connection.send(Opcode.TEXT, b"a")
    transport.closing = True
    connection.uncork()
    assert transport.written == []


def test_a_slow_client_is_closed_by_what_was_corked_and_only_once() -> None:
    connection, transport, _ = connected()
    connection.pause_writing()
    connection.cork()
    for _ in range(3):
        connection.send(Opcode.BINARY, bytes(1 << 19))
    connection.uncork()
    assert transport.opcodes == [Opcode.BINARY, Opcode.CLOSE]
