"""HTTP answers that nobody reads: their connections are ended, since an answer takes memory until it has left."""

import asyncio
import sys

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

if sys.platform != "win32":
    import fcntl
    import termios


class UnreadAnswers:
    """Looks after the connections of an HTTP server; those that became WebSockets have their heartbeat."""

    def __init__(self, server: HTTPServer, patience: float) -> None:
        """`patience`: seconds in which a client must have taken something of an answer that waits for it."""
        self._server = server
        self._interval = patience / 4
        self._most_looks = 4
        self._looks: dict[IOStream, tuple[int, int]] = {}  # bytes taken, and how often they were no more
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<UnreadAnswers waiting={len(self._looks)}>"

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.call_later(self._interval, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.start()
        looks, self._looks = self._looks, {}
        for connection in list(self._server._connections):
            stream = connection.stream
            if not stream.writing():
                continue
            taken = stream._total_write_done_index - _waits_in_kernel(stream)
            before, count = looks.get(stream, (-1, 0))
            count = count + 1 if taken == before else 0
            if count < self._most_looks:
                self._looks[stream] = (taken, count)
            else:
                stream.close()


def _waits_in_kernel(stream: IOStream) -> int:
    """Return how many bytes of a stream the kernel has and its peer has not yet taken.

    The kernel takes megabytes and asks for more only when a third of them has left: for that a slow line needs longer
    than the patience, while it takes something all the time. 0 where the kernel does not tell.
    """
    if sys.platform == "win32":
        return 0
    try:
        waiting = fcntl.ioctl(stream.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(waiting, sys.byteorder)
