"""The backbone over Redis: the contract on every server that is there, and what Redis adds to it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.backbone import Backbone, BackboneDown, Depth
from pipeline.redis_backbone import RedisBackbone
from pipeline.redis_records import Keys, tag_of
from tests.redis_server import RedisServer, binaries, running_redis

from .backbone_contract import BackboneContract
from .queue_contract import Open
from .redis_parts import backbone_at, opener, succeeded

KEYS = Keys("ws")
ROWS, REPLIES = KEYS.queue("q"), KEYS.box("b")


@pytest.fixture(scope="module", params=binaries().items(), ids=lambda item: item[0])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), binary=request.param[1], data=False) as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.set("maxmemory", 0)
    running.command("FLUSHALL")
    return running


class TestRedisBackbone(BackboneContract):
    @pytest.fixture
    def opened(self, server: RedisServer) -> Open:
        return opener(server.url)

    @pytest.fixture
    def small(self, server: RedisServer) -> Open:
        used = server.command("INFO", "memory")["used_memory"]
        server.set("maxmemory", used + 4_000_000)
        return opener(server.unix_url)

    async def dead_letters(self, backbone: Backbone) -> list[tuple[str, str, int, str, bytes]]:
        assert isinstance(backbone, RedisBackbone)
        (entries,) = await backbone.nodes.seed.run(("XRANGE", "ws:dead", "-", "+"))
        letters = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]
        assert all(list(letter) == [b"queue", b"id", b"count", b"reason", b"payload"] for letter in letters)
        return [
            (x[b"queue"].decode(), x[b"id"].decode(), int(x[b"count"]), x[b"reason"].decode(), x[b"payload"])
            for x in letters
        ]


async def test_it_passes_its_own_checks_and_leaves_nothing(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.check()
        assert server.command("KEYS", "*") == [b"ws:marker"]


async def test_keys_lie_below_the_prefix_and_in_the_slot_of_their_shard(server: RedisServer) -> None:
    async with backbone_at(server.url, "other.one") as backbone:
        await backbone.put("m/1/0", [b"a"])
        (taken,) = await backbone.take(["m/1/0"], "w", 1, 5)
        await backbone.open_box("g/3", 5)
        await backbone.announce("worker", "w", b"", 5)
        await backbone.bury(taken, "poison")
        assert sorted(server.command("KEYS", "*")) == [
            b"other.one:dead",
            b"other.one:marker",
            f"other.one:{{{tag_of(0)}}}:m/1/0:rows".encode(),
            f"other.one:{{{tag_of(3)}}}:g/3:replies".encode(),
            b"other.one:{worker}:members",
        ]
    async with backbone_at(server.url) as elsewhere:
        assert await elsewhere.members("worker") == {}


async def test_a_group_that_is_gone_is_made_again(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.put("q", [b"a"])
        await backbone.take(["q"], "w", 1, 5)
        server.command("DEL", ROWS)
        assert await backbone.depth("q") == Depth(0, 0)
        server.command("XGROUP", "DESTROY", ROWS, "workers")
        await backbone.put("q", [b"b"])
        assert [d.payload for d in await backbone.take(["q", "r"], "w", 1, 5)] == [b"b"]
        server.command("XGROUP", "DESTROY", ROWS, "workers")
        assert await backbone.claim("q", "w", 0, 1) == []
        assert [d.count for d in await backbone.take(["q"], "w", 1, 5)] == [1]


async def test_a_worker_that_waits_goes_on_when_all_is_lost(server: RedisServer) -> None:
    async with backbone_at(server.url, patience=0.5) as backbone:
        waiting = asyncio.create_task(backbone.take(["q"], "w", 1, 5))
        assert await backbone.take(["r"], "w", 1, 0.05) == []
        server.command("FLUSHALL")
        await backbone.put("q", [b"a"])
        assert [d.payload for d in await waiting] == [b"a"]


async def test_flushing_changes_the_generation_without_a_reconnect(server: RedisServer) -> None:
    async with backbone_at(server.url) as one, backbone_at(server.url) as other:
        await one.open_box("b", 5)
        before = one.nodes.seed.generation
        server.command("FLUSHALL")
        assert await one.open_box("b", 5)
        await other.announce("worker", "w", b"", 5)
        assert one.nodes.seed.generation == other.nodes.seed.generation != before
        assert one.nodes.counts.reconnects == 0


async def test_what_is_not_ours_in_a_queue_is_buried_and_counted(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        server.command("XADD", ROWS, "*", "hello", "world")
        await backbone.put("q", [b"a"])
        assert [d.payload for d in await backbone.take(["q"], "w", 10, 5)] == [b"a"]
        assert (backbone.foreign, backbone.buried) == (1, 1)
        assert await backbone.depth("q") == Depth(0, 1)
        letter = server.command("XRANGE", "ws:dead", "-", "+")[0][1]
        assert (letter[b"reason"], letter[b"payload"]) == (b"not an entry of ours", b"hello world")


async def test_foreign_entries_alone_do_not_end_the_wait(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.open_box("b", 5)
        for key in (ROWS, REPLIES):
            server.command("XADD", key, "*", "hello", "world")
        assert await backbone.take(["q"], "w", 10, 0.1) == []
        assert await backbone.replies("b", "", 10, 0.1) == []
        await backbone.reply("b", [b"1"])
        assert [letter for _, letter in await backbone.replies("b", "", 10, 5)] == [b"1"]
        assert await backbone.depth("q") == Depth(0, 0)


async def test_a_claimed_entry_that_is_not_ours_is_buried(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        assert await backbone.take(["q"], "w", 1, 0) == []
        server.command("XADD", ROWS, "*", "hello", "world")
        server.command("XREADGROUP", "GROUP", "workers", "dead", "STREAMS", ROWS, ">")
        assert await backbone.claim("q", "w", 0, 10) == []
        assert backbone.buried == 1
        assert await backbone.depth("q") == Depth(0, 0)


async def test_what_was_deleted_and_not_acknowledged_is_forgotten_by_a_claim(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        ids = await backbone.put("q", [b"a", b"b"])
        await backbone.take(["q"], "w1", 10, 5)
        server.command("XDEL", ROWS, ids[0])
        assert [d.payload for d in await backbone.claim("q", "w2", 0, 10)] == [b"b"]
        assert await backbone.depth("q") == Depth(0, 1)


async def test_members_that_are_none_are_passed_over(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.announce("worker", "w", b"card", 5)
        server.command("HSET", "ws:{worker}:members", "foreign", "short", b"\xff\xfe", b"\x00" * 9)
        assert await backbone.members("worker") == {"w": b"card"}
        assert server.command("HLEN", "ws:{worker}:members") == 1


@pytest.mark.parametrize("key", [ROWS, REPLIES, "ws:{worker}:members", "ws:dead", "ws:marker"])
async def test_a_key_of_another_type_is_set_aside(
    server: RedisServer, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.put("other", [b"a"])
        (other,) = await backbone.take(["other"], "w", 1, 5)
        server.command("DEL", key)
        server.command("SADD", key, "x")
        for call in (
            lambda: backbone.take(["other", "q"], "w", 1, 0),
            lambda: backbone.open_box("b", 5),
            lambda: backbone.announce("worker", "w", b"", 5),
            lambda: backbone.bury(other, "poison"),
        ):
            await succeeded(call)
        assert server.raw("SMEMBERS", f"{key}:foreign") == [b"x"]
        assert f"{key} is no key of ours" in caplog.text
        assert backbone.foreign == 1
        assert await backbone.put("q", [b"a"])
        assert await backbone.reply("b", [b"x"])
        assert [d.payload for d in await backbone.take(["q"], "w", 1, 5)] == [b"a"]


@pytest.mark.parametrize("call", ["put", "reply", "settle", "holds", "depth", "claim", "replies"])
async def test_whoever_meets_a_key_of_another_type_first_makes_room(server: RedisServer, call: str) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.put("q", [b"a"])
        await backbone.open_box("b", 5)
        for key in (ROWS, REPLIES):
            server.command("DEL", key)
            server.command("SADD", key, "x")
        calls = {
            "put": lambda: backbone.put("q", [b"a"]),
            "reply": lambda: backbone.reply("b", [b"a"]),
            "settle": lambda: backbone.settle("b", [b"a"], "q", ["1-1"]),
            "holds": lambda: backbone.holds("q", ["1-1"]),
            "depth": lambda: backbone.depth("q"),
            "claim": lambda: backbone.claim("q", "w", 0, 1),
            "replies": lambda: backbone.replies("b", "", 1, 0),
        }
        await succeeded(calls[call])
        await succeeded(lambda: backbone.open_box("b", 5))
        await succeeded(lambda: backbone.put("q", [b"b"]))
        assert [d.payload for d in await backbone.take(["q"], "w", 10, 5)][-1:] == [b"b"]
        assert await backbone.reply("b", [b"1"])


async def test_a_gateway_that_is_full_of_replies_keeps_its_box(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.open_box("b", 0.3)
        server.set("maxmemory", 1)
        for _ in range(4):
            assert not await backbone.open_box("b", 0.3)
            assert await backbone.take([], "w", 1, 0.1) == []
        server.set("maxmemory", 0)
        assert await backbone.reply("b", [b"x"])


async def test_without_memory_a_dead_letter_is_lost_and_its_entry_gone(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.put("q", [b"a"])
        (taken,) = await backbone.take(["q"], "w", 1, 5)
        server.set("maxmemory", 1)
        await backbone.bury(taken, "poison")
        assert await backbone.depth("q") == Depth(0, 0)
        assert "an entry of q is thrown away: poison" in caplog.text


async def test_a_receiver_that_fails_hears_the_next(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    def receive(payload: bytes) -> None:
        if payload == b"bad":
            raise ValueError("bad")
        heard.put_nowait(payload)

    async with backbone_at(server.url) as backbone, backbone.listen("c", receive):
        await backbone.publish("c", [b"bad", b"good"])
        assert await heard.get() == b"good"
    assert "what came on ws:{c}:news could not be taken" in caplog.text


async def test_after_closing_nothing_connects_again(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        waiting = asyncio.create_task(backbone.take(["q"], "w", 1, 60))
        assert await backbone.take(["r"], "w", 1, 0.05) == []
        await backbone.close()
        with pytest.raises(BackboneDown):
            await waiting
        with pytest.raises(BackboneDown, match="closed"):
            await backbone.put("q", [b"a"])
        assert not backbone.is_up


async def test_many_callers_share_a_bounded_number_of_connections(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        await asyncio.gather(*(backbone.put("q", [b"%d" % i]) for i in range(500)))
        assert await backbone.depth("q") == Depth(500, 0)
        assert len(server.command("CLIENT", "LIST").splitlines()) <= 17


async def test_workers_that_are_gone_are_forgotten_unless_they_have_something(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.put("q", [b"a", b"b"])
        for worker in ("has one", "idle", "done"):
            taken = await backbone.take(["q"], worker, 1, 0)
            await backbone.done("q", [d.id for d in taken if worker == "done"])
        await backbone.take(["q"], "has one", 1, 0)
        await backbone.forget_workers("q", 60)
        assert len(server.command("XINFO CONSUMERS", ROWS, "workers")) > 1
        await backbone.forget_workers("q", 0)
        names = [row["name"] for row in server.command("XINFO CONSUMERS", ROWS, "workers")]
        assert set(names) == {b"has one", b"idle"}


async def test_queues_and_boxes_do_not_live_for_ever(server: RedisServer) -> None:
    async with backbone_at(server.url) as backbone:
        await backbone.put("q", [b"a"])
        await backbone.open_box("b", 60)
        await backbone.announce("worker", "w", b"", 60)
        assert 0 < server.command("PTTL", ROWS) <= 7 * 86_400_000
        server.command("PERSIST", ROWS)
        await backbone.claim("q", "w", 60, 1)
        assert 0 < server.command("PTTL", ROWS) <= 7 * 86_400_000
        assert 0 < server.command("PTTL", REPLIES) <= 60_000
        assert 0 < server.command("PTTL", "ws:{worker}:members") <= 86_400_000


def test_a_folder_is_no_server(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no scheme"):
        RedisBackbone(str(tmp_path))
