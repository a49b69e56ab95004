"""The way of operators' orders between the processes of a server, over a backbone."""

import asyncio
import contextlib
import itertools
import logging
from typing import Final

from pipeline.backbone import Backbone, BackboneDown, BackboneFull, Receive
from pipeline.order_letters import FORMAT, Call, Reply, decode_call, decode_reply, encode
from pipeline.orders import Answers, ForeignOrder, Obedience, deaf
from pipeline.persistence import persist
from pipeline.standing import Standing, decode_card, encode_card

log = logging.getLogger(__name__)

CHANNEL: Final = "orders"
KIND: Final = "obedient"
ANNOUNCE_EVERY: Final = 1.0  # seconds
TTL: Final = 15.0  # seconds after which nobody waits any more for one that says nothing: it may hang, or be gone
MOST_OBEYED: Final = 64  # orders of others at the same time; further ones are not answered
PARTING: Final = 1.0  # seconds that saying goodbye may take


class OrderChannel:
    """One process among those that obey the same orders.

    Each shows a card: so whoever passes an order on knows whose results to wait for, and whoever starts later or has
    missed an order learns from it what stands. Results come over a channel that is open for one order alone.
    """

    def __init__(self, backbone: Backbone, name: str, *, every: float = ANNOUNCE_EVERY, ttl: float = TTL) -> None:
        """`name` is its own among all; it shows itself `every` so many seconds, and is gone after `ttl` without."""
        self.name = name
        self.foreign = 0  # orders and results that are none of ours
        self._backbone = backbone
        self._obedience: Obedience = deaf
        self._standing = Standing()
        self._every = every
        self._ttl = ttl
        self._others: set[str] = set()  # that were there last
        self._numbers = itertools.count(1)
        self._hears = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._obeying: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<OrderChannel {self.name} others={len(self._others)} obeying={len(self._obeying)}>"

    def serve(self, obey: Obedience, standing: Standing) -> None:
        """Carry out from now on what others order, and share with them what stands."""
        self._obedience, self._standing = obey, standing

    def start(self) -> None:
        """Begin to obey, and to be waited for."""
        steps = {"listens": self._listen, "shows itself": self._show}
        self._tasks = [
            asyncio.create_task(persist(step, f"orders: {what}"), name=f"orders: {what}")
            for what, step in steps.items()
        ]

    async def stop(self) -> None:
        """Obey no more."""
        tasks = [*self._tasks, *self._obeying]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(BackboneDown, BackboneFull, TimeoutError):
            async with asyncio.timeout(PARTING):
                await self._backbone.withdraw(KIND, self.name)

    async def order(self, order: bytes, wait: float) -> Answers:
        """Have all who are there carry out an order, as `Others` says."""
        collected: _Collected | None = None
        with contextlib.suppress(BackboneDown, BackboneFull, TimeoutError):
            async with asyncio.timeout(wait):
                await self._look()
                if not self._others:
                    return Answers({}, 0)
                number = next(self._numbers)
                collected = _Collected(self._others)
                async with self._backbone.listen(_channel(self.name, number), self._collector(collected)):
                    call = Call(FORMAT, self.name, number, order, wait)
                    await self._backbone.publish(CHANNEL, [encode(call)])
                    await collected.is_whole.wait()
        if collected is None:
            return Answers({}, max(1, len(self._others)))
        return Answers(collected.results, collected.silent)

    async def _look(self) -> None:
        cards = await self._backbone.members(KIND)
        self._others = cards.keys() - {self.name}
        for name in self._others:
            try:
                self._standing.merge(decode_card(cards[name]))
            except ForeignOrder as error:
                self._count_foreign(error)
        self._standing.follow()

    async def _show(self) -> None:
        await self._hears.wait()
        await self._backbone.announce(KIND, self.name, encode_card(self._standing.marks), self._ttl)
        await self._look()
        await asyncio.sleep(self._every)

    async def _listen(self) -> None:
        async with self._backbone.listen(CHANNEL, self._receive):
            self._hears.set()
            await asyncio.Event().wait()

    def _receive(self, payload: bytes) -> None:
        try:
            call = decode_call(payload)
        except ForeignOrder as error:
            self._count_foreign(error)
            return
        if call.sender != self.name and len(self._obeying) < MOST_OBEYED:
            task = asyncio.create_task(self._answer(call), name="obeys an order")
            self._obeying.add(task)
            task.add_done_callback(self._obeying.discard)

    async def _answer(self, call: Call) -> None:
        try:
            result = await self._obedience(call.order, call.wait)
        except ForeignOrder as error:
            self._count_foreign(error)
            return
        with contextlib.suppress(BackboneDown, BackboneFull):
            await self._backbone.publish(_channel(call.sender, call.number), [encode(Reply(FORMAT, self.name, result))])

    def _collector(self, collected: "_Collected") -> Receive:
        def take(payload: bytes) -> None:
            try:
                collected.take(decode_reply(payload))
            except ForeignOrder as error:
                self._count_foreign(error)

        return take

    def _count_foreign(self, error: ForeignOrder) -> None:
        if not self.foreign:
            log.warning("orders: ignored what is none of ours, and counts it from now on: %s", error)
        self.foreign += 1


class _Collected:
    """What came of one order so far."""

    def __init__(self, asked: set[str]) -> None:
        self.results: dict[str, bytes] = {}
        self.is_whole = asyncio.Event()
        self._asked = len(asked)
        self._missing = set(asked)

    @property
    def silent(self) -> int:
        """How many have given no result."""
        return self._asked - len(self.results)

    def take(self, reply: Reply) -> None:
        """Take a reply, once from each who was asked. Raises `ForeignOrder` for others."""
        if reply.sender not in self._missing:
            raise ForeignOrder("no reply: of one who was not asked")
        self._missing.remove(reply.sender)
        if reply.result:
            self.results[reply.sender] = reply.result
        if not self._missing:
            self.is_whole.set()


def _channel(name: str, number: int) -> str:
    return f"{CHANNEL}/{name}/{number}"
