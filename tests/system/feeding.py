"""Streams that a page can look at: keys that send events until the context is left."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from .client import open_stream
from .process import Server

PER_SOCKET: Final = 200  # a socket may have 256 events in flight


@contextmanager
def fed(server: Server, keys: list[str], *, model: str = "double", period: float = 0.2) -> Iterator[None]:
    """Send `[position, round, 1, 0]` for each key once per `period` seconds, for as long as the server takes it."""
    stopping = threading.Event()

    def feed() -> None:
        with ExitStack() as stack:
            parts = [keys[start : start + PER_SOCKET] for start in range(0, len(keys), PER_SOCKET)]
            path = f"/v1/models/{model}/stream?reply=none"
            streams = [stack.enter_context(open_stream(server, path)) for _ in parts]
            for turn in itertools.count():
                for number, (stream, part) in enumerate(zip(streams, parts, strict=True)):
                    stream.send([_event(number * PER_SOCKET + at, key, turn) for at, key in enumerate(part)])
                if stopping.wait(period):
                    return

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _event(position: int, key: str, turn: int) -> dict[str, Any]:
    return {"key": key, "id": turn, "data": [position, turn, 1, 0]}
