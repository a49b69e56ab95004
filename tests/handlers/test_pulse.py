"""The timer of `$stats` on real loops: it beats while it is watched, sees a loop that was held up, and rests."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from handlers.pulse import BEAT, PROBE, PulseTimer, make_gauges
from pipeline.errors import ShuttingDown
from pipeline.interfaces import KeyBudget
from pipeline.pulse import Pulse
from pipeline.pulse_messages import Stats
from tests.pipeline.pulse_parts import Counting

PATIENCE = 10.0
EARLY = 0.002  # uvloop's clock counts milliseconds, so the probe before the hold-up may have rung early

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Desk:
    """A timer whose beats go into a queue."""

    def __init__(self, **options: Any) -> None:
        self.server = Counting("a")
        self.beats: asyncio.Queue[tuple[Stats, float]] = asyncio.Queue()
        pulse = Pulse(self.server.stats, self.server.pulse._gauges, time.monotonic())
        self.timer = PulseTimer(pulse, lambda stats, ts: self.beats.put_nowait((stats, ts)), **options)

    async def beat(self) -> Stats:
        return (await self.beats.get())[0]

    async def rest(self) -> None:
        """Wait for one interval and more of nothing."""
        await asyncio.sleep(BEAT + 2 * PROBE)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], None]:
    def run(test: Callable[[], Any]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(test(), PATIENCE))

    return run


Run = Callable[[Callable[[], Awaitable[None]]], None]


def test_beats_come_four_times_a_second(run: Run) -> None:
    async def test() -> None:
        desk = Desk()
        started = time.time()
        desk.timer.start()
        beats = [await desk.beats.get() for _ in range(9)]
        took = time.time() - started
        assert 8.5 * BEAT <= took <= 18 * BEAT
        times = [ts for _, ts in beats]
        assert times == sorted(times)
        assert started < times[0] <= times[-1] <= time.time()
        assert all(stats.loop_lag_ms >= 0 for stats, _ in beats)
        desk.timer.stop()

    run(test)


def test_nothing_beats_before_the_start_and_after_the_stop(run: Run) -> None:
    async def test() -> None:
        desk = Desk()
        assert not desk.timer.is_running
        desk.timer.start()
        await desk.beat()
        desk.timer.stop()
        assert not desk.timer.is_running
        await desk.rest()
        assert desk.beats.empty()

    run(test)


def test_a_second_start_begins_anew(run: Run) -> None:
    async def test() -> None:
        desk = Desk()
        desk.timer.start()
        await desk.beat()
        desk.timer.stop()
        desk.server.run("a", rows=5)
        desk.timer.start()
        stats = await desk.beat()
        assert (stats.predictions, stats.predictions_per_second) == (5, 0.0)
        desk.timer.stop()

    run(test)


def test_a_loop_that_was_held_up_is_seen_to_lag(run: Run) -> None:
    async def test() -> None:
        desk = Desk()
        desk.timer.start()
        await desk.beat()
        time.sleep(0.3)  # noqa: ASYNC251 - it is what is measured
        assert (await desk.beat()).loop_lag_ms >= (0.3 - PROBE - EARLY) * 1e3
        desk.timer.stop()

    run(test)


def test_asking_once_measures_first_and_keeps_measuring_for_a_while(run: Run) -> None:
    async def test() -> None:
        desk = Desk(kept_seconds=3 * BEAT)
        one, other = await asyncio.gather(desk.timer.read(), desk.timer.read())
        assert one is other
        assert one.events_per_second == 0.0
        assert await desk.timer.read() is one, "what was measured a moment ago"
        while desk.timer.is_running:  # noqa: ASYNC110 - it tells nobody that it rests
            await asyncio.sleep(PROBE)
        assert desk.beats.empty(), "nobody watched"

    run(test)


def test_a_watcher_who_leaves_does_not_end_what_somebody_asked_for(run: Run) -> None:
    async def test() -> None:
        desk = Desk()
        desk.timer.start()
        asked = asyncio.create_task(desk.timer.read())
        await asyncio.sleep(0)
        desk.timer.stop()
        assert (await asked).events_per_second == 0.0
        assert desk.beats.empty()
        desk.timer.close()
        assert not desk.timer.is_running

    run(test)


def test_who_asks_while_the_server_ends_is_told_so(run: Run) -> None:
    async def test() -> None:
        desk = Desk()
        asked = asyncio.create_task(desk.timer.read())
        await asyncio.sleep(0)
        desk.timer.close()
        with pytest.raises(ShuttingDown):
            await asked

    run(test)


def test_the_gauges_are_those_of_this_process() -> None:
    budget = KeyBudget(10)
    budget.count = 3
    gauges = make_gauges(lambda: [("m", "1", "ready")], budget, lambda: 2)
    assert (gauges.states(), gauges.keys(), gauges.watchers()) == ([("m", "1", "ready")], 3, 2)
    assert 2**20 < gauges.memory_bytes() < 2**40
    before = gauges.cpu_seconds()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert gauges.cpu_seconds() - before >= 0.05
