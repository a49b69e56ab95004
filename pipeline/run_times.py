"""How long a run takes, learned as a function of the batch size: in CPU seconds, and in seconds on the clock."""

from typing import Final

_NEVER: Final = float("inf")

TICK: Final = 1e-9  # seconds; no run is quicker
MARGIN: Final = 3.0  # mean deviations that `upper` leaves
CLIP: Final = 4.0  # mean deviations beyond which a measurement is cut off
LEAST_CLIP: Final = 0.1
TRUSTING: Final = 8  # measurements that are taken as they are
INERTIA: Final = 1e-3  # how little the sizes may vary, against their mean, before the slope is kept


class RunTimes:
    """Exponentially weighted mean of run seconds, one per power of two of rows; `exact`: one per number of rows.

    Fed with CPU seconds of the running thread: they do not count what a busy machine or the GIL made it wait. Runs that
    are padded have one of a few sizes, which are told apart exactly.
    """

    __slots__ = ("_exact", "_means", "_weight")

    def __init__(self, weight: float = 0.1, exact: bool = False) -> None:
        self._weight = weight
        self._exact = exact
        self._means: dict[int, float] = {}  # by rows, or by the bits of their number

    def __repr__(self) -> str:
        names = {key: f"{key}" if self._exact else f"<{1 << key}" for key in sorted(self._means)}
        return f"<RunTimes {', '.join([f'{name}: {self._means[key] * 1e6:.0f} us' for key, name in names.items()])}>"

    def observe(self, rows: int, seconds: float) -> None:
        """Take one more measurement."""
        key = rows if self._exact else rows.bit_length()
        mean = self._means.get(key)
        self._means[key] = seconds if mean is None else mean + self._weight * (seconds - mean)

    def expect(self, rows: int) -> float:
        """Return the expected seconds; infinity as long as nothing of that size or larger has run."""
        key = rows if self._exact else rows.bit_length()
        known = self._means.get(key)
        if known is not None:
            return known
        return min((mean for size, mean in list(self._means.items()) if size > key), default=_NEVER)


class LinearRunTime:
    """Seconds on the clock as fixed + per_row * rows, by least squares that forget exponentially.

    `upper` lies above by three mean deviations. Measurements that lie far off count in part only: a
    hiccup changes little, while a lasting change is followed within some dozens of runs. As long as all batches are of
    one size the slope cannot be seen: then both terms are scaled alike. Neither becomes negative.
    """

    __slots__ = ("_count", "_covariance", "_forget", "_mean_rows", "_mean_seconds", "_variance", "deviation", "fixed",
                 "per_row")  # fmt: skip

    def __init__(self, forget: float = 0.05) -> None:
        """`forget`: the weight of the newest measurement, once there are many."""
        self._forget = forget
        self._count = 0
        self._mean_rows = self._mean_seconds = self._variance = self._covariance = 0.0
        self.fixed = 0.0  # seconds of any run
        self.per_row = 0.0  # seconds of each row
        self.deviation = 0.0  # mean of |measured / expected - 1|

    def __repr__(self) -> str:
        spread = f"{self.deviation:.0%}"
        return f"<LinearRunTime {self.fixed * 1e6:.0f} us + {self.per_row * 1e6:.1f} us a row, off by {spread}>"

    @property
    def is_known(self) -> bool:
        """Whether anything was measured so far."""
        return self._count > 0

    def expect(self, rows: int) -> float:
        """Return the expected seconds."""
        return self.fixed + self.per_row * rows

    @property
    def margin(self) -> float:
        """How much longer than expected a run may take, as a part of that; at most as long again."""
        return min(MARGIN * self.deviation, 1.0)

    def upper(self, rows: int) -> float:
        """Return seconds that a run rarely exceeds."""
        return self.expect(rows) * (1.0 + self.margin)

    def observe(self, rows: int, seconds: float) -> None:
        """Take one more measurement."""
        seconds = max(seconds, TICK)
        self._count += 1
        if self._count == 1:  # how much of it is fixed is not known yet
            self._mean_rows, self._mean_seconds = float(rows), seconds
            self.fixed, self.per_row = seconds / 2, seconds / (2 * rows)
            return
        weight = max(self._forget, 1.0 / self._count)
        expected = self.expect(rows)
        error = seconds / expected - 1.0
        if self._count > TRUSTING:
            limit = CLIP * self.deviation + LEAST_CLIP
            error = min(max(error, -limit), limit)
            seconds = expected * (1.0 + error)
        if self._count > TRUSTING // 2:  # before that, it is the line that is off
            self.deviation += weight * (abs(error) - self.deviation)
        rows_off, seconds_off = rows - self._mean_rows, seconds - self._mean_seconds
        self._mean_rows += weight * rows_off
        self._mean_seconds += weight * seconds_off
        self._variance = (1.0 - weight) * (self._variance + weight * rows_off * rows_off)
        self._covariance = (1.0 - weight) * (self._covariance + weight * rows_off * seconds_off)
        self._fit()

    def _fit(self) -> None:
        """Draw the line through the means; where sizes hardly vary, its slope keeps its part of the whole."""
        rows, seconds = self._mean_rows, self._mean_seconds
        kept = self.per_row * seconds / self._expect_mean()
        inertia = INERTIA * rows * rows
        slope = (self._covariance + inertia * kept) / (self._variance + inertia)
        self.per_row = max(0.0, slope)
        self.fixed = seconds - self.per_row * rows
        if self.fixed < 0.0:  # through the origin instead
            self.fixed = 0.0
            self.per_row = max(0.0, (self._covariance + rows * seconds) / (self._variance + rows * rows))

    def _expect_mean(self) -> float:
        """Return the expected seconds of the mean size."""
        return max(self.fixed + self.per_row * self._mean_rows, TICK)
