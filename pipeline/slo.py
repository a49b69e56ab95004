"""How large the next batch may be for its rows to be answered in time, and which rows cannot be any more."""

from typing import Final

from pipeline.batch_policy import BatchPolicy
from pipeline.run_times import LinearRunTime

PROBE_EVERY: Final = 16


class LatencySlo:
    """A bound on the seconds from a row's arrival to its answer, kept by what `times` predicts.

    The next batch is the largest that the oldest deadline allows. Where more waits than a full batch, the oldest rows
    would make the batches ever smaller and all of them late: then these are refused, and batches stay full. Full is
    what is expected to take half of the bound at most, since a row may have to wait for the run before its own.
    """

    __slots__ = ("_late", "_policy", "_seconds", "times")

    def __init__(self, seconds: float, policy: BatchPolicy, times: LinearRunTime | None = None) -> None:
        """Start from `times`, which are by the size of the run, padding included."""
        if not seconds > 0:
            raise ValueError("latency_slo: expected more than 0 seconds")
        self._seconds = seconds
        self._policy = policy
        self.times = times or LinearRunTime()
        self._late = 0

    def __repr__(self) -> str:
        return f"<LatencySlo {self._seconds * 1e3:g} ms, full at {self.full}, {self.times!r}>"

    def deadline(self, enqueued_at: float, deadline: float) -> float:
        """Return by when a row must be answered; its own deadline may be earlier."""
        return min(deadline, enqueued_at + self._seconds)

    @property
    def full(self) -> int:
        """Rows of the largest batch that can be run again and again; at least 1."""
        return max(1, self._largest(self._seconds / 2, 0.0))

    def seconds_of(self, rows: int) -> float:
        """Return the seconds that a batch rarely exceeds."""
        return self.times.upper(self._policy.padded(rows))

    def largest(self, within: float) -> int:
        """Return the rows of the largest batch that is done within so many seconds; 0 where none is."""
        return self._largest(within, self.times.margin)

    def batch_rows(self, waiting: int, left: float) -> int:
        """Return how many of the waiting rows to run, where the earliest deadline is `left` seconds away.

        0: refuse those that `late_within` and `late_rows` tell, and ask again.
        """
        if not self.times.is_known:
            return min(waiting, self._policy.max_batch_size)
        rows = min(waiting, self.largest(left))
        if waiting > self.full:
            return rows if rows >= self.full else 0
        if not rows and self.times.upper(self._policy.padded(1)) > self._seconds:
            self._late += 1
            if self._late % PROBE_EVERY == 1:  # or it would never show that the model is quicker again
                return 1
        return rows

    def _largest(self, within: float, margin: float) -> int:
        times, allowed = self.times, self._policy.allowed_batch_sizes
        if allowed:
            return max([size for size in allowed if times.expect(size) * (1.0 + margin) <= within], default=0)
        rows, most = 0, self._policy.max_batch_size
        step = 1 << most.bit_length()
        while step:  # a larger batch takes no less
            if rows + step <= most and times.expect(rows + step) * (1.0 + margin) <= within:
                rows += step
            step >>= 1
        return rows

    def late_within(self, waiting: int) -> float:
        """Return seconds: rows whose deadline is nearer are to be refused."""
        return self.seconds_of(self.full if waiting > self.full else 1)

    def late_rows(self, waiting: int) -> int:
        """Return how many rows at most are to be refused, so that a full batch remains."""
        return waiting - self.full if waiting > self.full else waiting
