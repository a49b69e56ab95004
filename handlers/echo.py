"""`/v1/echo`: sends each message back through the same socket layer."""

import time
from typing import Final

from handlers.identified import IdentifiedConnection
from handlers.upgrade import UpgradeHandler
from pipeline.accounts import Account
from pipeline.errors import CloseCode

_monotonic: Final = time.monotonic


class EchoConnection(IdentifiedConnection):
    """Measures the round trip, and lets conformance suites in."""

    __slots__ = ()

    kind = "echo"

    def message_received(self, opcode: int, payload: bytes) -> None:
        """Send the message back; one that is more than its sender may have ends the connection."""
        account = self.account
        if account is not None and account.meter.take_event(len(payload), _monotonic()):
            self.close(CloseCode.TOO_MANY_REQUESTS, str(account.meter.refused))
            return
        self.send(opcode, payload)

    def go_away(self, reason: str) -> None:
        """There is nothing to finish: close."""
        self.close(CloseCode.GOING_AWAY, reason)


class EchoHandler(UpgradeHandler):
    """`GET /v1/echo`."""

    def make_connection(self, subprotocol: str | None, account: Account | None) -> EchoConnection:
        """Return an echoing connection."""
        del subprotocol
        return EchoConnection(self.state, self.identity, account)
