"""Orders on their way from one process to its siblings, at the parent of all."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Final

from pipeline.control_messages import Marked, Obey
from pipeline.orders import Answers
from pipeline.standing import Mark, Standing

MOST_OWED: Final = 64  # orders that a process has not answered; one that hangs is sent no more

Send = Callable[[Obey | Marked], None]


class OrderRelay:
    """The processes that can be given orders, by name, and the results that each of them owes."""

    def __init__(self) -> None:
        self._sends: dict[str, Send] = {}
        self._owed: dict[str, dict[int, asyncio.Future[bytes]]] = {}
        self._standing = Standing()
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        owed = {name: len(futures) for name, futures in self._owed.items()}
        return f"<OrderRelay owed={owed}>"

    def join(self, name: str, send: Send) -> None:
        """Take note that a process can be given orders, and tell it of those that stand."""
        self._sends[name] = send
        self._owed[name] = {}
        if self._standing.marks:
            send(Marked(self._standing.marks))

    def leave(self, name: str) -> None:
        """Take note that a process has ended: what it owes will not come."""
        self._sends.pop(name, None)
        for future in self._owed.pop(name, {}).values():
            future.cancel()

    def take(self, name: str, number: int, result: bytes) -> None:
        """Take a process's result, which is empty where there is none."""
        future = self._owed.get(name, {}).pop(number, None)
        if future is not None and not future.done():
            future.set_result(result)

    def mark(self, name: str, marks: Mapping[str, Mark]) -> None:
        """Take what stands as a process knows it, and tell the others where it is news."""
        if self._standing.merge(marks):
            for other, send in self._sends.items():
                if other != name:
                    send(Marked(self._standing.marks))

    async def pass_on(self, asker: str, order: bytes, wait: float) -> Answers:
        """Send an order to all but the one that asks, and wait for their results up to `wait` seconds."""
        asked = {name: self._ask(name, order, wait) for name in self._sends if name != asker}
        futures = [future for future in asked.values() if future is not None]
        if futures:
            await asyncio.wait(futures, timeout=wait)
        results = {
            name: future.result()
            for name, future in asked.items()
            if future is not None and future.done() and not future.cancelled() and future.result()
        }
        return Answers(results, len(asked) - len(results))

    def _ask(self, name: str, order: bytes, wait: float) -> asyncio.Future[bytes] | None:
        owed = self._owed[name]
        if len(owed) >= MOST_OWED:
            return None
        number = next(self._numbers)
        future = owed[number] = asyncio.get_running_loop().create_future()
        self._sends[name](Obey(number, order, wait))
        return future
