"""`/v1/watch`: predictions, statistics and alerts for those who look on."""

import time
from typing import Any, Final

from handlers.access import check_topics
from handlers.base import RECONNECT_IN_MS, SERVER_NAME, choice_of
from handlers.frames import Opcode, encode_frame
from handlers.identified import IdentifiedConnection
from handlers.state import ServerState
from handlers.takeover import keep_fresh
from handlers.upgrade import UpgradeHandler
from pipeline.accounts import Account
from pipeline.audience import Choice
from pipeline.codec import CODECS, JSON, MSGPACK, Codec, Refused
from pipeline.errors import CloseCode, InvalidMessage, WaterspoutError
from pipeline.messages import Failure, Goaway, Ping, Pong
from pipeline.stream import error_body
from pipeline.watch_messages import (
    MAX_PATTERNS,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    WatchLimits,
    WatchOrder,
    WatchWelcome,
)

_TEXT: Final = int(Opcode.TEXT)
_BINARY: Final = int(Opcode.BINARY)
_PARAMETERS: Final = frozenset(("tensors",))
_monotonic: Final = time.monotonic
_MAX_MALFORMED: Final = 100  # in a row
_TURN: Final = 1  # frames in one turn of the loop: orders cost more than events


class Frames:
    """Messages in WebSocket frames (a `hub.Format`)."""

    def __init__(self, codec: Codec, *, lists: bool) -> None:
        self.codec = codec
        self.lists = lists

    def __repr__(self) -> str:
        return f"<Frames {self.codec.name} lists={self.lists}>"

    def pack(self, messages: list[bytes], choice: Choice, position: int) -> bytes:
        """Return a frame that holds one message, or a list of them."""
        del choice, position
        if self.codec.is_text:
            payload = messages[0] if len(messages) == 1 else b"[" + b",".join(messages) + b"]"
            return encode_frame(_TEXT, payload)
        count = len(messages)
        head = b"" if count == 1 else bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
        return encode_frame(_BINARY, head + b"".join(messages))


JSON_FRAMES: Final = Frames(JSON, lists=True)
MSGPACK_FRAMES: Final = Frames(MSGPACK, lists=False)
MSGPACK_LISTS: Final = Frames(MSGPACK, lists=True)


class WatchConnection(IdentifiedConnection):
    """A WebSocket that watches (an `audience.Watcher`)."""

    kind = "watch"

    __slots__ = ("_chosen", "_has_subscribed", "_lists", "_malformed", "format")

    def __init__(
        self, server: ServerState, codec: Codec | None, *, lists: bool, identity: Any, account: Account | None
    ) -> None:
        super().__init__(server, identity, account)
        self._turn = _TURN
        self._lists = lists
        self._chosen = codec  # None: no subprotocol, the first frame tells
        self._malformed = 0
        self._has_subscribed = False
        self.format = self._format_of(codec or JSON)

    def opened(self) -> None:
        """Get ready to send."""
        keep_fresh(self.transport)
        super().opened()

    def welcome(self) -> None:
        """Welcome a client that chose a subprotocol."""
        if self._chosen is not None:
            server = self.server
            limits = WatchLimits(server.settings.max_message_bytes, MAX_PATTERNS)
            models = server.visible_to(self.identity).describe_all()
            self.tell(WatchWelcome(SERVER_NAME, self.name, limits, models))

    def message_received(self, opcode: int, payload: bytes) -> None:
        """Do what the client orders."""
        if self.identity is None:
            self.hear_guest(opcode, payload)
            return
        codec = self._chosen
        if codec is None:
            codec = JSON if opcode == _TEXT else MSGPACK
            if not self._has_subscribed:
                self.format = self._format_of(codec)
        elif codec.is_text is not (opcode == _TEXT):
            kind = "text" if codec.is_text else "binary"
            self._refuse_order(
                InvalidMessage(f"expected {kind} frames on a {codec.subprotocol} socket"), is_malformed=True
            )
            return
        for order in codec.decode_orders(payload):
            if isinstance(order, Refused):
                if self.account is not None:
                    self.account.meter.take_control(_monotonic())
                self._refuse_order(order.error, is_malformed=True)
                continue
            try:
                self._obey(order)
                self._malformed = 0
            except WaterspoutError as error:
                self._refuse_order(error, is_malformed=False)

    def deliver(self, payload: bytes) -> None:
        """Send a packed frame."""
        self.send_frame(payload)

    def tell(self, message: Any) -> None:
        """Send one message that is for this watcher alone."""
        codec = self.format.codec
        self.send(_TEXT if codec.is_text else _BINARY, codec.encode(message))

    def describe(self) -> Any:
        """Return what operators are told, with what is watched."""
        info = super().describe()
        info.topics = sorted(self.server.hub.patterns_of(self))
        return info

    def permit(self) -> None:
        """Close a socket that watches what its new credential does not allow."""
        try:
            check_topics(self.identity, sorted(self.server.hub.patterns_of(self)))
        except WaterspoutError as error:
            self.refuse(error)

    def go_away(self, reason: str) -> None:
        """Announce the end."""
        self.tell(Goaway(reason, RECONNECT_IN_MS))

    def pause_writing(self) -> None:
        """Send nothing to a client that does not read."""
        super().pause_writing()
        self.server.hub.pause(self)

    def resume_writing(self) -> None:
        """Go on with the latest of everything."""
        super().resume_writing()
        self.server.hub.resume(self)

    def closed(self) -> None:
        """Watch no more."""
        self.server.hub.leave(self)

    def _format_of(self, codec: Codec) -> Frames:
        return JSON_FRAMES if codec.is_text else MSGPACK_LISTS if self._lists else MSGPACK_FRAMES

    def _obey(self, order: WatchOrder) -> None:
        hub = self.server.hub
        if self.account is not None:
            self.account.take_control(_monotonic())
        if isinstance(order, Subscribe):
            check_topics(self.identity, order.topics)
            paid = self._pay_for(order.topics)
            try:
                hub.subscribe(self, order.topics, order.hz, inputs=order.inputs)
            except WaterspoutError:
                if self.account is not None:
                    self.account.meter.give_subscriptions(paid)
                raise
            self._has_subscribed = True
            self.tell(Subscribed(order.topics, order.hz, order.inputs))
        elif isinstance(order, Unsubscribe):
            had = len(hub.patterns_of(self))
            hub.unsubscribe(self, order.topics)
            if self.account is not None:
                self.account.meter.give_subscriptions(had - len(hub.patterns_of(self)))
            self.tell(Unsubscribed(order.topics))
        elif isinstance(order, Ping):
            self.tell(Pong(order.t))
        else:
            self.authenticate(order.token)

    def _pay_for(self, patterns: list[str]) -> int:
        """Count patterns that are new; return how many. Raises `RateLimited`; none is counted then."""
        account = self.account
        if account is None:
            return 0
        taken = 0
        try:
            for _ in set(patterns) - self.server.hub.patterns_of(self):
                account.meter.take_subscription()
                taken += 1
        except WaterspoutError:
            account.meter.give_subscriptions(taken)
            raise
        return taken

    def _refuse_order(self, error: WaterspoutError, *, is_malformed: bool) -> None:
        self.server.stats.errors[error.code] += 1
        self.tell(Failure(error=error_body(error)))
        if is_malformed:
            self._malformed += 1
            if self._malformed >= _MAX_MALFORMED:
                self.close(CloseCode.MALFORMED_MESSAGES, f"{self._malformed} malformed messages in a row")
        if self.account is not None and self.account.meter.is_abusive:
            self.close(CloseCode.TOO_MANY_REQUESTS, "goes on after it was told to wait")


class WatchHandler(UpgradeHandler):
    """`GET /v1/watch`."""

    admits_guests = True

    async def get(self, *path: str) -> None:
        """Upgrade."""
        self._is_list = choice_of(self.query(_PARAMETERS), "tensors", ["bin", "list"]) == "list"
        await super().get(*path)

    def select_subprotocol(self, offered: list[str]) -> str | None:
        """Return the first offered encoding."""
        return next((name for name in offered if name in CODECS), None)

    def make_connection(self, subprotocol: str | None, account: Account | None) -> WatchConnection:
        """Return a connection that watches nothing yet."""
        codec = CODECS[subprotocol] if subprotocol else None
        return WatchConnection(self.state, codec, lists=self._is_list, identity=self.identity, account=account)
