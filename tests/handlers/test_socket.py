"""The heartbeat's view of one connection, tick by tick: what no real clock would repeat."""

import asyncio

from handlers.frames import Opcode
from handlers.heartbeat import Heartbeat, HeartbeatOptions
from handlers.socket import WebSocketConnection


class Recorder(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.opcodes: list[int] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the frame's opcode."""
        self.opcodes.append(data[0] & 15)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take any limits."""

    def is_closing(self) -> bool:
        """Stay open."""
        return False

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
