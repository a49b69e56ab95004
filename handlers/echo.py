"""`/v1/echo`: sends each message back through the same socket layer."""

from handlers.socket import WebSocketConnection
from handlers.upgrade import UpgradeHandler
from pipeline.errors import CloseCode


class EchoConnection(WebSocketConnection):
    """Measures the round trip, and lets conformance suites in."""

    __slots__ = ()

    def message_received(self, opcode: int, payload: bytes) -> None:
        """Send the message back."""
        self.send(opcode, payload)

    def go_away(self, reason: str) -> None:
        """There is nothing to finish: close."""
        self.close(CloseCode.GOING_AWAY, reason)


class EchoHandler(UpgradeHandler):
    """`GET /v1/echo`."""

    def make_connection(self, subprotocol: str | None) -> EchoConnection:
        """Return an echoing connection."""
        del subprotocol
        settings = self.state.settings
        return EchoConnection(self.state.heartbeat, settings.max_message_bytes, settings.max_write_bytes)
