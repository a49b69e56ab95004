"""A WebSocket after its handshake: reads, writes, bounds, heartbeat and the closing handshake."""

import asyncio
import logging
import time
from enum import Enum
from logging import DEBUG
from typing import Any, Final, cast

from handlers.frames import (
    SHORT_HEADERS,
    FrameDecoder,
    Opcode,
    ProtocolViolation,
    encode_close,
    encode_frame,
    parse_close,
)
from handlers.heartbeat import Heartbeat
from pipeline.errors import CloseCode

log: Final = logging.getLogger(__name__)

_HIGH_WATER: Final = 256 * 1024  # unsent bytes at which a socket is no longer read
_BINARY: Final = int(Opcode.BINARY)
_TURN: Final = 32  # frames of a socket in one turn of the loop, less of long ones: others wait for no more than that


class State(Enum):
    """Where a connection stands (RFC 6455 section 7)."""

    OPEN = 1
    CLOSING = 2  # our close frame is sent, the peer's is awaited
    FINISHED = 3  # both are sent, or the peer broke the protocol; all that comes is ignored


_OPEN: Final = State.OPEN


class WebSocketConnection:
    """One client's connection: an `asyncio.Protocol` on a transport of uvloop's or on one that looks the same.

    Subclasses override `opened`, `message_received` and `closed`; `closed` is called exactly once.
    """

    __slots__ = (
        "_corked",
        "_decoder",
        "_heartbeat",
        "_max_write_bytes",
        "_quiet",
        "_shard",
        "_stalled",
        "_state",
        "_ticks_left",
        "_told_closed",
        "_turn",
        "_waits",
        "is_made",
        "opened_at",
        "transport",
    )

    def __init__(self, heartbeat: Heartbeat, max_message_bytes: int, max_write_bytes: int) -> None:
        self._heartbeat = heartbeat
        self._decoder = FrameDecoder(max_message_bytes)
        self._max_write_bytes = max_write_bytes
        self._turn = _TURN
        self._state = State.OPEN
        self._shard = 0
        self._quiet = 0  # ticks since the last byte came
        self._stalled = -1  # ticks since the write buffer passed its high-water mark; -1: it is below
        self._ticks_left = 0  # until a hanging close is cut
        self._told_closed = False
        self.opened_at = time.monotonic()
        self.is_made = False
        self._waits = False  # for its next turn
        self._corked: list[bytes] | None = None  # frames that are held back
        self.transport: asyncio.Transport

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.name} quiet={self._quiet} stalled={self._stalled}>"

    @property
    def name(self) -> str:
        """The session's id."""
        raise NotImplementedError

    def describe(self) -> Any:
        """Return what operators are told (`SessionInfo`)."""
        raise NotImplementedError

    @property
    def event_count(self) -> int:
        """How many events came on this socket."""
        return 0

    @property
    def is_idle(self) -> bool:
        """Whether every event that came was answered."""
        return True

    def admits_control(self) -> bool:
        """Return whether the client may send another ping or pong."""
        return True

    def live_streams(self) -> list[Any]:
        """Return the `Stream`s of this socket."""
        return []

    def opened(self) -> None:
        """React to the connection being ready."""

    def message_received(self, opcode: int, payload: bytes) -> None:
        """React to a whole message; `opcode` is TEXT or BINARY, text is valid UTF-8."""

    def closed(self) -> None:
        """React to the end: nothing more can be sent."""

    def send(self, opcode: int, payload: bytes) -> None:
        """Send one message; dropped once closing has begun."""
        if self._state is not _OPEN:
            return
        length = len(payload)
        frame = SHORT_HEADERS[opcode][length] + payload if length < 126 else encode_frame(opcode, payload)
        if self._corked is not None:
            self._corked.append(frame)
        else:
            self.send_frame(frame)

    def send_frame(self, frame: bytes) -> None:
        """Send what is a frame already; dropped once closing has begun."""
        if self._state is not _OPEN:
            return
        self.transport.write(frame)
        if self._stalled >= 0:
            self._check_stalled()

    def cork(self) -> None:
        """Hold frames back until `uncork`, which must follow in the same turn of the loop."""
        if self._state is _OPEN:
            self._corked = []

    def uncork(self) -> None:
        """Send the frames that were held back in one write."""
        frames, self._corked = self._corked, None
        if frames and not self.transport.is_closing():
            self.transport.write(b"".join(frames))
            if self._stalled >= 0:
                self._check_stalled()

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; the connection is cut if the peer does not finish it in time."""
        if self._state is not _OPEN:
            return
        self._heartbeat.closes[int(code)] += 1
        self._begin_close(State.CLOSING, encode_close(code, reason))

    def go_away(self, reason: str) -> None:
        """Tell the client that the socket will close soon."""

    def abort(self) -> None:
        """Drop the connection at once."""
        self.transport.abort()

    def tick(self, now: float) -> None:
        """Take note that one heartbeat interval has passed."""
        del now
        self._quiet += 1
        if self._state is not _OPEN:
            self._ticks_left -= 1
            if self._ticks_left <= 0:
                self.transport.abort()
        elif self._stalled >= 0:
            self._stalled += 1
            if self._stalled > self._heartbeat.slow_after:
                self.close(CloseCode.SLOW_CONSUMER, "the client does not read")
        elif self._quiet == self._heartbeat.ping_after:
            self.transport.write(encode_frame(Opcode.PING, b""))
        elif self._quiet > self._heartbeat.dead_after:
            self.close(CloseCode.NO_PONG, "no pong")

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.is_made = True
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        transport.set_write_buffer_limits(high=min(_HIGH_WATER, self._max_write_bytes))
        self._shard = self._heartbeat.add(self)
        self.opened()

    def data_received(self, data: bytes) -> None:
        """Handle what the bytes complete; if that is too much for a turn, read no more until the rest had its own."""
        self._quiet = 0
        decoder = self._decoder
        try:
            for opcode, payload in decoder.feed(data, self._turn):
                if opcode > _BINARY:
                    self._control(opcode, payload)
                elif self._state is _OPEN:
                    self.message_received(opcode, payload)
            if decoder.violation is not None:
                self._fail(decoder.violation)
        except ProtocolViolation as violation:
            self._fail(violation)
        except Exception:
            log.exception("a message could not be handled", extra={"session": self.name})
            self.close(CloseCode.INTERNAL_ERROR, "internal error")
        if decoder.is_spent and not self.transport.is_closing():
            self.transport.pause_reading()
            self._go_on()

    def eof_received(self) -> bool:
        """Let the transport close itself."""
        return False

    def pause_writing(self) -> None:
        """Stop reading a client that does not read."""
        self._stalled = 0
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again; a client that made room is alive, whatever the ticks counted while it was not read."""
        self._stalled = -1
        self._quiet = 0
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._state = State.FINISHED
        self._heartbeat.discard(self, self._shard)
        self._tell_closed()
        if log.isEnabledFor(DEBUG):
            log.debug("closed after %d events", self.event_count, extra={"session": self.name})

    def _go_on(self) -> None:
        """Read again, unless what was read has to wait for its turn, or the client does not read."""
        if self._stalled >= 0 or self._waits or self.transport.is_closing():
            return
        if self._decoder.is_spent:
            self._waits = True
            asyncio.get_running_loop().call_soon(self._take_turn)
        else:
            self.transport.resume_reading()

    def _take_turn(self) -> None:
        self._waits = False
        if self._stalled < 0 and not self.transport.is_closing():
            self.data_received(b"")
            self._go_on()

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.CLOSE:
            pass
        elif not self.admits_control():
            self.close(CloseCode.TOO_MANY_REQUESTS, "too many control frames")
            return
        if opcode == Opcode.PING:
            self.send(Opcode.PONG, payload)
        elif opcode == Opcode.CLOSE:
            code, _ = parse_close(payload)
            if self._state is _OPEN:
                self._begin_close(State.FINISHED, encode_close(code))
            self._finish()

    def _fail(self, violation: ProtocolViolation) -> None:
        if self._state is _OPEN:
            self._heartbeat.closes[int(violation.code)] += 1
            self._begin_close(State.FINISHED, encode_close(violation.code, violation.reason))
        self._state = State.FINISHED
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _check_stalled(self) -> None:
        if self.transport.get_write_buffer_size() > self._max_write_bytes:
            self.close(CloseCode.SLOW_CONSUMER, "the client reads too slowly")

    def _begin_close(self, state: State, frame: bytes) -> None:
        self.uncork()
        if self._state is not _OPEN:
            return  # what was held back was too much for a slow client
        self._state = state
        self._ticks_left = self._heartbeat.close_after
        self.transport.write(frame)
        self._tell_closed()

    def _finish(self) -> None:
        """Close our half: the peer sees all we sent and then the end; what it still sends is read and dropped.

        TLS has no half to close. There the connection is closed after the peer's close frame, but after a violation it
        is read until the peer ends it or `close_seconds` pass: closing with unread bytes would reset it, and the peer
        could miss the reason.
        """
        self._state = State.FINISHED
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _tell_closed(self) -> None:
        if not self._told_closed:
            self._told_closed = True
            self.closed()
