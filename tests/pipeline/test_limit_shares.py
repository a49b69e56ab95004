"""Limits that processes share: over a backbone in memory with a clock of the test, and over a real Redis."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.backbone import Backbone, BackboneDown
from pipeline.errors import RateLimited
from pipeline.limit_config import Limits
from pipeline.limit_shares import KIND, TTL
from pipeline.memory_backbone import MemoryBackbone
from tests.redis_server import RedisServer, running_redis

from .redis_parts import backbone_at
from .share_parts import Clock, Process, join, most_within, play

RATE = 1000
LIMITS = Limits(events_per_second=RATE, burst_seconds=1)
TOLERANCE = 1.1  # over ten seconds; of what one process alone would let through


async def of_memory(count: int, limits: Limits = LIMITS) -> tuple[list[Process], Clock, MemoryBackbone]:
    clock = Clock()
    backbone = MemoryBackbone(clock=clock)
    processes = [Process(backbone, f"p{number}", limits, clock) for number in range(count)]
    await join(processes)
    return processes, clock, backbone


async def test_a_process_alone_has_all() -> None:
    (process,), clock, _ = await of_memory(1)
    process.load = 5 * RATE
    await play([process], clock, 3)
    assert process.share == 1.0
    assert sum(await play([process], clock, 5)) == pytest.approx(5 * RATE, rel=0.01)
    assert repr(process.shares) == "<LimitShares p0 peers=0 told=2>", "acme and its address"


@pytest.mark.parametrize("count", [2, 3, 5])
async def test_all_together_let_through_the_rate_and_no_more(count: int) -> None:
    processes, clock, _ = await of_memory(count)
    for number, process in enumerate(processes):
        process.load = RATE * (1 + number)
    ticks = await play(processes, clock, 30)
    assert most_within(ticks, 10) <= TOLERANCE * (10 * RATE + RATE)
    assert sum(ticks[-200:]) == pytest.approx(10 * RATE, rel=0.02)
    assert [process.share for process in processes] == sorted(process.share for process in processes)


async def test_who_is_idle_gives_its_share_up_and_gets_it_again() -> None:
    processes, clock, _ = await of_memory(4)
    processes[0].load = 3 * RATE
    await play(processes, clock, 6)
    assert processes[0].share > 0.9
    assert max(process.share for process in processes[1:]) < 0.05
    processes[0].load, processes[1].load = 0.0, 3 * RATE
    ticks = await play(processes, clock, 20)
    assert processes[1].share > 0.9
    assert sum(ticks[-200:]) > 0.9 * 10 * RATE
    for process in processes:
        process.load = 0.0
    await play(processes, clock, 20)
    assert [process.share for process in processes] == [0.25] * 4


@pytest.mark.parametrize("seed", range(4))
async def test_however_load_moves_no_more_than_the_rate_is_let_through(seed: int) -> None:
    draw = random.Random(seed)
    processes, clock, _ = await of_memory(draw.choice([2, 3, 5]))

    def move(tick: int) -> None:
        if tick % 40 == 0:
            for process in processes:
                process.load = draw.choice([0, 0, 0.1, 1, 3]) * RATE

    ticks = await play(processes, clock, 30, move)
    assert most_within(ticks, 10) <= TOLERANCE * (10 * RATE + RATE)


async def test_while_the_backbone_is_down_shares_stay_and_after_that_nobody_takes_all() -> None:
    processes, clock, backbone = await of_memory(2)
    for process in processes:
        process.load = 3 * RATE
    await play(processes, clock, 10)
    before = [process.share for process in processes]
    assert before == pytest.approx([0.5, 0.5], abs=0.02)
    backbone.go_down()
    for _ in range(3):
        clock.now += 10 * TTL
        for process in processes:
            with pytest.raises(BackboneDown):
                await process.shares.look()
    assert [process.share for process in processes] == before
    backbone.forget()
    backbone.come_back()
    await processes[0].shares.look()
    assert processes[0].share <= 0.6, "the other has not told of itself yet, and is there all the same"
    ticks = await play(processes, clock, 15)
    assert most_within(ticks, 10) <= TOLERANCE * (10 * RATE + RATE)


async def test_what_a_process_had_falls_to_the_others_when_it_ends_or_dies() -> None:
    processes, clock, _ = await of_memory(3)
    for process in processes:
        process.load = RATE
    await play(processes, clock, 10)
    await processes[2].shares.stop()
    await play(processes[:2], clock, 4)
    assert processes[0].share + processes[1].share == pytest.approx(1.0)
    assert processes[0].shares.processes == 2
    await play(processes[:1], clock, TTL + 4)  # the other says nothing any more
    assert processes[0].share == 1.0


async def test_what_is_new_begins_with_a_part() -> None:
    processes, clock, _ = await of_memory(4)
    processes[0].load = 3 * RATE
    await play(processes, clock, 4)
    late = Process(MemoryBackbone(), "late", LIMITS, clock)
    late.shares._backbone = processes[0].shares._backbone
    await late.shares.look()
    bucket = late.everyone.identities.of("nobody else's", clock.now).events
    assert bucket is not None
    assert bucket.share == 0.2
    assert late.share == pytest.approx(0.02)


async def test_counts_are_shared_too() -> None:
    limits = Limits(sockets=10, keys=100)
    processes, clock, _ = await of_memory(3, limits)
    await play(processes, clock, 1)
    opened = 0
    for _ in range(10):
        for process in processes:
            while True:
                try:
                    process.everyone.open_socket("acme", "10.0.0.1", clock.now)
                except RateLimited:
                    break
                opened += 1
        await play(processes, clock, 1)
    assert 10 <= opened <= 12
    allowance = processes[0].everyone.identities.of("acme", clock.now)
    assert allowance.sockets.most == allowance.sockets.used
    assert allowance.keys.most == 34


async def test_cards_of_others_are_left_out() -> None:
    processes, clock, backbone = await of_memory(1)
    await backbone.announce(KIND, "foreign", b"\xff", 60)
    await play(processes, clock, 3)
    assert (processes[0].share, processes[0].shares.foreign) == (1.0, 3)


async def test_only_those_close_to_a_limit_are_told_of() -> None:
    (process,), clock, _ = await of_memory(1, Limits(events_per_second=RATE, sockets=1000))
    for number in range(50):
        process.everyone.open_socket(f"idle {number}", f"10.0.1.{number}", clock.now)
    process.load = RATE / 2
    await play([process], clock, 3)
    assert "told=2>" in repr(process.shares), "acme and its address"


async def test_it_looks_by_itself_and_says_goodbye() -> None:
    clock = Clock()
    backbone = MemoryBackbone()
    first, second = (Process(backbone, name, LIMITS, clock) for name in ("a", "b"))
    for process in (first, second):
        process.shares._every = 0.01
        await process.shares.start()
    while first.shares.processes < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await second.shares.stop()
    while first.shares.processes > 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await first.shares.stop()
    assert await backbone.members(KIND) == {}


async def test_a_backbone_that_is_down_stops_nobody_from_starting() -> None:
    (process,), _, backbone = await of_memory(1)
    before = process.share
    backbone.go_down()
    await process.shares.start()
    assert process.share == before == 1.0
    await process.shares.stop()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder: Path = tmp_path_factory.mktemp("redis")
    with running_redis(folder, data=False) as server:
        yield server


async def test_over_a_real_redis_all_together_let_through_the_rate(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    clock = Clock()
    async with backbone_at(redis.url) as one, backbone_at(redis.url) as two, backbone_at(redis.url) as three:
        backbones: list[Backbone] = [one, two, three]
        processes = [Process(backbone, f"p{n}", LIMITS, clock) for n, backbone in enumerate(backbones)]
        await join(processes)
        for number, process in enumerate(processes):
            process.load = RATE * (1 + number)
        ticks = await play(processes, clock, 15)
        assert most_within(ticks, 10) <= TOLERANCE * (10 * RATE + RATE)
        assert sum(ticks[-100:]) == pytest.approx(5 * RATE, rel=0.02)
        for process in processes[1:]:
            process.load = 0.0
        await play(processes, clock, 15)
        assert processes[0].share > 0.9
