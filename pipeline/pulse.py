"""What `$stats` tells: rates and quantiles of the last seconds, from the differences of counts between two beats."""

import operator
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from pipeline.pulse_messages import ModelPulse, Quantiles, Stats
from pipeline.stats import ROWS, SECONDS, ModelStats, Place, ServerStats

WINDOW: Final = 5.0  # seconds that rates and quantiles are of

_QUANTILES: Final = (0.5, 0.9, 0.99)
_ROW_LABELS: Final = (*(str(int(bound)) for bound in ROWS), "+Inf")
_TIMES: Final = len(SECONDS) + 1
_AT_TIMES: Final = 1 + len(ROWS) + 1
_ROWS: Final = slice(1, _AT_TIMES)
_QUEUE, _RUN, _TOTAL = (slice(at, at + _TIMES) for at in range(_AT_TIMES, _AT_TIMES + 3 * _TIMES, _TIMES))
_NOTHING: Final = [0] * (_AT_TIMES + 3 * _TIMES)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is asked at each beat beside the counts; the seconds are those of the process's CPUs since its start."""

    states: Callable[[], list[tuple[str, str, str]]]  # model, version, state
    keys: Callable[[], int]
    watchers: Callable[[], int]
    memory_bytes: Callable[[], int]
    cpu_seconds: Callable[[], float]


class _Beat(NamedTuple):
    """What was counted at a time, and what each model did since the beat before."""

    at: float
    cpu_seconds: float
    events: int
    predictions: int
    done: dict[Place, list[int]]


class Pulse:
    """A window over the server's counts. Each beat costs what changed, not what there is."""

    def __init__(self, stats: ServerStats, gauges: Gauges, started_at: float) -> None:
        """`started_at` is when the server did, in seconds of the clock that gives `beat` its time."""
        self._stats = stats
        self._gauges = gauges
        self._started_at = started_at
        self._beats: deque[_Beat] = deque()  # the window begins at the first; none before `restart`
        self._sums: dict[Place, list[int]] = {}  # of the others
        self._counts: dict[ModelStats, list[int]] = {}

    def __repr__(self) -> str:
        return f"<Pulse beats={len(self._beats)} models={len(self._counts)}>"

    def restart(self, now: float) -> None:
        """Begin a window."""
        self._sums.clear()
        self._count()
        self._beats = deque([self._take(now, {})])

    def beat(self, now: float, loop_lag: float) -> Stats:
        """Return the numbers of now (seconds); rates and quantiles are of the last `WINDOW`, or since `restart`.

        `loop_lag` is what was measured since the last beat, in seconds.
        """
        stats, gauges = self._stats, self._gauges
        last, fresh = self._beats[-1], self._take(now, self._count())
        self._append(fresh)
        base = self._beats[0]
        return Stats(
            uptime_seconds=round(now - self._started_at, 3),
            memory_bytes=gauges.memory_bytes(),
            cpu=_rate(fresh.cpu_seconds - last.cpu_seconds, now - last.at),
            loop_lag_ms=round(loop_lag * 1e3, 3),
            sockets=stats.sockets(),
            watchers=gauges.watchers(),
            keys=gauges.keys(),
            events=fresh.events,
            events_per_second=_rate(fresh.events - base.events, now - base.at),
            predictions=fresh.predictions,
            predictions_per_second=_rate(fresh.predictions - base.predictions, now - base.at),
            errors=dict(stats.errors),
            models=[self._describe(*model, now - base.at) for model in gauges.states()],
        )

    def _take(self, now: float, done: dict[Place, list[int]]) -> _Beat:
        return _Beat(now, self._gauges.cpu_seconds(), self._stats.events(), self._stats.predictions, done)

    def _count(self) -> dict[Place, list[int]]:
        """Take the counts of all models; return what those did that did anything since the last time."""
        known, self._counts = self._counts, {}
        done: dict[Place, list[int]] = {}
        for place, model in self._stats.counted():
            before = known.get(model)
            if before is not None and before[0] == model.predictions:
                self._counts[model] = before
                continue
            counts = self._counts[model] = _counts_of(model)
            change = counts if before is None else list(map(operator.sub, counts, before))
            if min(change) < 0:  # they were set back
                change = counts
            if change[0]:
                done[place] = _sum(done.get(place, _NOTHING), change)
        return done

    def _append(self, fresh: _Beat) -> None:
        """Move the window on, which then begins at the last beat that is old enough."""
        beats, sums = self._beats, self._sums
        beats.append(fresh)
        for place, change in fresh.done.items():
            sums[place] = _sum(sums.get(place, _NOTHING), change)
        while len(beats) > 2 and beats[1].at <= fresh.at - WINDOW:
            beats.popleft()
            for place, change in beats[0].done.items():
                rest = list(map(operator.sub, sums[place], change))
                if rest[0]:
                    sums[place] = rest
                else:
                    del sums[place]

    def _describe(self, name: str, version: str, state: str, seconds: float) -> ModelPulse:
        place = name, version
        model = self._stats.models.get(place)
        sums = self._sums.get(place, _NOTHING)
        return ModelPulse(
            name=name,
            version=version,
            state=state,
            queue_depth=0 if model is None else model.depth(),
            predictions=0 if model is None else model.predictions,
            predictions_per_second=_rate(sums[0], seconds),
            batch_rows=dict(zip(_ROW_LABELS, sums[_ROWS], strict=True)),
            queue_ms=_quantiles(sums[_QUEUE]),
            run_ms=_quantiles(sums[_RUN]),
            total_ms=_quantiles(sums[_TOTAL]),
        )


def quantile(bounds: Sequence[float], cumulative: Sequence[int], q: float) -> float:
    """Return a quantile, above 0, of what a histogram counted: interpolated within its bucket, the first starts at 0.

    `cumulative` has for each bound how many values were up to it, and at last how many there were: at least one. Beyond
    the last bound it answers that bound. As Prometheus' `histogram_quantile` does it.
    """
    rank = q * cumulative[-1]
    bucket = bisect_left(cumulative, rank)
    if bucket == len(bounds):
        return bounds[-1]
    lower, below = (bounds[bucket - 1], cumulative[bucket - 1]) if bucket else (0.0, 0)
    return lower + (bounds[bucket] - lower) * (rank - below) / (cumulative[bucket] - below)


def _quantiles(counts: list[int]) -> Quantiles | None:
    cumulative = list(accumulate(counts))
    if not cumulative[-1]:
        return None
    return Quantiles(*[round(quantile(SECONDS, cumulative, q) * 1e3, 4) for q in _QUANTILES])


def _counts_of(model: ModelStats) -> list[int]:
    return [
        model.predictions,
        *model.batch_rows.counts,
        *model.queue_seconds.counts,
        *model.run_seconds.counts,
        *model.end_to_end_seconds.counts,
    ]


def _sum(one: list[int], other: list[int]) -> list[int]:
    return list(map(operator.add, one, other))


def _rate(count: float, seconds: float) -> float:
    return round(max(0.0, count) / seconds, 3) if seconds > 0 else 0.0
