"""Turns: round-robin over the sources of rows, and weighted sharing between priority levels."""

from collections import deque
from typing import Any, Final

from pipeline.job import Job

MOST_STRIDE: Final = 1024  # no priority level gets less than this part of what the highest gets


def source_of(job: Job) -> Any:
    """Return whose share a row counts against: the socket or the request that it came with."""
    return job.owner.source


class Flow:
    """The rows of one source, oldest first; `live` of them still wait."""

    __slots__ = ("live", "rows")

    def __init__(self, first: Job, second: Job) -> None:
        self.rows = deque((first, second))
        self.live = 2


class Ring:
    """Deficit round-robin over sources with a quantum of one row (Shreedhar and Varghese, 1995).

    Each source has a turn at a time and gives one row in it; its rows stay in order. A row that was taken out otherwise
    (`drop`) stays behind as a dead entry that is passed over without costing its source the turn. `live` rows wait.
    """

    __slots__ = ("_flows", "_turns", "live")

    def __init__(self) -> None:
        self.live = 0
        self._flows: dict[Any, Job | Flow] = {}  # a source with one row, as most are, has it without a queue
        self._turns: deque[Any] = deque()

    def push(self, job: Job) -> None:
        """Put a row behind those of its source."""
        source = source_of(job)
        flow = self._flows.get(source)
        if flow is None:
            self._flows[source] = job
            self._turns.append(source)
        elif isinstance(flow, Flow):
            flow.rows.append(job)
            flow.live += 1
        elif flow.queued:
            self._flows[source] = Flow(flow, job)
        else:
            self._flows[source] = job  # in the turn of the one that was dropped
        self.live += 1

    def pop(self) -> Job | None:
        """Take out the row whose turn it is; None where none waits. The caller clears its `queued`."""
        flows, turns = self._flows, self._turns
        while turns:
            source = turns.popleft()
            flow = flows[source]
            if not isinstance(flow, Flow):
                del flows[source]
                if flow.queued:
                    self.live -= 1
                    return flow
            elif not flow.live:
                del flows[source]
            else:
                job = flow.rows.popleft()
                while not job.queued:
                    job = flow.rows.popleft()
                self.live -= 1
                flow.live -= 1
                if flow.live:
                    turns.append(source)
                else:
                    del flows[source]
                return job
        return None

    def turn(self) -> Job | None:
        """Return the row whose turn it is and leave it; its source's next turn comes after all others'."""
        flows, turns = self._flows, self._turns
        while turns:
            source = turns.popleft()
            flow = flows[source]
            if not isinstance(flow, Flow):
                if flow.queued:
                    turns.append(source)
                    return flow
            elif flow.live:
                turns.append(source)
                while not flow.rows[0].queued:
                    flow.rows.popleft()
                return flow.rows[0]
            del flows[source]
        return None

    def drop(self, job: Job) -> None:
        """Count out a waiting row whose `queued` has just been cleared."""
        self.live -= 1
        flow = self._flows.get(source_of(job))
        if isinstance(flow, Flow):
            flow.live -= 1

    def held(self, source: Any) -> int:
        """Return how many rows of a source wait."""
        flow = self._flows.get(source)
        if isinstance(flow, Flow):
            return flow.live
        return 0 if flow is None or not flow.queued else 1

    def rows(self) -> list[Job]:
        """Return the rows that wait, source by source."""
        found: list[Job] = []
        for source in self._turns:
            flow = self._flows[source]
            if isinstance(flow, Flow):
                found += [job for job in flow.rows if job.queued]
            elif flow.queued:
                found.append(flow)
        return found

    def compact(self) -> None:
        """Forget the dead entries; the turns stay as they are."""
        rows = self.rows()
        self._flows.clear()
        self._turns.clear()
        self.live = 0
        for job in rows:
            self.push(job)


class Lanes(Ring):
    """A ring per priority level. While rows of several levels wait, each level gets half of what the one above it gets.

    Stride scheduling (Waldspurger and Weihl, 1995): a row of a level moves its `pass` on by the level's stride, and the
    level that lies furthest back is next. So a level is late, but never out of the race.
    """

    __slots__ = ("_clock", "_default", "_passes", "_rings")

    def __init__(self, levels: int, default: int) -> None:
        """`levels` from 1, the highest; `default` is the level of rows that name none."""
        super().__init__()
        self._default = default
        self._rings = [Ring() for _ in range(levels)]
        self._passes = [0] * levels
        self._clock = 0  # the pass of the row that left last

    def push(self, job: Job) -> None:
        """Put a row behind those of its source and level."""
        level = self._level(job)
        ring = self._rings[level]
        if not ring.live:  # a level that had nothing has not saved up turns
            self._passes[level] = max(self._passes[level], self._clock)
        ring.push(job)
        self.live += 1

    def pop(self) -> Job | None:
        """Take out a row of the level that lies furthest back; None where none waits."""
        ring = self._next()
        if ring is None:
            return None
        self.live -= 1
        return ring.pop()

    def turn(self) -> Job | None:
        """Return a row of the level that lies furthest back, and move that on as if the row had left."""
        ring = self._next()
        return None if ring is None else ring.turn()

    def drop(self, job: Job) -> None:
        """Count out a waiting row whose `queued` has just been cleared."""
        self.live -= 1
        self._rings[self._level(job)].drop(job)

    def held(self, source: Any) -> int:
        """Return how many rows of a source wait."""
        return sum([ring.held(source) for ring in self._rings])

    def rows(self) -> list[Job]:
        """Return the rows that wait, level by level."""
        return [job for ring in self._rings for job in ring.rows()]

    def compact(self) -> None:
        """Forget the dead entries."""
        for ring in self._rings:
            ring.compact()

    def _next(self) -> Ring | None:
        passes = self._passes
        first = -1
        for level, ring in enumerate(self._rings):
            if ring.live and (first < 0 or passes[level] < passes[first]):
                first = level
        if first < 0:
            return None
        self._clock = passes[first]
        passes[first] += min(1 << first, MOST_STRIDE)
        return self._rings[first]

    def _level(self, job: Job) -> int:
        return min(job.priority or self._default, len(self._rings)) - 1
