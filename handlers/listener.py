"""The port of a process: HTTP on it, with or without TLS."""

import asyncio
import contextlib
import ssl
from typing import Final

import tornado.httpserver
import tornado.netutil
import tornado.web

from handlers.certificate import Certificate
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
        self._certificate: Certificate | None = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            self._certificate = Certificate(settings.tls_cert, settings.tls_key, self._show)
        self._http = tornado.httpserver.HTTPServer(
            app,
            ssl_options=self._certificate and self._certificate.context,
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
        if self._certificate is not None:
            self._certificate.start()

    def reload(self) -> None:
        """Read the certificate again, now."""
        if self._certificate is not None:
            self._certificate.look(at_once=True)

    def stop(self) -> None:
        """Take no more connections."""
        self._http.stop()
        if self._certificate is not None:
            self._certificate.stop()

    async def close(self) -> None:
        """Close the HTTP connections that are left."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._http.close_all_connections(), CLOSE_SECONDS)

    def _show(self, context: ssl.SSLContext) -> None:
        self._http.ssl_options = context
