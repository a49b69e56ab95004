"""Processes that obey orders, without sockets or models."""

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.admin_messages import SessionInfo
from pipeline.operators import Operators, Others
from pipeline.orders import CloseSession, Did, DrainModel, Listed, ListSessions, Order, Result, ResumeModel
from pipeline.standing import Mark, Standing


class Process:
    """One with a socket that is called like itself; it keeps the orders that it is given.

    A drain ends when `drained` is set; the model `broken` cannot be drained. `followed` counts how often it was told to
    bring its models in line.
    """

    def __init__(self, others: Others, socket: str, drain_seconds: float = 5.0) -> None:
        self.socket = socket
        self.orders: list[Order] = []
        self.drained = asyncio.Event()
        self.followed = 0
        self.standing = Standing()
        self.standing.follow = self.follow
        self.operators = Operators(self.execute, others, self.standing, drain_seconds)
        self.order = self.operators.order

    @property
    def held(self) -> set[str]:
        """The models that are drained."""
        return {model for model, mark in self.standing.marks.items() if mark.is_drained}

    def follow(self) -> None:
        self.followed += 1

    async def execute(self, order: Order) -> Result:
        self.orders.append(order)
        match order.task:
            case ListSessions():
                return Listed([SessionInfo(self.socket, "echo", None, "", 1.0)], 1)
            case CloseSession(session=session):
                return Did(session == self.socket)
            case DrainModel(model="broken"):
                raise RuntimeError("this model cannot be drained")
            case DrainModel(model=model, at=at):
                self.standing.note(model, Mark(at, True, order.by))
                await self.drained.wait()
            case ResumeModel(model=model, at=at):
                self.standing.note(model, Mark(at, False, order.by))
        return Did(True)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's own time limit ends it where it never does."""
    while not condition():  # noqa: ASYNC110 (what is waited for tells nobody)
        await asyncio.sleep(0.002)


async def until_asked(call: Callable[[], Awaitable[object]], expected: object) -> None:
    """Ask until the answer is as expected."""
    while await call() != expected:  # noqa: ASYNC110 (likewise)
        await asyncio.sleep(0.002)
