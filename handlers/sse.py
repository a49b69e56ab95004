"""`GET /v1/watch/sse`: what `/v1/watch` sends, as server-sent events, for places where WebSockets do not pass."""

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any, Final, cast

from handlers.access import check_topics
from handlers.base import RECONNECT_IN_MS, JsonHandler
from handlers.heartbeat import Heartbeat
from handlers.state import ServerState
from handlers.takeover import address_of, keep_fresh, take_over
from pipeline.accounts import Account
from pipeline.admin_messages import SessionInfo
from pipeline.audience import Choice
from pipeline.codec import JSON
from pipeline.errors import InvalidMessage, RateLimited, ShuttingDown
from pipeline.identity import Identity
from pipeline.messages import Goaway
from pipeline.topics import ALERTS, STATS, read_patterns
from pipeline.watch_messages import DEFAULT_HZ, Subscribe

_PARAMETERS: Final = frozenset(("topics", "hz", "inputs"))
_QUIET_TICKS: Final = 15  # after which a comment keeps proxies from closing
_RUN: Final = os.urandom(4).hex()  # an id of another run of the server means nothing here
_HEADERS: Final = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Connection": "close"}


class Events:
    """Messages as events (an `audience.Format`); the last of a payload has the id from which a client can go on."""

    codec = JSON
    lists = True

    def __init__(self, marked: tuple[str, ...] = ()) -> None:
        """Make it; `marked` is the topic of the server whose events have ids, without one those of predictions have."""
        self._marked = marked

    def pack(self, messages: list[bytes], choice: Choice, position: int) -> bytes:
        """Return the events."""
        is_own = choice.patterns in ((STATS,), (ALERTS,))
        has_id = choice.patterns == self._marked if self._marked else not is_own
        *others, last = [b"data: %b\n\n" % message for message in messages]
        return b"".join((*others, b"id: %b-%d\n" % (_RUN.encode(), position) if has_id else b"", last))


EVENTS: Final = Events()
ALERT_EVENTS: Final = Events((ALERTS,))


class EventConnection:
    """A response that goes on until the client ends it (an `asyncio.Protocol`, and an `audience.Watcher`)."""

    event_count = 0
    is_idle = True

    def __init__(
        self, state: ServerState, wanted: Subscribe, since: int, identity: Identity | None, account: Account | None
    ) -> None:
        """`account`: who pays; closed with the connection."""
        self.format = ALERT_EVENTS if set(wanted.topics) <= {ALERTS, STATS} else EVENTS
        self._heartbeat: Heartbeat = state.heartbeat
        self._hub = state.hub
        self._wanted = wanted
        self._since = since
        self._shard = 0
        self._identity = identity
        self._account = account
        self.is_made = False
        self.forwarded_for = ""  # the client's address, where a trusted proxy stands before it
        self._new_name = state.new_session_id
        self._name = ""
        self.opened_at = time.monotonic()
        self._quiet = 0  # ticks since something was sent
        self._stalled = -1  # ticks since the client stopped reading; -1: it reads
        self._transport: asyncio.Transport

    def __repr__(self) -> str:
        return f"<EventConnection {' '.join(self._wanted.topics)} quiet={self._quiet} stalled={self._stalled}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to watch."""
        self.is_made = True
        self._transport = transport = cast(asyncio.Transport, transport)
        keep_fresh(transport)
        self._shard = self._heartbeat.add(self)
        wanted = self._wanted
        self._hub.subscribe(self, wanted.topics, wanted.hz, inputs=wanted.inputs, since=self._since)

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch no more."""
        del exc
        self._hub.leave(self)
        self._heartbeat.discard(self, self._shard)
        if self._account is not None:
            self._account.close()

    def data_received(self, data: bytes) -> None:
        """Overlook what a client says after its request."""

    def eof_received(self) -> bool:
        """Let the transport close itself."""
        return False

    def pause_writing(self) -> None:
        """Send nothing to a client that does not read."""
        self._stalled = 0
        self._hub.pause(self)

    def resume_writing(self) -> None:
        """Go on with the latest of everything."""
        self._stalled = -1
        self._hub.resume(self)

    def deliver(self, payload: bytes) -> None:
        """Send packed events."""
        self._quiet = 0
        if not self._transport.is_closing():
            self._transport.write(payload)

    def tell(self, message: Any) -> None:
        """Send a message that is no update, under its name."""
        name = message.__struct_config__.tag
        self.deliver(b"event: %b\ndata: %b\n\n" % (str(name).encode(), JSON.encode(message)))

    @property
    def name(self) -> str:
        """The session's id, made when somebody asks."""
        self._name = self._name or self._new_name()
        return self._name

    def describe(self) -> SessionInfo:
        """Return what operators are told."""
        seconds = round(time.monotonic() - self.opened_at, 3)
        whose = None if self._identity is None else self._identity.name
        topics = sorted(self._wanted.topics)
        address = self.forwarded_for or address_of(self._transport)
        return SessionInfo(self.name, "events", whose, address, seconds, topics=topics)

    def live_streams(self) -> list[Any]:
        """Return nothing: no events come here."""
        return []

    def tick(self, now: float) -> None:
        """Take note that one heartbeat interval has passed."""
        del now
        self._quiet += 1
        if self._identity is not None and not self._identity.is_valid(time.time()):
            self._transport.close()
        if self._stalled >= 0 or self._transport.is_closing():  # which waits until all is read, if need be for ever
            self._stalled += 1
            if self._stalled > self._heartbeat.slow_after:
                self.abort()
        elif self._quiet >= _QUIET_TICKS:
            self.deliver(b":\n\n")

    def go_away(self, reason: str) -> None:
        """Announce the end."""
        self.tell(Goaway(reason, RECONNECT_IN_MS))

    def close(self, code: int, reason: str = "") -> None:
        """End the response."""
        del code, reason
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abort()


class EventsHandler(JsonHandler):
    """`GET /v1/watch/sse?topics=...`, where `topics` may be given several times."""

    takes_tickets = True

    async def get(self) -> None:
        """Check what is asked for, then go on for as long as the client listens."""
        query = self.query(_PARAMETERS)
        if self.state.draining:
            raise ShuttingDown("the server is shutting down")
        try:
            topics = [text.decode() for text in self.request.query_arguments.get("topics", [])]
        except UnicodeDecodeError as error:
            raise InvalidMessage("topics: expected UTF-8") from error
        fields: dict[str, Any] = {"topics": topics}
        if "inputs" in query:
            fields["inputs"] = {"0": False, "1": True}.get(query["inputs"], query["inputs"])
        try:
            fields["hz"] = float(query.get("hz", DEFAULT_HZ))
        except ValueError as error:
            raise InvalidMessage(f"hz: expected a number, got {query['hz'][:100]!r}") from error
        wanted = JSON.check_order(fields, Subscribe)
        read_patterns(wanted.topics)
        check_topics(self.identity, wanted.topics)
        since = _position_of(self.request.headers.get("Last-Event-ID", ""))
        account = self._open_account(wanted.topics)
        connection = EventConnection(self.state, wanted, since, self.identity, account)
        connection.forwarded_for = self.state.gate.forwarded_for(self.request)
        await take_over(self.detach(), _head({**self.state.headers(self.request), **_HEADERS}), connection)
        if account is not None and not connection.is_made:  # the client has gone again
            account.close()

    def _open_account(self, topics: list[str]) -> Account | None:
        """Return who pays for the response and what is watched. Raises `RateLimited`."""
        account = self.open_account(is_socket=True)
        if account is not None:
            try:
                for _ in set(topics):
                    account.meter.take_subscription()
            except RateLimited:
                account.close()
                raise
        return account


def _head(headers: Mapping[str, str]) -> bytes:
    """Return what comes before the events."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\nretry: {RECONNECT_IN_MS}\n\n".encode("ascii")


def _position_of(event_id: str) -> int:
    """Return how far a client has come; 0 where it is new, or the server is."""
    run, _, position = event_id.partition("-")
    return int(position) if run == _RUN and position.isascii() and position.isdigit() and len(position) < 19 else 0
