"""`POST /v1/tickets`: what a browser opens a socket with, which cannot send a header."""

from typing import Final

from msgspec import Struct

from handlers.base import JsonHandler

EXPIRES_IN: Final = 30.0  # seconds


class Ticket(Struct):
    """Works once, as `?ticket=`, at the doors of sockets and of events; then it is void."""

    ticket: str | None  # None where no credentials are needed
    expires_in: float  # seconds


class TicketsHandler(JsonHandler):
    """A ticket allows what the credential of the request does, and no longer than that."""

    async def post(self) -> None:
        """Issue a ticket."""
        self.query(frozenset())
        gate = self.state.gate
        self.set_header("Cache-Control", "no-store")
        if gate.is_open or self.identity is None:
            self.reply(Ticket(None, 0.0))
        else:
            self.reply(Ticket(await gate.issue(self.identity), EXPIRES_IN))
