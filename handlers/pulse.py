"""The timer behind `$stats`: four beats a second, for as long as somebody watches."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

import psutil

from pipeline.errors import ShuttingDown
from pipeline.interfaces import KeyBudget
from pipeline.pulse import Gauges, Pulse
from pipeline.pulse_messages import Stats

BEAT: Final = 0.25  # seconds
PROBE: Final = 0.05  # seconds between two looks at how late the loop is

_monotonic: Final = time.monotonic


class PulseTimer:
    """Publishes the numbers of a `Pulse` while it is watched, and measures how late the loop is. At rest it is free.

    All methods belong to the loop's thread.
    """

    def __init__(self, pulse: Pulse, publish: Callable[[Stats, float], None], *, kept_seconds: float = 10.0) -> None:
        """`publish` takes the numbers and their unix time in seconds.

        `kept_seconds` is for how long it goes on after `read`.
        """
        self._pulse = pulse
        self._publish = publish
        self._kept_seconds = kept_seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._due = self._beat_due = 0.0
        self._lag = 0.0  # the greatest since the last beat
        self._watched = False
        self._kept_until = -math.inf
        self._latest: Stats | None = None
        self._measured: asyncio.Future[Stats] | None = None

    def __repr__(self) -> str:
        return f"<PulseTimer running={self.is_running} watched={self._watched} {self._pulse!r}>"

    @property
    def is_running(self) -> bool:
        """Whether it beats."""
        return self._timer is not None

    def start(self) -> None:
        """Publish from now on; the first beat comes after an interval, since before it there are no rates."""
        self._watched = True
        self._run()

    def stop(self) -> None:
        """Publish no more."""
        self._watched = False
        if _monotonic() >= self._kept_until:
            self._rest()

    async def read(self) -> Stats:
        """Return what a watcher would see now; where nobody watched, after an interval.

        It goes on for a while, so that whoever asks again has the rates of a full window. Raises `ShuttingDown`.
        """
        self._kept_until = _monotonic() + self._kept_seconds
        self._run()
        if self._latest is not None:
            return self._latest
        if self._measured is None:
            self._measured = self._loop.create_future()
        return await asyncio.shield(self._measured)

    def close(self) -> None:
        """End it for good, with the server."""
        self._rest()
        if self._measured is not None:
            self._measured.set_exception(ShuttingDown("the server is shutting down"))
            self._measured = None

    def _run(self) -> None:
        if self._timer is None:
            now = _monotonic()
            self._pulse.restart(now)
            self._lag = 0.0
            self._due, self._beat_due = now + PROBE, now + BEAT
            self._timer = self._loop.call_later(PROBE, self._ring)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._latest = None

    def _ring(self) -> None:
        now = _monotonic()
        if not self._watched and now >= self._kept_until:
            self._rest()
            return
        self._lag = max(self._lag, now - self._due)
        self._due = _next(self._due, PROBE, now)
        self._timer = self._loop.call_later(self._due - now, self._ring)
        if now >= self._beat_due - PROBE / 2:  # timers may ring early
            self._beat_due = _next(self._beat_due, BEAT, now + PROBE / 2)
            self._beat(now)

    def _beat(self, now: float) -> None:
        self._latest = stats = self._pulse.beat(now, self._lag)
        self._lag = 0.0
        if self._measured is not None:
            self._measured.set_result(stats)
            self._measured = None
        if self._watched:
            self._publish(stats, time.time())


def make_gauges(
    states: Callable[[], list[tuple[str, str, str]]], budget: KeyBudget, watchers: Callable[[], int]
) -> Gauges:
    """Return where a pulse finds the numbers of this process."""
    process = psutil.Process()
    return Gauges(
        states=states,
        keys=lambda: budget.count,
        watchers=watchers,
        memory_bytes=lambda: int(process.memory_info().rss),
        cpu_seconds=time.process_time,
    )


def _next(due: float, every: float, now: float) -> float:
    """Return the first of the times `every` seconds apart that is after `now`; what was missed is not made up for."""
    return due + every * max(1, math.floor((now - due) / every) + 1)
