"""Tickets: good once, for 30 s, for whom they were issued to, at any process that shares them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import tickets as module
from pipeline.backbone import BackboneDown
from pipeline.control_messages import Seat
from pipeline.control_wire import ParentLink, Wire
from pipeline.errors import Overloaded, RateLimited, Unauthenticated
from pipeline.identity import Identity
from pipeline.redis_nodes import RedisNodes
from pipeline.redis_records import Keys
from pipeline.scopes import Scopes
from pipeline.supervisor import Child, Supervisor
from pipeline.tickets import (
    LIFETIME,
    MemoryTickets,
    ParentTickets,
    RedisTickets,
    Tickets,
    TicketStore,
    digest_of,
)
from tests.redis_server import RedisServer, running_redis

ADA = Identity("ada", Scopes.parse(["predict:a*", "watch:a/*"]), 1000.0, "token")
Opened = Callable[[], AbstractAsyncContextManager[TicketStore]]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), data=False) as server:
        yield server


@asynccontextmanager
async def tickets_in(redis: RedisServer) -> AsyncIterator[TicketStore]:
    nodes = RedisNodes(redis.url, Keys("ws"))
    try:
        yield RedisTickets(nodes)
    finally:
        await nodes.close()


class TicketContract:
    async def test_a_ticket_is_good_once(self, opened: Opened) -> None:
        async with opened() as store, opened() as elsewhere:
            text = await Tickets(store).issue(ADA)
            holder = await Tickets(elsewhere).redeem(text, 0.0)
            assert (holder.name, holder.scopes, holder.expires_at, holder.kind) == ("ada", ADA.scopes, 1000.0, "ticket")
            for tickets in (Tickets(store), Tickets(elsewhere)):
                with pytest.raises(Unauthenticated, match="no such ticket"):
                    await tickets.redeem(text, 0.0)

    async def test_of_many_that_show_it_at_once_one_gets_in(self, opened: Opened) -> None:
        async with opened() as store:
            tickets = Tickets(store)
            text = await tickets.issue(ADA)
            outcomes = await asyncio.gather(*(tickets.redeem(text, 0.0) for _ in range(50)), return_exceptions=True)
        assert sum(isinstance(outcome, Identity) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Unauthenticated) for outcome in outcomes) == 49

    async def test_who_has_ended_does_not_get_in(self, opened: Opened) -> None:
        async with opened() as store:
            tickets = Tickets(store)
            with pytest.raises(Unauthenticated, match="has ended"):
                await tickets.redeem(await tickets.issue(ADA), 1000.0)

    async def test_with_the_key_that_asked_for_it_the_holder_ends_too(self, opened: Opened) -> None:
        key = Identity("key", ADA.scopes, inf, "key", key_id="ABC")
        keys = {"ABC": key}

        async def find(key_id: str) -> Identity | None:
            return keys.get(key_id)

        async with opened() as store:
            tickets = Tickets(store, find)
            holder = await tickets.redeem(await tickets.issue(key), 0.0)
            late, later = await tickets.issue(key), await tickets.issue(key)
            assert holder.is_valid(1e12)
            key.is_revoked = True
            assert not holder.is_valid(0.0)
            with pytest.raises(Unauthenticated, match="has ended"):
                await tickets.redeem(late, 0.0)
            keys.clear()
            with pytest.raises(Unauthenticated, match="no such ticket"):
                await tickets.redeem(later, 0.0)


class TestMemoryTickets(TicketContract):
    @pytest.fixture
    def opened(self) -> Opened:
        store = MemoryTickets()

        @asynccontextmanager
        async def opened() -> AsyncIterator[TicketStore]:
            yield store

        return opened


class TestParentTickets(TicketContract):
    @pytest.fixture
    def opened(self) -> Opened:
        supervisor = Supervisor([], 2, 0, 0.0, lambda _: None)

        @asynccontextmanager
        async def opened() -> AsyncIterator[TicketStore]:
            ours, theirs = socket.socketpair()
            link = await ParentLink.of(Seat(1, 80, theirs.detach()), lambda: None)
            child = Child(1)
            child.wire = await Wire.over(ours)
            hearing = asyncio.create_task(supervisor._hear(child))
            yield ParentTickets(link)
            await link.close()
            await hearing
            await child.wire.close()

        return opened


class TestRedisTickets(TicketContract):
    @pytest.fixture
    def opened(self, redis: RedisServer) -> Opened:
        return lambda: tickets_in(redis)


async def test_in_memory_a_ticket_is_forgotten_after_30_seconds() -> None:
    now = [0.0]
    store = MemoryTickets(lambda: now[0])
    tickets = Tickets(store)
    early = await tickets.issue(ADA)
    now[0] = LIFETIME - 0.1
    late = await tickets.issue(ADA)
    now[0] = LIFETIME
    with pytest.raises(Unauthenticated):
        await tickets.redeem(early, 0.0)
    assert len(store) == 1
    assert (await tickets.redeem(late, 0.0)).name == "ada"


async def test_redis_forgets_a_ticket_and_never_has_its_text(redis: RedisServer) -> None:
    async with tickets_in(redis) as store:
        text = await Tickets(store).issue(ADA)
    key = f"ws:ticket:{digest_of(text)}"
    assert 29 <= redis.command("TTL", key) <= 30
    everything = b"".join(redis.key_names()) + redis.command("GET", key)
    assert text[4:20].encode() not in everything


async def test_what_others_put_in_the_place_of_a_ticket_is_none(redis: RedisServer) -> None:
    async with tickets_in(redis) as store:
        tickets = Tickets(store)
        for wrong in (b"", b"\xc1", b"\x94\xa1a\x91\xa5wrong\xc0\xa0", b"\x94\xa0\x90\xc0\xa0"):
            text = await tickets.issue(ADA)
            redis.command("SET", f"ws:ticket:{digest_of(text)}", wrong)
            with pytest.raises(Unauthenticated, match="no such ticket"):
                await tickets.redeem(text, 0.0)


async def test_a_redis_that_is_gone_is_told(redis: RedisServer) -> None:
    class Gone(MemoryTickets):
        async def keep(self, digest: str, record: bytes) -> None:
            raise BackboneDown("gone")

        async def take(self, digest: str) -> bytes | None:
            raise BackboneDown("gone")

    with pytest.raises(Overloaded, match="cannot be issued now"):
        await Tickets(Gone()).issue(ADA)
    with pytest.raises(Overloaded, match="cannot be checked now"):
        await Tickets(Gone()).redeem("wst_" + "A" * 43, 0.0)


async def test_tickets_are_bounded_by_name_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 5)
    monkeypatch.setattr(module, "MAX_OPEN_PER_NAME", 3)
    now = [0.0]
    store = MemoryTickets(lambda: now[0])
    tickets = Tickets(store, clock=lambda: now[0])
    other = Tickets(store, clock=lambda: now[0])
    bob = Identity("bob", ADA.scopes)
    for _ in range(3):
        await tickets.issue(ADA)
    with pytest.raises(RateLimited):
        await tickets.issue(ADA)
    await tickets.issue(bob)
    await tickets.issue(bob)
    with pytest.raises(Overloaded):
        await tickets.issue(bob)
    with pytest.raises(Overloaded):
        await other.issue(bob)
    now[0] = LIFETIME
    await tickets.issue(ADA)
    assert (len(store), repr(tickets)) == (1, "<Tickets 1 issued>")


@given(st.text() | st.from_regex(r"wst_[A-Za-z0-9_-]{43}", fullmatch=True))
def test_nothing_gets_in_that_was_not_issued(text: str) -> None:
    async def redeem() -> None:
        tickets = Tickets(MemoryTickets())
        await tickets.issue(ADA)
        with pytest.raises(Unauthenticated):
            await tickets.redeem(text, 0.0)

    asyncio.run(redeem())
