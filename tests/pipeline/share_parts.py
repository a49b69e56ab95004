"""Processes that share limits, on one loop and with the clock of the test."""

from collections.abc import Callable, Sequence

from pipeline.allowances import Allowances, AllowanceTable
from pipeline.backbone import Backbone
from pipeline.limit_config import Limits
from pipeline.limit_shares import LimitShares
from pipeline.limits import Meter

TICK = 0.05  # seconds


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Process:
    """One of several, with a socket of the identity acme; `load` is what it is sent per second."""

    def __init__(self, backbone: Backbone, name: str, limits: Limits, clock: Clock) -> None:
        self.clock = clock
        self.everyone = Allowances(
            AllowanceTable("identity", limits, {}, 1000), AllowanceTable("address", limits, {}, 1000)
        )
        self.shares = LimitShares(backbone, name, self.everyone, clock=clock)
        self.load = 0.0
        self.meter: Meter | None = None
        self._due = 0.0

    @property
    def share(self) -> float:
        """What this process has of the events of acme."""
        bucket = self.everyone.identities.of("acme", self.clock.now).events
        assert bucket is not None
        return bucket.share

    def send(self, identity: str = "acme") -> int:
        """Send what is due of the load, one by one; return how much was let in."""
        self._due += self.load * TICK
        if self._due < 1:
            return 0
        if self.meter is None:
            self.meter = self.everyone.open_socket(identity, "10.0.0.1", self.clock.now)
        let_in = 0
        while self._due >= 1:
            self._due -= 1
            let_in += not self.meter.take_event(1, self.clock.now)
        return let_in


async def join(processes: Sequence[Process]) -> None:
    """Have all look until each knows of all."""
    for _ in range(2):
        for process in processes:
            await process.shares.look()


async def play(
    processes: Sequence[Process], clock: Clock, seconds: float, each_tick: Callable[[int], None] = lambda tick: None
) -> list[int]:
    """Let time pass; each process looks once a second, at a moment of its own. Return what was let in, by tick."""
    ticks, per_second = [], round(1 / TICK)
    for tick in range(round(seconds / TICK)):
        each_tick(tick)
        for number, process in enumerate(processes):
            if tick % per_second == number * 7 % per_second:
                await process.shares.look()
        ticks.append(sum(process.send() for process in processes))
        clock.now += TICK
    return ticks


def most_within(ticks: Sequence[int], seconds: float) -> int:
    """Return the most that was let in within so many seconds."""
    width = round(seconds / TICK)
    return max(sum(ticks[first : first + width]) for first in range(max(len(ticks) - width, 0) + 1))
