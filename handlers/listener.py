"""The port of a process: HTTP on it, with or without TLS."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import tornado.netutil
import tornado.web

from handlers.accept import PatientHTTPServer
from handlers.unread import UnreadAnswers
from pipeline.errors import ConfigError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from handlers.certificate import Certificate

BACKLOG: Final = 4096
MAX_HEADER_BYTES: Final = 16384
CLOSE_SECONDS: Final = 1.0


class Listener:
    """An application on the address and port of the settings."""

    def __init__(self, app: tornado.web.Application, settings: Settings, count_sockets: Callable[[], int]) -> None:
        """Read the certificate. `count_sockets`: how many WebSockets are open. Raises `ConfigError`."""
        self._settings = settings
        self._port = settings.port
        self._certificate = _read_certificate(settings, self._show)
        self._http = PatientHTTPServer(
            app,
            ssl_options=self._certificate and self._certificate.context,
            idle_connection_timeout=settings.header_seconds,
            max_header_size=MAX_HEADER_BYTES,
            max_body_size=settings.max_message_bytes + 65536,
            max_buffer_size=settings.max_message_bytes + 131072,
        )
        self._http.count_sockets = count_sockets
        self._unread = UnreadAnswers(self._http, settings.slow_consumer_seconds)

    def __repr__(self) -> str:
        return f"<Listener {self.url}>"

    @property
    def url(self) -> str:
        """Where it is reached; the port is known once it listens."""
        address = self._settings.address
        host = f"[{address}]" if ":" in address else address
        scheme = "https" if self._settings.tls_cert else "http"
        return f"{scheme}://{host}:{self._port}"

    @property
    def collectors(self) -> "Sequence[Certificate]":
        """What it has for Prometheus."""
        return () if self._certificate is None else (self._certificate,)

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
        self._unread.start()
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
        self._unread.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._http.close_all_connections(), CLOSE_SECONDS)

    def _show(self, context: ssl.SSLContext) -> None:
        self._http.ssl_options = context


def _read_certificate(settings: Settings, show: Callable[[ssl.SSLContext], None]) -> "Certificate | None":
    """Return the certificate, if there is one; who has none needs none of its modules."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    from handlers.certificate import Certificate

    return Certificate(settings.tls_cert, settings.tls_key, show)
