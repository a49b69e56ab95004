"""Bodies of requests: no more of them than is allowed, and none where none is read."""

from asyncio import Future
from collections.abc import Awaitable
from typing import Any, Final

import tornado.web
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest

from handlers.base import JsonHandler
from pipeline.compression import decompress
from pipeline.errors import TooLarge

_MAX_DIGITS: Final = 18


class BoundedBody:
    """What has come of a body of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []
        self._room = limit

    def expect(self, headers: HTTPHeaders) -> None:
        """Raise `TooLarge` for a body that need not be read."""
        declared = headers.get("Content-Length", "")
        if declared.isdecimal() and (len(declared) > _MAX_DIGITS or int(declared) > self._limit):
            raise self._too_large()

    def add(self, chunk: bytes) -> None:
        """Take a chunk. Raises `TooLarge`, once; what comes then is thrown away."""
        was_full = self._room < 0
        self._room -= len(chunk)
        if self._room >= 0:
            self._chunks.append(chunk)
        elif not was_full:
            self._chunks.clear()
            raise self._too_large()

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._limit - self._room

    def take(self) -> bytes:
        """Return the body, once."""
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def take_plain(self, headers: HTTPHeaders) -> bytes:
        """Return the body, once, without its `Content-Encoding`. Raises `InvalidMessage` or `TooLarge`."""
        encoding = headers.get("Content-Encoding")
        return self.take() if encoding is None else decompress(self.take(), encoding, self._limit)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body exceeds {self._limit} bytes (max_message_bytes)")


@tornado.web.stream_request_body
class BoundedBodyHandler(JsonHandler):
    """Collects the body up to `max_message_bytes`; what is too large is refused before it is read.

    A subclass whose method finds `_finished` set has nothing left to do: the body was refused.
    """

    def prepare(self) -> Awaitable[None] | None:
        """Refuse what need not be read, and see who asks."""
        self.body = BoundedBody(self.state.settings.max_message_bytes)
        self.body.expect(self.request.headers)
        return super().prepare()

    def data_received(self, chunk: bytes) -> None:
        """Collect the body; refuse it as soon as it is too large."""
        try:
            self.body.add(chunk)
        except TooLarge as error:
            if not self._finished:
                self.reply_error(error)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """Answer; say that the connection ends where that comes before the end of the body."""
        if not self.request._body_future.done():
            self.set_header("Connection", "close")
        return super().finish(chunk)


class UnreadBody(HTTPMessageDelegate):
    """Throws a body away as it comes, before a door that reads none: strangers could fill the memory with it."""

    def __init__(self, request: HTTPServerRequest, door: HTTPMessageDelegate) -> None:
        self._request = request
        self._door = door

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Awaitable[None] | None:
        """Pass it on."""
        return self._door.headers_received(start_line, headers)

    def finish(self) -> None:
        """Let the door answer; Tornado would miss the parts of a body that is a form."""
        self._request.headers.pop("Content-Type", None)
        self._door.finish()

    def on_connection_close(self) -> None:
        """Pass it on."""
        self._door.on_connection_close()
