"""A door that takes a body, and no more of it than is allowed."""

from typing import Any

import tornado.web

from handlers.base import JsonHandler
from pipeline.compression import decompress
from pipeline.errors import TooLarge


@tornado.web.stream_request_body
class BoundedBodyHandler(JsonHandler):
    """Collects the body up to `max_message_bytes`; what is too large is refused before it is read.

    A subclass whose method finds `_finished` set has nothing left to do: the body was refused.
    """

    def prepare(self) -> None:
        """Refuse what need not be read."""
        self._body: list[bytes] = []
        self._size = 0
        declared = self.request.headers.get("Content-Length", "")
        if declared.isdecimal() and (len(declared) > 18 or int(declared) > self.state.settings.max_message_bytes):
            raise self._too_large()
        connection: Any = self.request.connection
        if declared.isdecimal() and int(declared) <= connection.stream._read_buffer_size:
            connection.set_body_timeout(None)  # the whole body is here already: nothing to wait for

    def data_received(self, chunk: bytes) -> None:
        """Collect the body; refuse it as soon as it is too large."""
        self._size += len(chunk)
        if self._size <= self.state.settings.max_message_bytes:
            self._body.append(chunk)
        elif not self._finished:
            self._body.clear()
            self.reply_error(self._too_large())

    def take_body(self) -> bytes:
        """Return the body, once."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return body

    def take_plain_body(self) -> bytes:
        """Return the body, once, without its `Content-Encoding`. Raises `InvalidMessage` or `TooLarge`."""
        encoding = self.request.headers.get("Content-Encoding")
        body = self.take_body()
        return body if encoding is None else decompress(body, encoding, self.state.settings.max_message_bytes)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body exceeds {self.state.settings.max_message_bytes} bytes (max_message_bytes)")
