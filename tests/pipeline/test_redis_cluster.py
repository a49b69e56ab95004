"""The backbone over a Redis Cluster: the contract, slots that move, and primaries that are replaced."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.backbone import Backbone, BackboneDown, Depth
from pipeline.errors import ConfigError
from pipeline.redis_backbone import RedisBackbone
from pipeline.redis_checks import RedisUnreachable
from pipeline.redis_records import Keys, key_slot
from tests.redis_cluster import RedisCluster, low_port, running_cluster
from tests.redis_server import binaries, running_redis

from .backbone_contract import BackboneContract
from .queue_contract import Open
from .redis_parts import backbone_at, heard_again, opener, succeeded

KEYS = Keys("ws")


@pytest.fixture(scope="module", params=binaries().items(), ids=lambda item: item[0])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster"), binary=request.param[1]) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: RedisCluster) -> RedisCluster:
    running.at_primaries("CONFIG", "SET", "maxmemory", 0)
    running.at_primaries("FLUSHALL")
    return running


class TestRedisCluster(BackboneContract):
    @pytest.fixture
    def opened(self, cluster: RedisCluster) -> Open:
        return opener(cluster.url)

    @pytest.fixture
    def small(self, cluster: RedisCluster) -> Open:
        owner = cluster.holder(KEYS.queue("q"))
        owner.set("maxmemory", owner.command("INFO", "memory")["used_memory"] + 4_000_000)
        return opener(cluster.url)

    async def dead_letters(self, backbone: Backbone) -> list[tuple[str, str, int, str, bytes]]:
        assert isinstance(backbone, RedisBackbone)
        link = await backbone.nodes.of(KEYS.dead)
        (entries,) = await link.run(("XRANGE", KEYS.dead, "-", "+"))
        letters = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]
        return [
            (x[b"queue"].decode(), x[b"id"].decode(), int(x[b"count"]), x[b"reason"].decode(), x[b"payload"])
            for x in letters
        ]


async def test_it_passes_its_own_checks_and_leaves_nothing(cluster: RedisCluster) -> None:
    async with backbone_at(cluster.url) as backbone:
        await backbone.check()
        assert backbone.is_up
        assert cluster.key_names() in ([], [b"ws:marker"])


async def test_shards_lie_at_all_primaries(cluster: RedisCluster) -> None:
    async with backbone_at(cluster.url) as backbone:
        for shard in range(6):
            await backbone.put(f"q/{shard}", [b"a"])
        counts = [len([key for key in keys if key.endswith(b":rows")]) for keys in cluster.at_primaries("KEYS", "*")]
        assert sum(counts) == 6
        assert min(counts) >= 1


async def test_a_slot_that_moves_is_followed_and_nothing_is_lost(cluster: RedisCluster) -> None:
    async with backbone_at(cluster.url) as gateway, backbone_at(cluster.url) as worker:
        await gateway.open_box("b", 60)
        ids = await gateway.put("q", [b"a", b"b"])
        (first,) = await worker.take(["q"], "w", 1, 5)
        waiting = asyncio.create_task(gateway.replies("b", "", 1, 60))
        assert await gateway.replies("other", "", 1, 0.05) == []
        slot = key_slot(KEYS.queue("q"))
        source = cluster.owner(slot)
        target = next(node for node in cluster.primaries if node is not source)
        await asyncio.to_thread(cluster.move, slot, target)
        try:
            with pytest.raises(BackboneDown, match="another node has the key now"):
                await waiting
            assert await gateway.depth("q") == Depth(1, 1)
            assert await gateway.holds("q", ids) == set(ids)
            with pytest.raises(BackboneDown, match="another node has the key now"):
                await worker.settle("b", [b"1"], "q", [first.id])
            assert await worker.settle("b", [b"1"], "q", [first.id])
            assert [delivery.payload for delivery in await worker.take(["q"], "w", 10, 5)] == [b"b"]
            assert [letter for _, letter in await gateway.replies("b", "", 10, 5)] == [b"1"]
            assert gateway.nodes.counts.errors == 0
        finally:
            await asyncio.to_thread(cluster.move, slot, source)


async def test_a_listener_follows_its_channel(cluster: RedisCluster) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    slot = key_slot(KEYS.channel("c"))
    source = cluster.owner(slot)
    target = next(node for node in cluster.primaries if node is not source)
    async with backbone_at(cluster.url) as one, backbone_at(cluster.url) as other, one.listen("c", heard.put_nowait):
        await other.publish("c", [b"before"])
        assert await heard.get() == b"before"
        await asyncio.to_thread(cluster.move, slot, target)
        try:
            await heard_again(other, heard)
        finally:
            await asyncio.to_thread(cluster.move, slot, source)


async def test_each_primary_is_checked(cluster: RedisCluster) -> None:
    last = cluster.primaries[2]
    last.command("ACL", "SETUSER", "default", "-xclaim")
    try:
        async with backbone_at(cluster.url) as backbone:
            with pytest.raises(ConfigError, match=f"127.0.0.1:{last.port}: the user may not run XCLAIM"):
                await backbone.check()
    finally:
        last.command("ACL", "SETUSER", "default", "+xclaim")


async def test_who_may_not_ask_for_slots_is_told(cluster: RedisCluster) -> None:
    first = cluster.primaries[0]
    first.command("ACL", "SETUSER", "default", "-cluster")
    try:
        async with backbone_at(cluster.url) as backbone:
            with pytest.raises(ConfigError, match="the user may not run CLUSTER SLOTS"):
                await backbone.check()
    finally:
        first.command("ACL", "SETUSER", "default", "+cluster")


async def test_a_cluster_has_one_database(cluster: RedisCluster) -> None:
    async with backbone_at(f"{cluster.url}/99") as backbone:
        with pytest.raises(ConfigError, match=r"SELECT|DB index"):
            await backbone.check()


async def test_a_cluster_without_slots_is_not_there_yet(tmp_path: Path) -> None:
    with running_redis(tmp_path, "--cluster-enabled", "yes", data=False, port=low_port()) as member:
        async with backbone_at(member.url) as backbone:
            with pytest.raises(RedisUnreachable, match="has no slots"):
                await backbone.check()
            with pytest.raises(BackboneDown, match="has no slots"):
                await backbone.put("q", [b"a"])


async def test_a_node_that_is_gone_takes_only_its_slots_with_it(tmp_path: Path) -> None:
    with running_cluster(tmp_path, "--cluster-require-full-coverage", "no") as cluster:
        async with backbone_at(cluster.url, patience=1.0) as backbone:
            owners = {shard: cluster.holder(KEYS.queue(f"q/{shard}")) for shard in range(4)}
            for shard in owners:
                await backbone.put(f"q/{shard}", [b"a"])
            gone = owners[3]
            gone.kill()
            for shard, owner in owners.items():
                if owner is gone:
                    with pytest.raises(BackboneDown):
                        await backbone.put(f"q/{shard}", [b"b"])
                else:
                    await backbone.put(f"q/{shard}", [b"b"])
            assert not backbone.is_up


async def test_a_primary_that_dies_is_replaced_by_its_replica(tmp_path: Path) -> None:
    slot = key_slot(KEYS.queue("q"))
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    with running_cluster(tmp_path, replicas=True) as cluster:
        async with (
            backbone_at(cluster.url, patience=1.0) as gateway,
            backbone_at(cluster.url, patience=1.0) as worker,
            gateway.listen("c", heard.put_nowait),
        ):
            ids = await gateway.put("q", [b"a", b"b"])
            await gateway.open_box("b", 60)
            (first,) = await worker.take(["q"], "w", 1, 5)
            assert cluster.owner(slot).raw("WAIT", 1, 5000) >= 0
            primary = cluster.owner(slot)
            primary.kill()
            await succeeded(lambda: worker.settle("b", [b"1"], "q", [first.id]))
            assert cluster.owner(slot) in cluster.replicas
            assert await succeeded(lambda: gateway.holds("q", ids)) == {ids[1]}
            assert [letter for _, letter in await gateway.replies("b", "", 10, 5)] == [b"1"]
            assert [d.payload for d in await succeeded(lambda: worker.take(["q"], "w", 10, 5))] == [b"b"]
            assert await gateway.depth("q") == Depth(0, 1)
            await heard_again(worker, heard)
            primary.start()
            await asyncio.to_thread(cluster.wait_whole)
            assert await succeeded(lambda: gateway.depth("q")) == Depth(0, 1)
