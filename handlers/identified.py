"""A WebSocket of somebody who was identified, or who has to be by the first message that comes."""

import asyncio
import time
from typing import Any, Final

from handlers.frames import Opcode
from handlers.heartbeat import GUEST_SECONDS
from handlers.socket import WebSocketConnection
from handlers.state import ServerState
from handlers.takeover import address_of
from pipeline.accounts import Account
from pipeline.admin_messages import SessionInfo
from pipeline.codec import JSON, MSGPACK
from pipeline.errors import CloseCode, RateLimited, Unauthenticated, WaterspoutError
from pipeline.messages import Auth, Authenticated, Failure
from pipeline.stream import error_body

MAX_AUTH_BYTES: Final = 16_384

_TEXT: Final = int(Opcode.TEXT)
_monotonic: Final = time.monotonic
_unix_time: Final = time.time


class IdentifiedConnection(WebSocketConnection):
    """Closes with 4500 when the credential expires or is revoked.

    A guest has no identity yet: what he sends goes to `hear_guest`, and nowhere else. Subclasses override `welcome`,
    `permit` and `tell`.
    """

    __slots__ = ("_asking", "_guest_ticks", "_held", "_name", "account", "forwarded_for", "identity", "server", "trace")

    kind = "stream"

    def __init__(self, server: ServerState, identity: Any, account: Account | None = None) -> None:
        """`identity`: an `Identity`, or None for a guest. `account`: who pays; closed with the connection."""
        settings = server.settings
        super().__init__(server.heartbeat, settings.max_message_bytes, settings.max_write_bytes)
        self.server = server
        self.identity = identity
        self.forwarded_for = ""  # the client's address, where a trusted proxy stands before it
        self.trace: Any = None  # the `TraceContext` of the handshake
        self._name = ""
        self.account = account
        self._guest_ticks = 0
        self._asking: Any = None  # the task that checks a credential
        self._held: list[tuple[int, bytes]] = []

    @property
    def name(self) -> str:
        """The session's id, made when somebody asks."""
        if not self._name:
            self._name = self.server.new_session_id()
        return self._name

    def describe(self) -> Any:
        """Return what operators are told (`SessionInfo`)."""
        seconds = round(_monotonic() - self.opened_at, 3)
        whose = None if self.identity is None else self.identity.name
        address = self.forwarded_for or address_of(self.transport)
        return SessionInfo(self.name, self.kind, whose, address, seconds, self.event_count)  # type: ignore[arg-type]

    def welcome(self) -> None:
        """Begin: it is known who is there."""

    def permit(self) -> None:
        """See that a new credential allows what the old one did."""

    def tell(self, message: Any) -> None:
        """Send what belongs to no event."""

    def opened(self) -> None:
        """Welcome whom the handshake identified."""
        if self.identity is not None:
            self.welcome()

    def hear_guest(self, opcode: int, payload: bytes) -> None:
        """Take a guest's message, which must be his credential; what he says before it is checked has to wait."""
        if self._asking is not None:
            self._held.append((opcode, payload))
            return
        codec = JSON if opcode == _TEXT else MSGPACK
        messages = codec.decode_each(payload) if len(payload) <= MAX_AUTH_BYTES else []
        if len(messages) == 1 and isinstance(messages[0], Auth):
            self.authenticate(messages[0].token)
        else:
            self.refuse(Unauthenticated('expected {"op": "auth", "token": ...} as the first message'))

    def authenticate(self, token: str) -> None:
        """Take a credential that came as a message; a wrong one ends the connection."""
        gate = self.server.gate
        if gate.is_open or self._asking is not None:
            return
        if self.identity is None:
            self.transport.pause_reading()
        self._asking = asyncio.get_running_loop().create_task(gate.hear(token, self))

    def identified(self, identity: Any) -> None:
        """Go on as somebody."""
        was_guest, self._asking = self.identity is None, None
        if self.account is not None:
            try:
                self.account.identify(identity.name, _monotonic())
            except WaterspoutError as error:
                self.refuse(error)
                return
        self.identity = identity
        self.tell(Authenticated(identity.name))
        if not was_guest:
            self.permit()
            return
        self.welcome()
        held, self._held = self._held, []
        for opcode, payload in held:
            self.message_received(opcode, payload)
        self._go_on()

    def _go_on(self) -> None:
        """Read again, unless it is being asked who this is: nobody pays for what a guest sends."""
        if self.identity is not None or self._asking is None:
            super()._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and what was asked about it."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        super().connection_lost(exc)
        if self.account is not None:
            self.account.close()

    def admits_control(self) -> bool:
        """Return whether the client may send another ping or pong."""
        return self.account is None or not self.account.meter.take_control(_monotonic())

    def refuse(self, error: WaterspoutError) -> None:
        """End a connection for which there is no credential, or not the right one."""
        self._asking = None
        self._held = []
        self.server.stats.errors[error.code] += 1
        self.tell(Failure(error=error_body(error)))
        if isinstance(error, RateLimited):
            self.close(CloseCode.TOO_MANY_REQUESTS, error.code)
        elif isinstance(error, Unauthenticated):
            self.close(CloseCode.BAD_CREDENTIALS, error.code)
        elif error.retryable:
            self.close(CloseCode.OVERLOADED, error.code)
        else:
            self.close(CloseCode.FORBIDDEN, error.code)
        self._go_on()  # a guest's end of the closing handshake is still to be read

    def tick(self, now: float) -> None:
        """Take note that one heartbeat interval has passed."""
        super().tick(now)
        if self.account is not None:
            self.account.meter.rest()
        identity = self.identity
        if identity is None:
            self._guest_ticks += 1
            if self._guest_ticks == self.server.heartbeat.guest_after:
                self.refuse(Unauthenticated(f"no credential came within {GUEST_SECONDS:g} s"))
        elif not self.server.gate.is_open and not identity.is_valid(_unix_time()):
            self.refuse(Unauthenticated("the credential has expired or was revoked"))
