"""The backbone in memory: the contract, and what only it can do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from pipeline.backbone import Backbone, BackboneDown, Delivery
from pipeline.memory_backbone import MemoryBackbone

from .backbone_contract import BackboneContract
from .queue_contract import Open


def opener(make: Callable[[], MemoryBackbone]) -> Open:
    """Return what opens one backbone for all of a test."""
    shared: list[MemoryBackbone] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[Backbone]:
        if not shared:
            shared.append(make())
        yield shared[0]

    return opened


class TestMemoryBackbone(BackboneContract):
    @pytest.fixture
    def opened(self) -> Open:
        return opener(MemoryBackbone)

    @pytest.fixture
    def small(self) -> Open:
        return opener(lambda: MemoryBackbone(max_bytes=3_000_000))

    async def dead_letters(self, backbone: Backbone) -> list[tuple[str, str, int, str, bytes]]:
        assert isinstance(backbone, MemoryBackbone)
        return [(d.queue, d.id, d.count, reason, d.payload) for d, reason in backbone.dead_letters]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_the_clock_decides_what_is_idle_old_and_expired() -> None:
    clock = Clock()
    backbone = MemoryBackbone(clock=clock)
    await backbone.put("q", [b"a"])
    clock.now += 3
    (taken,) = await backbone.take(["q"], "w1", 1, 0)
    await backbone.open_box("b", 10)
    await backbone.announce("worker", "w1", b"", 10)
    assert taken.age == 3
    clock.now += 9.5
    assert await backbone.claim("q", "w2", 9.6, 1) == []
    assert await backbone.reply("b", [b"x"])
    (claimed,) = await backbone.claim("q", "w2", 9.5, 1)
    assert (claimed.count, claimed.age) == (2, 12.5)
    clock.now += 0.5
    assert not await backbone.reply("b", [b"y"])
    assert await backbone.members("worker") == {}


async def test_while_it_is_down_nothing_can_be_done_and_nobody_waits() -> None:
    backbone = MemoryBackbone()
    await backbone.put("q", [b"a"])
    waiting = asyncio.create_task(backbone.replies("b", "", 1, 60))
    assert await backbone.take(["r"], "w", 1, 0) == []
    backbone.go_down()
    with pytest.raises(BackboneDown):
        await waiting
    calls: list[Callable[[], object]] = [
        lambda: backbone.put("q", [b""]),
        lambda: backbone.holds("q", []),
        lambda: backbone.take(["q"], "w", 1, 60),
        lambda: backbone.claim("q", "w", 0, 1),
        lambda: backbone.keep("q", "w", []),
        lambda: backbone.done("q", []),
        lambda: backbone.bury(Delivery("q", "1", b"", 1, 0.0), ""),
        lambda: backbone.depth("q"),
        lambda: backbone.open_box("b", 1),
        lambda: backbone.reply("b", []),
        lambda: backbone.replies("b", "", 1, 60),
        lambda: backbone.announce("kind", "m", b"", 1),
        lambda: backbone.withdraw("kind", "m"),
        lambda: backbone.members("kind"),
        lambda: backbone.publish("c", []),
    ]
    for call in calls:
        with pytest.raises(BackboneDown):
            await call()  # type: ignore[misc]
    listening: AbstractAsyncContextManager[None] = backbone.listen("c", lambda _: None)
    with pytest.raises(BackboneDown):
        await listening.__aenter__()
    assert not backbone.is_up
    backbone.come_back()
    assert [d.payload for d in await backbone.take(["q"], "w", 1, 0)] == [b"a"]


async def test_a_store_that_forgets_has_nothing() -> None:
    backbone = MemoryBackbone()
    ids = await backbone.put("q", [b"a"])
    await backbone.open_box("b", 60)
    backbone.forget()
    assert await backbone.holds("q", ids) == set()
    assert not await backbone.reply("b", [b"x"])
    assert backbone.bytes_held == 0


async def test_one_call_stays_within_a_shard() -> None:
    backbone = MemoryBackbone()
    with pytest.raises(ValueError, match="one shard"):
        await backbone.take(["q/0", "q/1"], "w", 1, 0)
    with pytest.raises(ValueError, match="one shard"):
        await backbone.settle("b/1", [b""], "q/2", ["1"])


async def test_bytes_are_given_back_in_every_way() -> None:
    clock = Clock()
    backbone = MemoryBackbone(clock=clock)
    ids = await backbone.put("q", [b"a" * 100, b"b" * 100, b"c" * 100])
    (first,) = await backbone.take(["q"], "w", 1, 0)
    await backbone.open_box("gone", 1)
    await backbone.reply("gone", [b"x" * 100])
    await backbone.open_box("b", 60)
    await backbone.reply("b", [b"x" * 100])
    await backbone.bury(first, "poison")
    await backbone.done("q", ids)
    ((cursor, _),) = await backbone.replies("b", "", 1, 0)
    await backbone.replies("b", cursor, 1, 0)
    assert backbone.bytes_held > 0
    clock.now += 2
    await backbone.open_box("b", 60)
    assert backbone.bytes_held == 0
    assert "bytes=0" in repr(backbone)


async def test_closing_ends_what_waits() -> None:
    backbone = MemoryBackbone()
    waiting = asyncio.create_task(backbone.take(["q"], "w", 1, 60))
    assert await backbone.take(["r"], "w", 1, 0) == []
    await backbone.close()
    with pytest.raises(BackboneDown):
        await waiting
