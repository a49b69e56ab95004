"""The port of a process: HTTP on it, with or without TLS."""

import asyncio
import contextlib
import ssl
from typing import Final

import tornado.httpserver
import tornado.netutil
import tornado.web

from pipeline.errors import ConfigError
from pipeline.settings import Settings

BACKLOG: Final = 4096
MAX_HEADER_BYTES: Final = 16384
CLOSE_SECONDS: Final = 1.0


class Listener:
    """An application on the address and port of the settings."""

    def __init__(self, app: tornado.web.Application, settings: Settings) -> None:
        """Read the certificate. Raises `ConfigError`."""
        self._settings = settings
        self._port = settings.port
        self._http = tornado.httpserver.HTTPServer(
            app,
            ssl_options=_tls_context(settings),
            idle_connection_timeout=settings.header_seconds,
            max_header_size=MAX_HEADER_BYTES,
            max_body_size=settings.max_message_bytes + 65536,
            max_buffer_size=settings.max_message_bytes + 131072,
        )

    def __repr__(self) -> str:
        return f"<Listener {self.url}>"

    @property
    def url(self) -> str:
        """Where it is reached; the port is known once it listens."""
        address = self._settings.address
        host = f"[{address}]" if ":" in address else address
        scheme = "https" if self._settings.tls_cert else "http"
        return f"{scheme}://{host}:{self._port}"

    def listen(self) -> None:
        """Take connections. Raises `ConfigError` where the address or the port is not to be had."""
        settings = self._settings
        try:
            sockets = tornado.netutil.bind_sockets(
                settings.port, settings.address, backlog=BACKLOG, reuse_port=settings.processes > 1
            )
        except OSError as error:
            raise ConfigError(f"cannot listen on {settings.address}:{settings.port}: {error.strerror}") from error
        self._port = sockets[0].getsockname()[1]
        self._http.add_sockets(sockets)

    def stop(self) -> None:
        """Take no more connections."""
        self._http.stop()

    async def close(self) -> None:
        """Close the HTTP connections that are left."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._http.close_all_connections(), CLOSE_SECONDS)


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls_cert, tls_key: {error}") from error
    return context
