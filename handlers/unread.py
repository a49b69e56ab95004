"""HTTP answers that nobody reads: their connections are ended, since an answer takes memory until it has left."""

import asyncio

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream


class UnreadAnswers:
    """Looks after the connections of an HTTP server; those that became WebSockets have their heartbeat."""

    def __init__(self, server: HTTPServer, patience: float) -> None:
        """`patience`: seconds in which a client must have read something of an answer that waits for it."""
        self._server = server
        self._interval = patience / 4
        self._most_looks = 4
        self._looks: dict[IOStream, tuple[int, int]] = {}  # bytes sent, and how often no more of them were seen
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
            sent = stream._total_write_done_index
            before, count = looks.get(stream, (-1, 0))
            count = count + 1 if sent == before else 0
            if count < self._most_looks:
                self._looks[stream] = (sent, count)
            else:
                stream.close()
