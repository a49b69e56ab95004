"""What a process and its parent tell each other, over a real pair of sockets."""

import asyncio
import os
import socket

import pytest

from pipeline import control_wire
from pipeline.control_messages import (
    SEAT,
    Drain,
    KeepTicket,
    Message,
    Ready,
    Refused,
    Scrape,
    Scraped,
    Seat,
    TakeTicket,
    Tell,
    Ticket,
    Told,
    seat_text,
)
from pipeline.control_wire import ParentLink, Wire, own_seat
from pipeline.errors import Overloaded, ShuttingDown
from pipeline.merged_metrics import Family

NUMBERS = [Family("c", "Counted", "counter", [("c_total", (("code", "x"),), 5.0)])]


class Pair:
    """A process's link, and the wire at its parent's end."""

    link: ParentLink
    wire: Wire

    async def __aenter__(self) -> "Pair":
        ours, theirs = socket.socketpair()
        self.drained = asyncio.Event()
        self.link = await ParentLink.of(Seat(1, 80, theirs.detach()), self.drained.set)
        self.wire = await Wire.over(ours)
        self._messages = self.wire.messages()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.close()
        await self.wire.close()

    async def next(self) -> Message:
        return await anext(self._messages)


async def test_a_process_tells_its_numbers_when_it_is_asked_and_before_it_ends() -> None:
    async with Pair() as pair:
        pair.link.ready("http://x:80", lambda: NUMBERS)
        assert await pair.next() == Ready("http://x:80")
        pair.wire.send(Tell())
        assert await pair.next() == Told(NUMBERS)
        await pair.link.close()
        assert await pair.next() == Told(NUMBERS)
        with pytest.raises(StopAsyncIteration):
            await pair.next()


async def test_a_process_that_is_not_ready_has_no_numbers() -> None:
    async with Pair() as pair:
        pair.link.refuse("no such file")
        pair.wire.send(Tell())
        assert [await pair.next(), await pair.next()] == [Refused("no such file"), Told([])]


async def test_a_process_drains_when_it_is_told_to() -> None:
    async with Pair() as pair:
        pair.wire.send(Drain())
        await pair.drained.wait()


async def test_a_process_without_a_parent_drains_and_has_no_numbers_of_all() -> None:
    async with Pair() as pair:
        asked = asyncio.create_task(pair.link.scrape(""))
        assert await pair.next() == Scrape(1, "")
        await pair.wire.close()
        with pytest.raises(ShuttingDown):
            await asked
        await pair.drained.wait()
        with pytest.raises(ShuttingDown):
            await pair.link.scrape("")


async def test_each_question_gets_its_own_answer() -> None:
    async with Pair() as pair:
        asked = [asyncio.create_task(pair.link.scrape(accept)) for accept in "ab"]
        for accept, question in zip("ab", [await pair.next(), await pair.next()], strict=True):
            assert isinstance(question, Scrape)
            assert question.accept == accept
        for number in (2, 1, 1, 7):
            pair.wire.send(Scraped(number, "text/plain", str(number).encode()))
        assert [(await task).body for task in asked] == [b"1", b"2"]


async def test_a_parent_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_wire, "ANSWER_SECONDS", 0.01)
    async with Pair() as pair:
        with pytest.raises(Overloaded, match="does not answer"):
            await pair.link.scrape("")
        pair.wire.send(Scraped(1, "text/plain", b"late"))
        pair.wire.send(Drain())
        await pair.drained.wait()


async def test_no_more_than_some_may_ask_at_the_same_time() -> None:
    async with Pair() as pair:
        asked = [asyncio.create_task(pair.link.scrape("")) for _ in range(control_wire.MOST_SCRAPES)]
        for _ in asked:
            await pair.next()
        with pytest.raises(Overloaded, match="at the same time"):
            await pair.link.scrape("")
        pair.wire.send(Scraped(1, "text/plain", b""))
        await asked[0]
        asked[0] = asyncio.create_task(pair.link.scrape(""))
        await pair.next()
        await pair.wire.close()
        assert all(
            isinstance(outcome, ShuttingDown) for outcome in await asyncio.gather(*asked, return_exceptions=True)
        )


async def test_what_nobody_reads_any_more_is_dropped() -> None:
    async with Pair() as pair:
        await pair.wire.close()
        pair.wire.send(Tell())
        await pair.drained.wait()


def test_a_process_finds_its_seat_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_seat() is None
    monkeypatch.setenv(SEAT, seat_text(Seat(2, 8888, 5)))
    assert own_seat() == Seat(2, 8888, 5)
    assert SEAT not in os.environ
    assert own_seat() is None


async def test_a_ticket_is_kept_and_taken_by_number() -> None:
    async with Pair() as pair:
        kept = asyncio.create_task(pair.link.keep_ticket("d", b"who"))
        assert await pair.next() == KeepTicket(1, "d", b"who")
        taken = asyncio.create_task(pair.link.take_ticket("d"))
        assert await pair.next() == TakeTicket(2, "d")
        pair.wire.send(Ticket(2, True, b"who"))
        pair.wire.send(Ticket(7, True, b"nobody asked"))
        pair.wire.send(Ticket(1, False))
        assert (await taken, await kept) == (b"who", False)


async def test_a_parent_that_does_not_answer_or_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_wire, "ANSWER_SECONDS", 0.05)
    async with Pair() as pair:
        with pytest.raises(Overloaded, match="does not answer"):
            await pair.link.take_ticket("d")
        await pair.wire.close()
        await pair.drained.wait()
        with pytest.raises(ShuttingDown):
            await pair.link.keep_ticket("d", b"who")
