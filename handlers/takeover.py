"""Hands a connection from Tornado over to an `asyncio.Protocol` once its request was read."""

import asyncio
import contextlib
import socket
from typing import Any, Protocol, cast

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from handlers.speedups import uvloop

_CHUNK = 65536
_BACKLOG = 131072  # bytes


class Connection(Protocol):
    """What takes the connection: an `asyncio.Protocol` by its methods; a compiled class has no foreign base."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""

    def data_received(self, data: bytes) -> None:
        """Handle bytes."""

    def pause_writing(self) -> None:
        """Send nothing for a while."""

    def resume_writing(self) -> None:
        """Send again."""


def keep_fresh(transport: asyncio.Transport) -> None:
    """Let little wait on the way to a watcher, here and in the kernel: what waits gets old."""
    transport.set_write_buffer_limits(high=_BACKLOG)
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BACKLOG)


def address_of(transport: asyncio.Transport) -> str:
    """Return the address at the other end; empty once it is gone."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


async def take_over(stream: IOStream, response: bytes, connection: Connection) -> None:
    """Send the `response` and connect `connection` to the socket of the detached `stream`.

    On uvloop the socket moves to a native transport. TLS sockets, and all sockets on other loops, stay on Tornado's
    IOStream: slower, with the same behaviour.
    """
    if stream.closed():  # the client has gone again
        return
    loop = asyncio.get_running_loop()
    native = uvloop is not None and isinstance(loop, uvloop.Loop)
    with contextlib.suppress(OSError, StreamClosedError):  # it goes now
        if native and not isinstance(stream, SSLIOStream) and not stream.writing():
            await _move_to_native(stream, response, connection)
        else:
            stream.set_nodelay(True)
            await stream.write(response)
            await StreamTransport(stream, connection).pump()


async def _move_to_native(stream: IOStream, response: bytes, connection: Connection) -> None:
    IOLoop.current().remove_handler(stream.fileno())
    sock = stream.socket.dup()
    stream.socket.close()
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.send(response) != len(response):
            raise BlockingIOError("no room for the response")
        protocol = cast(asyncio.Protocol, connection)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, sock)
    except OSError:
        sock.close()
        raise


class StreamTransport(asyncio.Transport):
    """Tornado's IOStream under the face of an asyncio transport."""

    def __init__(self, stream: IOStream, connection: Connection) -> None:
        super().__init__({"socket": stream.socket})
        self._stream = stream
        self._connection = connection
        self._high = 65536
        self._unsent = 0
        self._paused = False  # the protocol's writing
        self._readable = asyncio.Event()
        self._readable.set()
        self._closing = False
        self._ending = False
        self._outgoing: list[bytes] = []

    async def pump(self) -> None:
        """Read until the end, for as long as the connection lives."""
        connection, stream = self._connection, self._stream
        connection.connection_made(self)
        try:
            while True:
                await self._readable.wait()
                data = await stream.read_bytes(_CHUNK, partial=True)
                connection.data_received(data)
        except StreamClosedError:
            pass
        finally:
            stream.close()
            connection.connection_lost(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes; those of one turn of the loop leave together."""
        if self._closing or self._ending or self._stream.closed():
            return
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(bytes(data))
        self._unsent += len(data)
        if self._unsent > self._high and not self._paused:
            self._paused = True
            self._connection.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that the kernel has not taken."""
        return self._unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the mark at which the protocol is told to pause."""
        del low
        self._high = 65536 if high is None else high

    def pause_reading(self) -> None:
        """Stop reading after the chunk that is under way."""
        self._readable.clear()

    def resume_reading(self) -> None:
        """Read again."""
        self._readable.set()

    def can_write_eof(self) -> bool:
        """Return whether one half can be closed, which TLS cannot."""
        return not isinstance(self._stream, SSLIOStream)

    def write_eof(self) -> None:
        """Close our half after what is queued was sent."""
        self._flush()
        self._ending = True
        self._end_if_sent()

    def is_closing(self) -> bool:
        """Return whether nothing more will be sent."""
        return self._closing or self._stream.closed()

    def close(self) -> None:
        """Close after what is queued was sent."""
        if not self._closing:
            self._flush()
            self._closing = True
            self._end_if_sent()
            self._readable.set()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._stream.close()
        self._readable.set()

    def _flush(self) -> None:
        if not self._outgoing or self._stream.closed():
            return
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        try:
            written = self._stream.write(data)
        except StreamClosedError:
            return
        written.add_done_callback(lambda done: self._sent(len(data), done))

    def _sent(self, count: int, done: Any) -> None:
        if done.cancelled() or done.exception() is not None:
            return  # the reader sees the closed stream
        self._unsent -= count
        if self._paused and self._unsent <= self._high // 4:
            self._paused = False
            self._connection.resume_writing()
        self._end_if_sent()

    def _end_if_sent(self) -> None:
        if self._unsent or self._stream.closed():
            return
        if self._closing:
            self._stream.close()
        elif self._ending:
            with contextlib.suppress(OSError):
                self._stream.socket.shutdown(socket.SHUT_WR)
