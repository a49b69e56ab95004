"""An HTTP server that lets a storm of new connections wait: those that are open have their turns first."""

import functools
import socket
from collections.abc import Iterable
from typing import Final

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

MOST: Final = 2  # connections that are accepted in one turn of the loop; Tornado accepts 128


class PatientHTTPServer(HTTPServer):
    """Tornado's, but for how many connections it accepts at once; what it leaves waits in the listening sockets."""

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
            self._handle_connection(connection, address)
