"""A WebSocket of somebody who was identified, or who has to be by the first message that comes."""

import time
from typing import Any, Final

from handlers.base import ServerState
from handlers.frames import Opcode
from handlers.socket import WebSocketConnection
from pipeline.codec import JSON, MSGPACK
from pipeline.errors import CloseCode, Unauthenticated, WaterspoutError
from pipeline.messages import Auth, Authenticated, Failure
from pipeline.stream import error_body

AUTH_TICKS: Final = 5  # heartbeat ticks (seconds) that a guest has to say who he is
MAX_AUTH_BYTES: Final = 16_384

_TEXT: Final = int(Opcode.TEXT)
_unix_time: Final = time.time


class IdentifiedConnection(WebSocketConnection):
    """Closes with 4500 when the credential expires or is revoked.

    A guest has no identity yet: what he sends goes to `hear_guest`, and nowhere else. Subclasses override `welcome`,
    `permit` and `tell`.
    """

    __slots__ = ("_guest_ticks", "_name", "identity", "server")

    def __init__(self, server: ServerState, identity: Any) -> None:
        """`identity`: an `Identity`, or None for a guest."""
        settings = server.settings
        super().__init__(server.heartbeat, settings.max_message_bytes, settings.max_write_bytes)
        self.server = server
        self.identity = identity
        self._guest_ticks = 0
        self._name = ""

    @property
    def name(self) -> str:
        """The session's id, made when somebody asks."""
        if not self._name:
            self._name = self.server.new_session_id()
        return self._name

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
        """Take a guest's message, which must be his credential."""
        codec = JSON if opcode == _TEXT else MSGPACK
        messages = codec.decode_each(payload) if len(payload) <= MAX_AUTH_BYTES else []
        if len(messages) == 1 and isinstance(messages[0], Auth):
            self.authenticate(messages[0].token)
        else:
            self.refuse(Unauthenticated('expected {"op": "auth", "token": ...} as the first message'))

    def authenticate(self, token: str) -> None:
        """Take a credential that came as a message; a wrong one ends the connection."""
        access = self.server.gate.access
        if access is None:
            return
        try:
            identity = access.identify(token)
        except WaterspoutError as error:
            self.refuse(error)
            return
        was_guest = self.identity is None
        self.identity = identity
        self.tell(Authenticated(identity.name))
        if was_guest:
            self.welcome()
        else:
            self.permit()

    def refuse(self, error: WaterspoutError) -> None:
        """End a connection for which there is no credential, or not the right one."""
        self.server.stats.errors[error.code] += 1
        self.tell(Failure(error=error_body(error)))
        if isinstance(error, Unauthenticated):
            self.close(CloseCode.BAD_CREDENTIALS, error.code)
        elif error.retryable:
            self.close(CloseCode.OVERLOADED, error.code)
        else:
            self.close(CloseCode.FORBIDDEN, error.code)

    def tick(self, now: float) -> None:
        """Take note that one heartbeat interval has passed."""
        super().tick(now)
        identity = self.identity
        if identity is None:
            self._guest_ticks += 1
            if self._guest_ticks == AUTH_TICKS:
                self.refuse(Unauthenticated(f"no credential came within {AUTH_TICKS} s"))
        elif self.server.gate.access is not None and not identity.is_valid(_unix_time()):
            self.refuse(Unauthenticated("the credential has expired or was revoked"))
