"""The backbone over Redis on bad days: restarts, frozen servers, silent and slow networks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.backbone import BackboneDown, Depth
from pipeline.redis_backbone import RedisBackbone
from tests.redis_server import RedisServer, running_redis
from tests.slow_proxy import SlowProxy

from .redis_parts import backbone_at, heard_again, succeeded

QUICK = 0.5  # seconds


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[SlowProxy]:
    with SlowProxy(server.port) as proxy:
        yield proxy


def through(proxy: SlowProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}"


@asynccontextmanager
async def echo(backbone: RedisBackbone, heard: "asyncio.Queue[bytes]") -> AsyncIterator[None]:
    async with backbone.listen("c", heard.put_nowait):
        yield


async def test_killed_and_started_with_its_data_nothing_that_was_put_is_lost(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        ids = await backbone.put("q", [b"a", b"b"])
        await backbone.open_box("b", 60)
        await backbone.reply("b", [b"1"])
        (first,) = await backbone.take(["q"], "w", 1, 5)
        before = backbone.nodes.seed.generation
        server.kill()
        with pytest.raises(BackboneDown):
            await backbone.put("q", [b"c"])
        was_up = backbone.is_up
        server.start()
        await succeeded(lambda: backbone.members("worker"))
        assert (was_up, backbone.is_up) == (False, True)
        assert backbone.nodes.seed.generation != before
        assert backbone.nodes.seed.generation.partition(":")[2] == before.partition(":")[2]
        assert await backbone.holds("q", ids) == set(ids)
        assert await backbone.depth("q") == Depth(1, 1)
        assert [d.count for d in await backbone.claim("q", "w2", 0, 10)] == [2]
        assert [d.payload for d in await backbone.take(["q"], "w2", 10, 5)] == [b"b"]
        assert [letter for _, letter in await backbone.replies("b", "", 10, 5)] == [b"1"]
        assert backbone.nodes.counts.reconnects > 0
        assert backbone.nodes.counts.errors > 0
        assert first.id in ids


async def test_killed_and_started_without_its_data_all_works_anew(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        ids = await backbone.put("q", [b"a"])
        await backbone.take(["q"], "w", 1, 5)
        await backbone.open_box("b", 60)
        before = backbone.nodes.seed.generation
        server.kill()
        server.lose_data()
        server.start()
        await succeeded(lambda: backbone.members("worker"))
        assert not await backbone.reply("b", [b"late"])
        assert backbone.nodes.seed.generation.partition(":")[2] != before.partition(":")[2]
        assert await backbone.holds("q", ids) == set()
        await backbone.done("q", ids)
        assert await backbone.open_box("b", 60)
        await backbone.put("q", [b"b"])
        assert [d.payload for d in await backbone.take(["q"], "w", 10, 5)] == [b"b"]


async def test_who_waits_while_it_is_killed_is_told(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        waiting = [
            asyncio.create_task(backbone.take(["q"], "w", 1, 60)),
            asyncio.create_task(backbone.replies("b", "", 1, 60)),
        ]
        await backbone.take(["r"], "w", 1, 0.05)
        server.kill()
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, BackboneDown)


async def test_listeners_hear_again_after_a_restart(server: RedisServer) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with backbone_at(server.url) as backbone, echo(backbone, heard):
        await backbone.publish("c", [b"before"])
        assert await heard.get() == b"before"
        server.kill()
        server.start()
        await heard_again(backbone, heard)


async def test_nothing_there_is_told_to_callers_and_listeners(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with backbone_at(server.url) as backbone:
        with pytest.raises(BackboneDown, match=f"127.0.0.1:{server.port}: Connection refused"):
            await backbone.put("q", [b"a"])
        with pytest.raises(BackboneDown):
            await backbone.listen("c", lambda _: None).__aenter__()
        assert backbone.nodes.seed.generation == ":"


async def test_a_frozen_server_is_noticed_and_its_return_too(server: RedisServer) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with backbone_at(server.url, patience=QUICK) as backbone, echo(backbone, heard):
        await backbone.put("q", [b"a"])
        server.pause()
        started = asyncio.get_running_loop().time()
        calls = (backbone.depth("q"), backbone.take(["r"], "w", 1, 60), backbone.replies("b", "", 1, 60))
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, BackboneDown)
        assert asyncio.get_running_loop().time() - started < 4 * QUICK
        server.resume()
        await succeeded(lambda: backbone.members("worker"))
        assert await backbone.depth("q") == Depth(1, 0)
        await heard_again(backbone, heard)


async def test_a_network_that_swallows_everything_is_noticed_by_listeners(
    server: RedisServer, proxy: SlowProxy
) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with (
        backbone_at(server.url) as sender,
        backbone_at(through(proxy), patience=QUICK) as receiver,
        echo(receiver, heard),
    ):
        await sender.publish("c", [b"before"])
        assert await heard.get() == b"before"
        before = proxy.accepted
        proxy.stall()
        while receiver.is_up:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        proxy.flow()
        await heard_again(sender, heard)
        assert proxy.accepted > before


async def test_a_quiet_listener_is_not_taken_for_a_dead_one(server: RedisServer, proxy: SlowProxy) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with (
        backbone_at(server.url) as sender,
        backbone_at(through(proxy), patience=0.1) as receiver,
        echo(receiver, heard),
    ):
        before = proxy.accepted
        await sender.take(["q"], "w", 1, 0.6)
        await sender.publish("c", [b"late"])
        assert await heard.get() == b"late"
        assert proxy.accepted == before
        assert receiver.nodes.counts.errors == 0


async def test_cut_connections_are_made_again(server: RedisServer, proxy: SlowProxy) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with backbone_at(through(proxy)) as backbone, echo(backbone, heard):
        waiting = asyncio.create_task(backbone.take(["q"], "w", 1, 60))
        await backbone.take(["r"], "w", 1, 0.05)
        before = backbone.nodes.seed.generation
        proxy.cut()
        with pytest.raises(BackboneDown):
            await waiting
        await succeeded(lambda: backbone.members("worker"))
        await heard_again(backbone, heard)
        assert backbone.nodes.seed.generation == before
        assert backbone.nodes.counts.reconnects > 0


async def test_a_slow_network_makes_everything_late_and_nothing_wrong(server: RedisServer) -> None:
    with SlowProxy(server.port, latency=0.025) as proxy:
        async with backbone_at(through(proxy)) as backbone:
            await backbone.check()
            await backbone.open_box("b", 60)
            for number in range(4):
                await backbone.put("q", [b"%d" % number])
                (taken,) = await backbone.take(["q"], "w", 1, 5)
                assert await backbone.reply("b", [taken.payload])
                await backbone.done("q", [taken.id])
                assert taken.age < 0.5
            assert [letter for _, letter in await backbone.replies("b", "", 100, 5)] == [b"%d" % n for n in range(4)]
            assert backbone.nodes.round_trip_seconds > 0.05
            assert backbone.nodes.counts.errors == 0


async def test_a_loss_is_logged_once_and_the_return_once(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pipeline")
    async with backbone_at(server.url) as backbone:
        await backbone.put("q", [b"a"])
        server.kill()
        for _ in range(5):
            with pytest.raises(BackboneDown):
                await backbone.put("q", [b"b"])
        server.start()
        await succeeded(lambda: backbone.members("worker"))
    lines = [record.message for record in caplog.records]
    assert len(lines) == 3
    assert [line.endswith("answers") for line in lines] == [True, False, True]


async def test_cancelled_calls_leave_no_reply_for_the_next(server: RedisServer) -> None:
    with SlowProxy(server.port, latency=0.02) as proxy:
        async with backbone_at(through(proxy)) as backbone:
            await backbone.put("q", [b"a"])
            for _ in range(10):
                task = asyncio.create_task(backbone.depth("q"))
                await asyncio.sleep(0.03)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert await backbone.members("worker") == {}
            assert await backbone.depth("q") == Depth(1, 0)


async def test_a_storm_of_cancelled_calls_costs_no_connection(server: RedisServer) -> None:
    with SlowProxy(server.port, latency=0.002) as proxy:
        async with backbone_at(through(proxy), patience=2.0) as backbone:
            for _ in range(10):
                calls = [backbone.depth("q") for _ in range(40)] + [backbone.take(["q"], "w", 1, 60) for _ in range(10)]
                tasks = [asyncio.create_task(call) for call in calls]
                for number, task in enumerate(tasks):
                    asyncio.get_running_loop().call_later(0.001 * (number % 25), task.cancel)
                await asyncio.gather(*tasks, return_exceptions=True)
            found = await asyncio.gather(*(backbone.depth("q") for _ in range(100)))
            assert set(found) == {Depth(0, 0)}


async def test_a_primary_that_becomes_a_replica_is_left_and_found_again(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.put("q", [b"a"])
        server.command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(BackboneDown, match="replica"):
            await backbone.put("q", [b"b"])
        assert not backbone.is_up
        server.command("REPLICAOF", "NO", "ONE")
        await backbone.put("q", [b"c"])
        assert backbone.nodes.counts.reconnects == 1


async def test_of_what_was_put_while_it_is_killed_again_and_again_nothing_is_lost(server: RedisServer) -> None:
    kept: list[str] = []
    seen: dict[str, int] = {}
    is_over = False

    async def produce(backbone: RedisBackbone) -> None:
        while not is_over:
            try:
                kept.extend(await backbone.put("q", [b"x", b"y"]))
            except BackboneDown:
                await asyncio.sleep(0.01)

    async def consume(backbone: RedisBackbone, worker: str) -> None:
        while not is_over or set(kept) - seen.keys():
            try:
                found = await backbone.take(["q"], worker, 10, 0.05) + await backbone.claim("q", worker, 0.3, 10)
                for delivery in found:
                    seen[delivery.id] = seen.get(delivery.id, 0) + 1
                await backbone.done("q", [delivery.id for delivery in found])
            except BackboneDown:
                await asyncio.sleep(0.01)

    async with backbone_at(server.url) as gateway, backbone_at(server.url) as worker:
        async with asyncio.TaskGroup() as group:
            group.create_task(produce(gateway))
            group.create_task(consume(worker, "w1"))
            group.create_task(consume(worker, "w2"))
            for _ in range(3):
                await asyncio.sleep(0.2)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            await asyncio.sleep(0.2)
            is_over = True
        assert len(kept) > 50
        assert set(kept) <= seen.keys()
