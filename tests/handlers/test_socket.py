"""One connection, tick by tick and write by write: what no real clock and no real socket would repeat."""

import asyncio
import itertools

from handlers.frames import Opcode
from handlers.heartbeat import Heartbeat, HeartbeatOptions
from handlers.socket import WebSocketConnection
from tests.conformance.frames import frame

PINGS = 1000


class Recorder(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False
        self.reads = True

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
        """Take note: bytes come only when the test gives them."""
        self.reads = False

    def resume_reading(self) -> None:
        """Take note."""
        self.reads = True


async def new_heartbeat() -> Heartbeat:
    return Heartbeat(HeartbeatOptions())


def connected() -> tuple[WebSocketConnection, Recorder, Heartbeat]:
    heartbeat = asyncio.run(new_heartbeat())
    connection, transport = WebSocketConnection(heartbeat, 1 << 20, 1 << 20), Recorder()
    connection.connection_made(transport)
    return connection, transport, heartbeat


async def flooded() -> tuple[WebSocketConnection, Recorder]:
    """Return a connection to which many pings came at once."""
    connection, transport = WebSocketConnection(await new_heartbeat(), 1 << 20, 1 << 20), Recorder()
    connection.connection_made(transport)
    connection.data_received(frame(Opcode.PING) * PINGS)
    return connection, transport


async def turns_of(transport: Recorder) -> list[int]:
    """Return how much was written after each turn of the loop, until the socket is read again."""
    turns = [len(transport.written)]
    for _ in range(PINGS):
        if transport.reads:
            break
        await asyncio.sleep(0)
        turns.append(len(transport.written))
    return turns


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


def test_a_socket_that_sends_much_lets_others_have_their_turns_and_is_not_read_meanwhile() -> None:
    async def scenario() -> list[int]:
        _, transport = await flooded()
        return await turns_of(transport)

    turns = asyncio.run(scenario())
    assert turns[-1] == PINGS
    assert max(after - before for before, after in itertools.pairwise([0, *turns])) <= 32


def test_a_socket_that_waits_for_its_turn_waits_for_its_client_to_read_too() -> None:
    async def scenario() -> None:
        connection, transport = await flooded()
        connection.pause_writing()
        count = len(transport.written)
        for _ in range(3):
            await asyncio.sleep(0)
            assert (len(transport.written), transport.reads) == (count, False)
        connection.resume_writing()
        assert (await turns_of(transport))[-1] == PINGS

    asyncio.run(scenario())


def test_what_waits_for_its_turn_is_dropped_with_its_connection() -> None:
    async def scenario() -> None:
        connection, transport = await flooded()
        count, transport.closing = len(transport.written), True
        connection.connection_lost(None)
        await asyncio.sleep(0)
        assert (len(transport.written), transport.reads) == (count, False)

    asyncio.run(scenario())
