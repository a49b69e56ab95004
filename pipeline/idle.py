"""Waiting until nothing is under way any more."""

import asyncio
from collections.abc import Callable


class Idle:
    """Wakes those who wait for the end of all that is under way. All methods belong to the loop's thread."""

    __slots__ = ("_is_busy", "_waiter")

    def __init__(self, is_busy: Callable[[], object]) -> None:
        """`is_busy` returns whether anything is, or how much."""
        self._is_busy = is_busy
        self._waiter: asyncio.Future[None] | None = None  # that all of them share

    def __repr__(self) -> str:
        return f"<Idle awaited={self._waiter is not None}>"

    async def wait(self) -> None:
        """Return once nothing is under way."""
        while self._is_busy():
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)

    def notify(self) -> None:
        """Take note that something has ended; the last to do so wakes all."""
        waiter = self._waiter
        if waiter is not None and not self._is_busy():
            self._waiter = None
            waiter.set_result(None)
