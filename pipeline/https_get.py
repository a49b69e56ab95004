"""One GET of a small document over HTTPS, bounded in bytes and in time. Redirects are not followed."""

import asyncio
import ssl
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlsplit

MAX_HEADER_BYTES: Final = 1 << 16


class HttpsGet:
    """Called, it returns the document. It trusts whom the machine does (`SSL_CERT_FILE` chooses others)."""

    def __init__(self, url: str, max_bytes: int, seconds: float) -> None:
        """`seconds` bound all of it, from the look-up of the name to the last byte."""
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._max_bytes = max_bytes
        self._seconds = seconds
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request = (
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: waterspout\r\n"
            "Accept: application/json\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
        ).encode()

    async def __call__(self) -> bytes:
        """Return the body. Raises `OSError` (`TimeoutError` among them), or `ValueError` for any other answer."""
        async with asyncio.timeout(self._seconds):
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
            try:
                writer.write(self._request)
                answer = await self._read(reader)
            finally:
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()
        return self._body(answer)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        chunks = bytearray()
        while chunk := await reader.read(1 << 16):
            chunks += chunk
            if len(chunks) > self._max_bytes + MAX_HEADER_BYTES:
                raise ValueError(f"more than {self._max_bytes} bytes")
        return bytes(chunks)

    def _body(self, answer: bytes) -> bytes:
        response = HTTPResponse(_Answer(answer))  # type: ignore[arg-type]
        try:
            response.begin()
            body = response.read()
        except HTTPException as error:
            raise ValueError(f"no proper HTTP: {type(error).__name__}") from error
        if response.status != 200:
            raise ValueError(f"HTTP status {response.status}")
        return body


class _Answer:
    """What `HTTPResponse` takes for a socket."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, *_: Any) -> BytesIO:
        return BytesIO(self._answer)
