"""Processes that obey orders, without sockets or models."""

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.admin_messages import SessionInfo
from pipeline.operators import Operators
from pipeline.orders import CloseSession, Did, DrainModel, Listed, ListSessions, Order, Others, Result


class Process:
    """One with a socket that is called like itself; it keeps the orders that it is given.

    A drain ends when `drained` is set; the model `broken` cannot be drained.
    """

    def __init__(self, others: Others, socket: str, drain_seconds: float = 5.0) -> None:
        self.socket = socket
        self.orders: list[Order] = []
        self.drained = asyncio.Event()
        self.operators = Operators(self.execute, others, drain_seconds)
        self.order = self.operators.order

    async def execute(self, order: Order) -> Result:
        self.orders.append(order)
        match order.task:
            case ListSessions():
                return Listed([SessionInfo(self.socket, "echo", None, "", 1.0)], 1)
            case CloseSession(session=session):
                return Did(session == self.socket)
            case DrainModel(model="broken"):
                raise RuntimeError("this model cannot be drained")
            case DrainModel():
                await self.drained.wait()
        return Did(True)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's own time limit ends it where it never does."""
    while not condition():  # noqa: ASYNC110 (what is waited for tells nobody)
        await asyncio.sleep(0.002)


async def until_asked(call: Callable[[], Awaitable[object]], expected: object) -> None:
    """Ask until the answer is as expected."""
    while await call() != expected:  # noqa: ASYNC110 (likewise)
        await asyncio.sleep(0.002)
