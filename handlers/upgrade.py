"""The WebSocket handshake (RFC 6455 section 4.2)."""

import base64
import binascii
import logging

from tornado.iostream import IOStream
from tornado.websocket import WebSocketProtocol13

from handlers.base import JsonHandler
from handlers.credentials import protocols
from handlers.identified import IdentifiedConnection
from handlers.takeover import take_over
from pipeline.accounts import Account
from pipeline.codec import JSON

log = logging.getLogger(__name__)


class UpgradeHandler(JsonHandler):
    """A door that becomes a WebSocket. Subclasses say with what connection."""

    takes_tickets = True

    def make_connection(self, subprotocol: str | None, account: Account | None) -> IdentifiedConnection:
        """Return the connection for this request, which the account is for. Raises a `WaterspoutError` to refuse it."""
        raise NotImplementedError

    def select_subprotocol(self, offered: list[str]) -> str | None:
        """Return the first offered subprotocol that is spoken here."""
        del offered
        return None

    async def get(self, *path: str) -> None:
        """Check the handshake, answer it and hand the socket over."""
        del path
        if (problem := self._problem()) is not None:
            status, message = problem
            if status == 426:
                self.set_header("Sec-WebSocket-Version", "13")
                self.set_header("Upgrade", "websocket")
            code = "forbidden" if status == 403 else "shutting_down" if status == 503 else "invalid_message"
            body = {"code": code, "message": message, "retryable": status == 503}
            self.reply({"error": body}, JSON, status)
            return
        headers = self.request.headers
        offered = protocols(headers.get("Sec-WebSocket-Protocol", ""))
        subprotocol = self.select_subprotocol(offered)
        account = self.open_account(is_socket=True)
        try:
            connection = self.make_connection(subprotocol, account)
        except BaseException:
            if account is not None:
                account.close()
            raise
        connection.forwarded_for = self.state.gate.forwarded_for(self.request)
        accept = WebSocketProtocol13.compute_accept_value(headers["Sec-WebSocket-Key"])
        chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        response = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n"
        )
        stream = self.detach()
        self.state.stats.sockets_opened += 1
        if log.isEnabledFor(logging.DEBUG):
            subjects = self.state.subjects(self.request)
            log.debug("opened %s", self.request.path[:200], extra={**subjects, "session": connection.name})
        await take_over(stream, response.encode("ascii"), connection)
        if account is not None and not connection.is_made:  # the client has gone again
            account.close()

    def _problem(self) -> tuple[int, str] | None:
        """Return status and message of what is wrong with the request."""
        headers = self.request.headers
        if self.state.draining:
            return 503, "the server is shutting down"
        if self.request.version != "HTTP/1.1":
            return 505, "a WebSocket needs HTTP/1.1"
        if headers.get("Upgrade", "").lower() != "websocket":
            return 426, "Upgrade: expected websocket, this path is a WebSocket"
        if "upgrade" not in (token.strip().lower() for token in headers.get("Connection", "").split(",")):
            return 400, "Connection: expected Upgrade"
        if headers.get("Sec-WebSocket-Version", "").strip() != "13":
            return 426, "Sec-WebSocket-Version: expected 13"
        if not _is_nonce(headers.get("Sec-WebSocket-Key", "")):
            return 400, "Sec-WebSocket-Key: expected 16 bytes in base64"
        if not self.state.gate.is_origin_allowed(self.request):
            return 403, "Origin: this page may not connect here (allowed_origins)"
        if _has_early_bytes(self._stream()):
            return 400, "bytes came before the handshake was answered"
        return None

    def _stream(self) -> IOStream:
        stream: IOStream = self.request.connection.stream  # type: ignore[union-attr]
        return stream


def _is_nonce(key: str) -> bool:
    try:
        return len(base64.b64decode(key.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _has_early_bytes(stream: IOStream) -> bool:
    """Return whether the client sent frames without waiting for the handshake; they would be lost."""
    return stream._read_buffer_size > 0
