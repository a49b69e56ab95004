"""Sending all sockets away, one after the other: they come back, and others have to take them."""

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from pipeline.errors import CloseCode

RETURNS_PER_SECOND: Final = 500  # handshakes that the others are good for, beside their work
LAST_WORDS: Final = 0.1  # seconds after `goaway` in which events that were on their way are still answered
STEP_SECONDS: Final = 0.02


class Parting(Protocol):
    """A socket that is sent away."""

    @property
    def is_idle(self) -> bool:
        """Whether every event that came was answered."""

    def go_away(self, reason: str) -> None:
        """Tell the client that the socket will close soon."""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""


def seconds_to_part(sockets: int, drain_seconds: float) -> float:
    """Return over how many seconds so many sockets are sent away: half of the drain at most."""
    return min(sockets / RETURNS_PER_SECOND, drain_seconds / 2)


async def part(sockets: Iterable[Parting], seconds: float, reason: str) -> None:
    """Tell the sockets, evenly over `seconds`, that they will be closed, and close each when it has its answers.

    Those that are not told yet are served as ever. Return when all were closed, or have begun to be.
    """
    loop = asyncio.get_running_loop()
    untold = deque(sockets)
    per_step = max(1, math.ceil(len(untold) * STEP_SECONDS / seconds)) if seconds else len(untold)
    told: deque[tuple[float, Parting]] = deque()  # by when they may be closed
    busy: list[Parting] = []
    while untold or told or busy:
        now = loop.time()
        for _ in range(min(per_step, len(untold))):
            socket = untold.popleft()
            socket.go_away(reason)
            told.append((now + LAST_WORDS, socket))
        while told and told[0][0] <= now:
            busy.append(told.popleft()[1])
        closing = [socket for socket in busy if socket.is_idle]
        busy = [socket for socket in busy if not socket.is_idle]
        for socket in closing:
            socket.close(CloseCode.GOING_AWAY, reason)
        await asyncio.sleep(STEP_SECONDS)
