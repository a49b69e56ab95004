"""`/v1/stream` and `/v1/models/{model}/stream`: events in, predictions out."""

import time
from typing import Any, Final

from handlers.base import RECONNECT_IN_MS, SERVER_NAME
from handlers.frames import Opcode
from handlers.identified import IdentifiedConnection
from handlers.state import ServerState
from handlers.upgrade import UpgradeHandler
from pipeline.accounts import Account
from pipeline.codec import CODECS, JSON, MSGPACK, Codec, Refused
from pipeline.errors import DecodedForAnother, Forbidden, InvalidMessage, WaterspoutError
from pipeline.interfaces import SessionOptions
from pipeline.limits import LARGE
from pipeline.messages import Failure, Goaway, Limits, ServerMessage, Welcome
from pipeline.session import Session
from pipeline.stream import encode_unencodable

_TEXT: Final = int(Opcode.TEXT)
_BINARY: Final = int(Opcode.BINARY)
_PARAMETERS: Final = frozenset(("version", "key", "timings", "reply", "overflow", "tensors"))
_monotonic: Final = time.monotonic


class StreamConnection(IdentifiedConnection):
    """A WebSocket and its session."""

    __slots__ = ("_codec", "_last_codec", "_model", "_session", "_version")

    def __init__(
        self,
        server: ServerState,
        options: SessionOptions,
        codec: Codec | None,
        model: str | None = None,
        version: str | None = None,
        identity: Any = None,
        account: Account | None = None,
    ) -> None:
        super().__init__(server, identity, account)
        self._codec = codec  # None: no subprotocol, each frame tells
        self._last_codec = codec or JSON
        self._session = Session(
            server.permitted(self._may_predict), self, options, server.budget, model, version, account
        )
        self._model = model
        self._version = version

    def describe(self) -> Any:
        """Return what operators are told, with what the session has."""
        info = super().describe()
        info.in_flight = self._session.in_flight
        info.keys = self._session.key_count
        return info

    def live_streams(self) -> list[Any]:
        """Return the streams of the session."""
        return list(self._session.streams())

    def welcome(self) -> None:
        """Welcome a client that chose a subprotocol; who was a guest until now may have asked for what he may not."""
        server, model = self.server, self._model
        models = server.permitted(self._may_predict)
        try:
            infos = models.describe_all() if model is None else [models.describe(model, self._version)]
            if model is not None:
                models.get(model, self._version)
        except WaterspoutError as error:
            self.refuse(error)
            return
        codec = self._codec
        if codec is not None:
            limits = Limits(server.settings.max_message_bytes, server.settings.max_in_flight)
            one, all_of_them = (None, infos) if model is None else (infos[0], None)
            self.send_message(Welcome(SERVER_NAME, self.name, limits, model=one, models=all_of_them), codec)

    def permit(self) -> None:
        """Close a socket that uses what its new credential does not allow, and count for that from now on."""
        self._session.recount()
        for stream in self._session.streams():
            if not self._may_predict(stream.route.name):
                self.refuse(Forbidden(f"model: the credential's scopes do not allow {stream.route.name!r}"))
                return

    def tell(self, message: Any) -> None:
        """Send what belongs to no event."""
        self.send_message(message, self._last_codec)

    def message_received(self, opcode: int, payload: bytes) -> None:
        """Give the message to the session."""
        if self.identity is None:
            self.hear_guest(opcode, payload)
            return
        codec = self._codec
        if codec is None:
            codec = self._last_codec = JSON if opcode == _TEXT else MSGPACK
        elif codec.is_text is not (opcode == _TEXT):
            kind = "text" if codec.is_text else "binary"
            error = InvalidMessage(f"expected {kind} frames on a {codec.subprotocol} socket")
            self._session.refuse_message(Refused(error), codec, _monotonic(), len(payload))
            return
        session = self._session
        if len(payload) > LARGE and not session.admits(len(payload), codec, _monotonic()):
            return
        try:
            event = codec.decode_numbers(payload) if session.takes_numbers else codec.decode_event(payload)
            is_event = event.op is None
        except Exception:  # whatever it is, the session has it looked at again
            is_event = False
        if is_event:
            try:
                session.accept(event, codec, _monotonic(), len(payload))
            except DecodedForAnother:
                is_event = False
        if not is_event:
            session.receive(payload, codec, _monotonic())

    def send_message(self, message: ServerMessage, codec: Codec, seq: int | None = None) -> None:
        """Send one message of the session."""
        del seq
        if type(message) is Failure:
            self.server.stats.errors[message.error.code] += 1
        try:
            payload = codec.encode(message)
        except Exception as error:
            payload = encode_unencodable(message, codec, error)
        self.send(_TEXT if codec.is_text else _BINARY, payload)

    @property
    def event_count(self) -> int:
        """How many events came."""
        return self._session.event_count

    @property
    def is_idle(self) -> bool:
        """Whether every event that came was answered."""
        return self._session.in_flight == 0

    def go_away(self, reason: str) -> None:
        """Announce the end and refuse further events; what is in flight is still answered."""
        self._session.drain()
        self.send_message(Goaway(reason, RECONNECT_IN_MS), self._last_codec)

    def tick(self, now: float) -> None:
        """Take note that one heartbeat interval has passed."""
        super().tick(now)
        self._session.evict_idle(now)

    def _may_predict(self, model: str) -> bool:
        return self.identity is not None and bool(self.identity.scopes.may_predict(model))

    def closed(self) -> None:
        """Cancel what is in flight."""
        self._session.close()
        self.server.past_events += self._session.event_count


class StreamHandler(UpgradeHandler):
    """`GET /v1/models/{model}/stream` and, without a model, `GET /v1/stream`."""

    admits_guests = True

    async def get(self, *path: str) -> None:
        """Refuse an unknown model before the upgrade; else upgrade."""
        self._model = model = path[0] if path else None
        query = self.query(_PARAMETERS)
        self._version = query.get("version")
        if model is not None and self.identity is not None:
            self.state.usable_by(self.identity).get(model, self._version)
        elif model is None and self._version is not None:
            raise InvalidMessage("version: needs a model in the path")
        self._options = self.session_options(query)
        await super().get()

    def select_subprotocol(self, offered: list[str]) -> str | None:
        """Return the first offered encoding."""
        return next((name for name in offered if name in CODECS), None)

    def make_connection(self, subprotocol: str | None, account: Account | None) -> StreamConnection:
        """Return a connection with a new session."""
        codec = CODECS[subprotocol] if subprotocol else None
        return StreamConnection(self.state, self._options, codec, self._model, self._version, self.identity, account)
