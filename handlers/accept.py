"""An HTTP server that lets a storm of new connections wait, and has a word for those that it has no room for."""

import contextlib
import functools
import logging
import socket
import time
from collections.abc import Callable, Iterable
from math import inf
from typing import Final

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from handlers.descriptors import room

log = logging.getLogger(__name__)

MOST: Final = 2  # connections that are accepted in one turn of the loop; Tornado accepts 128
REST_SECONDS: Final = 0.25  # until it is tried again where the system gives no connection
TOLD_EVERY: Final = 60.0  # seconds
REFUSAL: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class PatientHTTPServer(HTTPServer):
    """Tornado's, but for how it accepts.

    Few connections in a turn of the loop: what it leaves waits in the listening sockets, and those that are open have
    their turns first. Where file descriptors run out, new connections are refused and the open ones go on; Tornado
    would try again without end.
    """

    count_sockets: Callable[[], int]  # WebSockets, which are no connections of this server any more
    _told_at = -inf

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on these sockets, until the server is stopped."""
        for listening in sockets:
            descriptor = listening.fileno()
            self._sockets[descriptor] = listening
            IOLoop.current().add_handler(listening, self._accept, IOLoop.READ)
            self._handlers[descriptor] = functools.partial(IOLoop.current().remove_handler, listening)

    def _accept(self, listening: socket.socket, events: int) -> None:
        del events
        for _ in range(MOST):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):  # none is left, or it has gone again
                return
            except OSError as error:
                self._tell(error.strerror or str(error))
                IOLoop.current().remove_handler(listening)
                IOLoop.current().call_later(REST_SECONDS, self._accept_again, listening)
                return
            if len(self._connections) + self.count_sockets() < room():
                self._handle_connection(connection, address)
            else:
                self._tell("too many open files")
                self._refuse(connection)

    def _accept_again(self, listening: socket.socket) -> None:
        if not self._stopped:
            IOLoop.current().add_handler(listening, self._accept, IOLoop.READ)

    def _refuse(self, connection: socket.socket) -> None:
        """Say so, in a word, and part: with what has come unread the kernel would take the word back."""
        with connection, contextlib.suppress(OSError):
            connection.setblocking(False)
            if self.ssl_options is None:
                connection.send(REFUSAL)
                connection.recv(1 << 16)

    def _tell(self, why: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= TOLD_EVERY:
            self._told_at = now
            log.error("new connections are refused: %s (ulimit -n)", why)
