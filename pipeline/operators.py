"""Orders of operators to all processes of a server, whichever of them was asked."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from pipeline.admin_messages import Done, Sessions
from pipeline.errors import Overloaded
from pipeline.orders import (
    Answers,
    DrainModel,
    Failed,
    ForeignOrder,
    Obedience,
    Order,
    Result,
    ResumeModel,
    Task,
    decode_order,
    decode_result,
    encode_order,
    encode_result,
    merge,
)
from pipeline.standing import Standing

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 1.0  # for all but drains
MOST_ORDERS: Final = 16  # at the same time: each costs every process

Execute = Callable[[Order], Awaitable[Result]]


class Others(Protocol):
    """The way to the other processes of the same server, and theirs to this one."""

    @property
    def name(self) -> str:
        """The name of this process among them; empty where there are no others."""

    def serve(self, obey: Obedience, standing: Standing) -> None:
        """Carry out from now on what they order, and share with them what stands."""

    async def order(self, order: bytes, wait: float) -> Answers:
        """Have all others carry out an encoded order, and wait for their results at most `wait` seconds.

        Who cannot be reached counts as silent; one, where it is not known how many there are.
        """


class Alone:
    """The way to the others of a process that has none."""

    name = ""

    def serve(self, obey: Obedience, standing: Standing) -> None:
        """Ignore both: nobody orders anything."""

    async def order(self, order: bytes, wait: float) -> Answers:
        """Return that nobody was asked."""
        del order, wait
        return Answers({}, 0)


class Operators:
    """Carries out orders here and has the others do the same; all methods belong to the loop's thread."""

    def __init__(self, execute: Execute, others: Others, standing: Standing, drain_seconds: float) -> None:
        """`execute` carries out an order in this process; `drain_seconds`: that a drain may take."""
        self._execute = execute
        self._standing = standing
        self._others = others
        self._drain_seconds = drain_seconds
        self._under_way = 0
        others.serve(self.obey, standing)

    def __repr__(self) -> str:
        return f"<Operators {self._others!r} under_way={self._under_way}>"

    async def order(self, by: str, task: Task) -> Sessions | Done:
        """Have all processes do something; return what came of it, within a time that is bounded.

        Raises as `merge` does, and `Overloaded` where too much is ordered at the same time.
        """
        if self._under_way >= MOST_ORDERS:
            raise Overloaded(f"more than {MOST_ORDERS} orders at the same time")
        if isinstance(task, DrainModel | ResumeModel):
            task.at = self._standing.next(time.time())
        order = Order(by, task)
        wait = max(self._drain_seconds, ANSWER_SECONDS) if isinstance(task, DrainModel) else ANSWER_SECONDS
        self._under_way += 1
        try:
            own, answers = await asyncio.gather(
                self._carry_out(order, wait), self._others.order(encode_order(order), wait)
            )
        finally:
            self._under_way -= 1
        results = {} if own is None else {self._others.name: own}
        silent = answers.silent + (own is None)
        for name, payload in answers.results.items():
            try:
                results[name] = decode_result(payload)
            except ForeignOrder as error:
                log.warning("what process %s answers to an order is left out: %s", name[:100], error)
                silent += 1
        return merge(task, results, silent)

    async def obey(self, order: bytes, wait: float) -> bytes:
        """Carry out what another process was ordered; return nothing if that is not done within `wait` seconds.

        Raises `ForeignOrder`.
        """
        result = await self._carry_out(decode_order(order), wait)
        return b"" if result is None else encode_result(result)

    async def _carry_out(self, order: Order, wait: float) -> Result | None:
        try:
            async with asyncio.timeout(wait):
                return await self._execute(order)
        except TimeoutError:
            return None
        except Exception:
            log.exception("an order of %s failed", order.by)
            return Failed("an internal error, see its log")
