"""Orders between processes over a backbone: one in memory, and a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.admin_messages import Done, Sessions
from pipeline.backbone import Backbone
from pipeline.memory_backbone import MemoryBackbone
from pipeline.order_channel import CHANNEL, KIND, MOST_OBEYED, OrderChannel
from pipeline.order_letters import FORMAT, MAX_ORDER_BYTES, Call, Reply, decode_call, decode_reply, encode
from pipeline.orders import (
    MAX_RESULT_BYTES,
    Answers,
    CloseSession,
    Did,
    DrainModel,
    ForeignOrder,
    ListSessions,
    Order,
    ResumeModel,
    Task,
    encode_order,
    encode_result,
)
from tests.redis_server import RedisServer, running_redis

from .order_parts import Process, until, until_asked
from .redis_parts import backbone_at

EVERY = 0.02  # seconds between two signs of life
SOON = 0.3  # seconds that are enough for an answer, where there is one

Opener = Callable[[], AbstractAsyncContextManager[Backbone]]


class Member:
    """A process with its channel."""

    def __init__(self, backbone: Backbone, name: str, drain_seconds: float = 5.0, ttl: float = 2.0) -> None:
        self.channel = OrderChannel(backbone, name, every=EVERY, ttl=ttl)
        self.process = Process(self.channel, f"socket of {name}", drain_seconds)
        self.order = self.process.order

    async def kill(self) -> None:
        """End without a word, as SIGKILL does."""
        for task in self.channel._tasks:
            task.cancel()
        await asyncio.gather(*self.channel._tasks, return_exceptions=True)

    def falls_silent(self) -> None:
        """Obey no more, and look alive."""

        async def obey(order: bytes, wait: float) -> bytes:
            await asyncio.Event().wait()
            return order

        self.channel.serve(obey, self.process.standing)


@asynccontextmanager
async def members(opened: Opener, names: str, **options: float) -> AsyncIterator[list[Member]]:
    """Run a process for each letter of `names`, until all of them know each other."""
    async with AsyncExitStack() as stack:
        started = []
        for name in names:
            member = Member(await stack.enter_async_context(opened()), name, **options)
            member.channel.start()
            stack.push_async_callback(member.channel.stop)
            started.append(member)
        await until(lambda: all(member.channel._hears.is_set() for member in started))
        await until(lambda: all(len(member.channel._others) == len(names) - 1 for member in started))
        yield started


@asynccontextmanager
async def members_beside(opened: Opener, name: str) -> AsyncIterator[Member]:
    """Run one more process."""
    async with opened() as backbone:
        member = Member(backbone, name)
        member.process.drained.set()
        member.channel.start()
        try:
            yield member
        finally:
            await member.channel.stop()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder: Path = tmp_path_factory.mktemp("redis")
    with running_redis(folder, data=False) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def opened(request: pytest.FixtureRequest, redis: RedisServer) -> Opener:
    """Give what opens backbones over the same store."""
    redis.command("FLUSHALL")
    if request.param == "redis":
        return lambda: backbone_at(redis.url)
    shared: list[MemoryBackbone] = []

    @asynccontextmanager
    async def open_memory() -> AsyncIterator[Backbone]:
        if not shared:
            shared.append(MemoryBackbone())
        yield shared[0]

    return open_memory


async def test_an_order_reaches_all_whoever_is_asked(opened: Opener) -> None:
    async with members(opened, "abc") as all_of_them:
        for asked in all_of_them:
            listed = await asked.order("root", ListSessions(None, 10))
            assert isinstance(listed, Sessions)
            told = {(info.session, info.process) for info in listed.sessions}
            assert told == {(f"socket of {name}", name) for name in "abc"}
            assert (listed.total, listed.silent) == (3, 0)
            assert await asked.order("root", CloseSession("socket of b")) == Done(True)
        assert [len(member.process.orders) for member in all_of_them] == [6, 6, 6]
        assert [member.channel.foreign for member in all_of_them] == [0, 0, 0]


async def test_orders_at_the_same_time_get_their_own_results(opened: Opener) -> None:
    async with members(opened, "ab") as (first, second):
        second.falls_silent()
        closes = [asyncio.create_task(first.channel.order(b"order", 0.2)) for _ in range(3)]
        assert await asyncio.gather(*closes) == [Answers({}, 1)] * 3
    async with members(opened, "cd") as (first, second):
        second.process.drained.set()
        tasks: list[Task] = [DrainModel("m"), CloseSession("socket of d"), CloseSession("nobody's")] * 3
        orders = [encode_order(Order("root", task)) for task in tasks]
        answers = await asyncio.gather(*(first.channel.order(order, 5.0) for order in orders))
        done = [encode_result(Did(is_done)) for is_done in (True, True, False)] * 3
        assert answers == [Answers({"d": result}, 0) for result in done]


async def test_a_drain_is_answered_when_all_are_done(opened: Opener) -> None:
    async with members(opened, "ab") as (first, second):
        drain = asyncio.create_task(first.order("root", DrainModel("m")))
        first.process.drained.set()
        await until(lambda: second.process.orders)
        assert not drain.done()
        second.process.drained.set()
        assert await drain == Done(True)


async def test_one_that_is_silent_is_told_and_the_others_are_heard(opened: Opener) -> None:
    async with members(opened, "abc") as (first, second, third):
        third.falls_silent()
        answers = await first.channel.order(encode_order(Order("root", CloseSession("x"))), SOON)
        assert answers == Answers({"b": encode_result(Did(False))}, 1)
        assert second.process.orders == [Order("root", CloseSession("x"))]


async def test_one_that_dies_is_silent_until_it_is_forgotten_and_one_that_leaves_is_not(opened: Opener) -> None:
    async with members(opened, "abc", ttl=0.5) as (first, second, third):
        close = encode_order(Order("root", CloseSession("x")))
        done = encode_result(Did(False))
        await second.channel.stop()
        assert await first.channel.order(close, 5.0) == Answers({"c": done}, 0)
        await third.kill()
        assert await first.channel.order(close, 0.1) == Answers({}, 1)
        await until_asked(lambda: first.channel.order(close, 0.1), Answers({}, 0))


async def test_where_the_backbone_is_out_of_reach_at_least_one_is_silent() -> None:
    backbone = MemoryBackbone()
    alone = OrderChannel(backbone, "a")
    backbone.go_down()
    assert await alone.order(b"order", 1.0) == Answers({}, 1)
    backbone.come_back()
    assert await alone.order(b"order", 1.0) == Answers({}, 0)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Backbone]:
        yield backbone

    async with members(opened, "abc") as (first, *_):
        backbone.go_down()
        assert await first.order("root", CloseSession("socket of a")) == Done(True, 2)
        backbone.come_back()


async def test_who_starts_later_learns_what_is_drained(opened: Opener) -> None:
    async with members(opened, "ab") as (first, second):
        for member in (first, second):
            member.process.drained.set()
        await first.order("root", DrainModel("m"))
        async with members_beside(opened, "c") as late:
            await until(lambda: late.process.held == {"m"})
            assert late.process.followed > 0
            assert late.process.orders == []
            assert late.process.standing.marks["m"].by == "root"
            await late.order("root", ResumeModel("m"))
            assert (first.process.held, second.process.held) == (set(), set())


async def test_who_has_missed_an_order_catches_up(opened: Opener) -> None:
    async with members(opened, "ab") as (first, second):
        first.process.drained.set()
        second.falls_silent()
        assert await first.order("root", DrainModel("m")) == Done(True, 1)
        await until(lambda: second.process.held == {"m"})
        assert await first.order("root", ResumeModel("m")) == Done(True, 1)
        await until(lambda: second.process.held == set())


async def test_foreign_cards_are_counted_and_their_owners_waited_for(opened: Opener) -> None:
    async with opened() as stranger, members(opened, "a") as (only,):
        await stranger.announce(KIND, "z", b"\xc1", 60.0)
        await until(lambda: only.channel.foreign)
        assert await only.channel.order(b"order", 0.1) == Answers({}, 1)
        assert only.process.held == set()


async def test_foreign_letters_are_counted_and_nothing_comes_of_them(opened: Opener) -> None:
    async with opened() as stranger, members(opened, "a") as (only,):
        close = encode_order(Order("root", CloseSession("x")))
        letters = [
            b"",
            b"\x80\x04K\x01.",
            encode(Call(FORMAT, "b", 1, b"no order", 1.0)),
            encode(Call(FORMAT + 1, "b", 1, close, 1.0)),
        ]
        await stranger.publish(CHANNEL, letters)
        await until(lambda: only.channel.foreign == len(letters))
        assert only.process.orders == []
        await stranger.publish(CHANNEL, [encode(Call(FORMAT, "b", 1, close, 1.0))])
        await until(lambda: only.process.orders)
        assert only.channel.foreign == len(letters)


async def test_results_of_those_who_were_not_asked_count_as_foreign(opened: Opener) -> None:
    async with opened() as stranger, members(opened, "ab") as (first, second):
        second.falls_silent()
        asked = asyncio.create_task(first.channel.order(b"order", 2.0))
        letters = [b"\xc1", encode(Reply(FORMAT, "z", b"done")), encode(Reply(FORMAT + 1, "b", b"done"))]
        while first.channel.foreign < len(letters):
            await stranger.publish(f"{CHANNEL}/a/1", letters)
            await asyncio.sleep(0.01)
        await stranger.publish(f"{CHANNEL}/a/1", [encode(Reply(FORMAT, "b", b"done"))])
        assert await asked == Answers({"b": b"done"}, 0)


async def test_others_cannot_have_more_than_some_orders_obeyed_at_once() -> None:
    backbone = MemoryBackbone()
    member = Member(backbone, "a")
    drain = encode_order(Order("root", DrainModel("m")))
    for number in range(1, MOST_OBEYED + 10):
        member.channel._receive(encode(Call(FORMAT, "b", number, drain, 60.0)))
    await until(lambda: len(member.process.orders) == MOST_OBEYED)
    member.process.drained.set()
    await until(lambda: not member.channel._obeying)
    assert len(member.process.orders) == MOST_OBEYED
    assert repr(member.channel) == "<OrderChannel a others=0 obeying=0>"


async def test_whoever_leaves_is_no_member_any_more(opened: Opener) -> None:
    async with opened() as backbone:
        async with members(opened, "ab"):
            assert (await backbone.members(KIND)).keys() == {"a", "b"}
        assert await backbone.members(KIND) == {}


def test_letters_come_through_whole() -> None:
    call, reply = Call(FORMAT, "a", 3, b"order", 2.5), Reply(FORMAT, "a", b"result")
    assert decode_call(encode(call)) == call
    assert decode_reply(encode(reply)) == reply


@pytest.mark.parametrize(
    "wrong",
    [
        [FORMAT, "", 1, b"order", 1.0],
        [FORMAT, "a" * 257, 1, b"order", 1.0],
        [FORMAT, "a", 0, b"order", 1.0],
        [FORMAT, "a", 1, "order", 1.0],
        [FORMAT, "a", 1, b"order", 0.0],
        [FORMAT, "a", 1, b"order", -1.0],
        [FORMAT, "a", 1, b"order", float("nan")],
        [FORMAT, "a", 1, b"order", float("inf")],
        [FORMAT, "a", 1, b"order", 1.0, None],
        [FORMAT, "a", 1, bytes(MAX_ORDER_BYTES), 1.0],
    ],
    ids=lambda wrong: repr(wrong)[:60],
)
def test_what_is_no_call_is_foreign(wrong: Any) -> None:
    with pytest.raises(ForeignOrder, match="no call: "):
        decode_call(msgspec.msgpack.encode(wrong))


def test_a_result_that_is_too_large_is_foreign() -> None:
    with pytest.raises(ForeignOrder, match="at most"):
        decode_reply(encode(Reply(FORMAT, "a", bytes(MAX_RESULT_BYTES + MAX_ORDER_BYTES))))


@given(st.binary(max_size=200))
def test_bytes_are_a_letter_or_foreign(payload: bytes) -> None:
    for decode in (decode_call, decode_reply):
        try:
            decode(payload)
        except ForeignOrder:
            continue
