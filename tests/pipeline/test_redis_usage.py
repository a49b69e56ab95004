"""Usage in Redis: the contract, and that nothing is added twice when replies are lost."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from pipeline.redis_nodes import RedisNodes
from pipeline.redis_records import Keys
from pipeline.redis_usage import RedisUsage
from pipeline.usage import UsageRow
from pipeline.usage_store import DAY, UsageInDoubt, UsageStore, UsageUnavailable
from tests.redis_server import RedisServer, running_redis
from tests.slow_proxy import SlowProxy

from .usage_contract import DAYS, NOON, OpenStore, UsageContract

KEYS = Keys("ws")
ROW = UsageRow(NOON, "acme", "m", 1, 1, 1, 1, 0.5)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), data=False) as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.set("maxmemory", 0)
    running.command("FLUSHALL")
    return running


@asynccontextmanager
async def store_at(url: str, name: str = "a", patience: float = 5.0) -> AsyncIterator[RedisUsage]:
    nodes = RedisNodes(url, KEYS, patience)
    store = RedisUsage(nodes, KEYS, name, DAYS)
    try:
        yield store
    finally:
        await nodes.close()


class TestRedisUsage(UsageContract):
    @pytest.fixture
    def opened(self, server: RedisServer) -> OpenStore:
        @asynccontextmanager
        async def opened(name: str) -> AsyncIterator[UsageStore]:
            async with store_at(server.url, name) as store:
                yield store
                await store.close()

        return opened


async def test_every_key_expires(server: RedisServer) -> None:
    async with store_at(server.url) as store:
        await store.add([ROW])
    left = {key: int(server.command("TTL", key)) for key in server.key_names() if key != b"ws:marker"}
    assert sorted(left) == [
        b"ws:{usage}:by a:usage",
        b"ws:{usage}:hour 1795262400:usage",
        b"ws:{usage}:month 1793491200:usage",
    ]
    assert DAYS * DAY - 10 <= left[b"ws:{usage}:hour 1795262400:usage"] <= DAYS * DAY
    assert all(seconds > 0 for seconds in left.values())


async def test_what_lies_there_of_others_is_left_out(server: RedisServer) -> None:
    async with store_at(server.url) as store:
        await store.add([ROW])
        server.command("HSET", KEYS.usage(f"hour {NOON}"), b"\xff", "1", '["a","b"]', "1", '["a","b","events"]', "x")
        assert await store.read(NOON, NOON + 1) == [ROW]
        server.command("SET", KEYS.usage(f"hour {NOON}"), "a text")
        with pytest.raises(UsageUnavailable):
            await store.read(NOON, NOON + 1)
        assert await store.read(NOON, NOON + 1) == []


TWICE = ROW._replace(events=2, predictions=2, errors=2, bytes=2, compute_seconds=1.0)
NEXT = ROW._replace(identity="next")


async def test_what_was_done_although_the_reply_was_lost_is_not_done_again(server: RedisServer) -> None:
    async with store_at(server.url, patience=0.3) as store:
        await store.add([ROW])
        server.pause()
        with pytest.raises(UsageInDoubt):
            await store.add([ROW])
        with pytest.raises(UsageUnavailable) as caught:
            await store.add([NEXT])
        server.resume()
        assert not isinstance(caught.value, UsageInDoubt), "nobody has taken these rows"
        await store.add([NEXT])
        assert await store.read(NOON, NOON + 1) == [TWICE, NEXT]


@pytest.mark.parametrize("closes", [False, True])
async def test_what_never_arrived_is_done_later(server: RedisServer, closes: bool) -> None:
    with SlowProxy(server.port) as proxy:
        async with store_at(f"redis://127.0.0.1:{proxy.port}", patience=0.3) as store:
            await store.add([ROW])
            proxy.stall()
            with pytest.raises(UsageInDoubt):
                await store.add([ROW])
            assert "in doubt=True" in repr(store)
            proxy.cut()
            proxy.flow()
            await (store.close() if closes else store.add([]))
            assert await store.read(NOON, NOON + 1) == [TWICE]


async def test_a_full_redis_takes_nothing(server: RedisServer) -> None:
    async with store_at(server.url) as store:
        await store.add([ROW])
        server.set("maxmemory", 1)
        with pytest.raises(UsageUnavailable) as caught:
            await store.add([ROW])
        assert not isinstance(caught.value, UsageInDoubt)
        server.set("maxmemory", 0)
        assert await store.read(NOON, NOON + 1) == [ROW]
        await store.add([ROW])
        assert [row.events for row in await store.read(NOON, NOON + 1)] == [2]
