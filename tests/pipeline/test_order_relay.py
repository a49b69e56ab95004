"""Orders between processes with the same parent: real pairs of sockets, and the parent's relay between them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from pipeline import control_wire
from pipeline.admin_messages import Done, Sessions
from pipeline.control_messages import Marked, Message, Obey, Obeyed, PassedOn, PassOn, Seat
from pipeline.control_wire import ParentLink, Wire
from pipeline.errors import Overloaded
from pipeline.order_relay import MOST_OWED, OrderRelay
from pipeline.orders import Answers, CloseSession, DrainModel, ListSessions, ResumeModel

from .order_parts import Process, until


class Sibling:
    """A process, its link, and the parent's end of that."""

    def __init__(self, number: int, link: ParentLink, wire: Wire, relay: OrderRelay) -> None:
        self.name = str(number)
        self.link = link
        self.wire = wire
        self.process = Process(link, f"socket {number}")
        self.order = self.process.order
        self._relay = relay
        self._tasks = [asyncio.create_task(self._hear())]
        relay.join(self.name, wire.send)

    async def close(self) -> None:
        self._relay.leave(self.name)
        await self.link.close()
        await self.wire.close()
        await asyncio.gather(*self._tasks)

    async def _hear(self) -> None:
        """Do what the parent does."""
        async for message in self.wire.messages():
            match message:
                case Obeyed(number=number, result=result):
                    self._relay.take(self.name, number, result)
                case Marked(marks=marks):
                    self._relay.mark(self.name, marks)
                case PassOn():
                    self._tasks.append(asyncio.create_task(self._pass_on(message)))

    async def _pass_on(self, message: PassOn) -> None:
        answers = await self._relay.pass_on(self.name, message.order, message.wait)
        self.wire.send(PassedOn(message.number, dict(answers.results), answers.silent))


@asynccontextmanager
async def siblings(count: int) -> AsyncIterator[list[Sibling]]:
    relay = OrderRelay()
    async with AsyncExitStack() as stack:
        yield [await born(number, relay, stack) for number in range(1, count + 1)]


async def born(number: int, relay: OrderRelay, stack: AsyncExitStack) -> Sibling:
    ours, theirs = socket.socketpair()
    link = await ParentLink.of(Seat(number, 80, theirs.detach()), lambda: None)
    sibling = Sibling(number, link, await Wire.over(ours), relay)
    sibling.process.drained.set()
    stack.push_async_callback(sibling.close)
    return sibling


async def test_an_order_reaches_all_whoever_is_asked() -> None:
    async with siblings(3) as all_of_them:
        for asked in all_of_them:
            listed = await asked.order("root", ListSessions(None, 10))
            assert isinstance(listed, Sessions)
            assert {(info.session, info.process) for info in listed.sessions} == {
                (f"socket {number}", str(number)) for number in (1, 2, 3)
            }
            assert (listed.total, listed.silent) == (3, 0)
            assert await asked.order("root", CloseSession("socket 2")) == Done(True)
        assert [len(sibling.process.orders) for sibling in all_of_them] == [6, 6, 6]


async def test_a_drain_is_answered_when_all_are_done() -> None:
    async with siblings(2) as (first, second):
        second.process.drained.clear()
        drain = asyncio.create_task(first.order("root", DrainModel("m")))
        await until(lambda: second.process.orders)
        assert isinstance(await first.order("root", ListSessions(None, 10)), Sessions), "others go on meanwhile"
        assert not drain.done()
        second.process.drained.set()
        assert await drain == Done(True)


async def test_one_that_ends_meanwhile_is_silent_at_once() -> None:
    async with siblings(2) as (first, second):
        second.process.drained.clear()
        drain = asyncio.create_task(first.order("root", DrainModel("m")))
        await until(lambda: second.process.orders)
        await second.close()
        assert await drain == Done(True, 1)
        assert await first.order("root", CloseSession("socket 1")) == Done(True), "nobody waits for it any more"


async def test_one_that_is_not_done_in_time_is_silent() -> None:
    relay = OrderRelay()
    sent: list[Message] = []
    relay.join("1", sent.append)
    assert await relay.pass_on("2", b"order", 0.01) == Answers({}, 1)
    assert sent == [Obey(1, b"order", 0.01)]
    relay.take("1", 1, b"late")
    relay.take("1", 9, b"never asked")
    relay.take("7", 1, b"nobody")


async def test_an_empty_result_is_none() -> None:
    relay = OrderRelay()
    relay.join("1", lambda message: relay.take("1", 1, b""))
    assert await relay.pass_on("2", b"order", 60.0) == Answers({}, 1)


async def test_one_that_hangs_is_sent_no_more_than_some() -> None:
    relay = OrderRelay()
    sent: list[Message] = []
    relay.join("1", sent.append)
    for _ in range(MOST_OWED + 5):
        assert await relay.pass_on("2", b"order", 1e-4) == Answers({}, 1)
    assert len(sent) == MOST_OWED
    assert repr(relay) == f"<OrderRelay owed={{'1': {MOST_OWED}}}>"
    relay.take("1", 1, b"")
    await relay.pass_on("2", b"order", 1e-4)
    assert len(sent) == MOST_OWED + 1


async def test_a_parent_that_hangs_or_is_gone_leaves_the_others_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_wire, "ANSWER_SECONDS", 0.01)
    ours, theirs = socket.socketpair()
    link = await ParentLink.of(Seat(1, 80, theirs.detach()), lambda: None)
    wire = await Wire.over(ours)
    assert await link.order(b"order", 0.01) == Answers({}, 1)
    process = Process(link, "a")
    await wire.close()
    assert await process.order("root", CloseSession("a")) == Done(True, 1)
    with pytest.raises(Overloaded):
        await process.order("root", CloseSession("b"))
    await link.close()


async def test_what_is_no_order_is_answered_with_nothing() -> None:
    async with siblings(1) as (only,):
        relay = only._relay
        assert await relay.pass_on("2", b"nonsense", 5.0) == Answers({}, 1)
        assert only.process.orders == []


async def test_who_starts_later_learns_what_is_drained() -> None:
    async with AsyncExitStack() as stack:
        relay = OrderRelay()
        first = await born(1, relay, stack)
        await first.order("root", DrainModel("m"))
        second = await born(2, relay, stack)
        await until(lambda: second.process.held == {"m"} and second.process.followed)
        assert second.process.orders == []
        await second.order("root", ResumeModel("m"))
        assert first.process.held == set()
        await second.close()
        again = await born(2, relay, stack)
        await until(lambda: again.process.followed)
        assert again.process.held == set()


async def test_who_has_missed_an_order_catches_up() -> None:
    async with siblings(2) as (first, second):
        second._relay._owed["2"] = dict.fromkeys(range(MOST_OWED), asyncio.get_running_loop().create_future())
        assert await first.order("root", DrainModel("m")) == Done(True, 1)
        await until(lambda: second.process.held == {"m"})
        assert second.process.orders == []
