"""How long a run takes, learned as a function of the batch size."""

from typing import Final

_NEVER: Final = float("inf")


class RunTimes:
    """Exponentially weighted mean of run seconds, one per power of two of rows.

    Fed with CPU seconds of the running thread: they do not count what a busy machine or the GIL made it wait.
    """

    __slots__ = ("_means", "_weight")

    def __init__(self, weight: float = 0.1) -> None:
        self._weight = weight
        self._means: dict[int, float] = {}

    def __repr__(self) -> str:
        times = ", ".join(f"<{1 << bits}: {mean * 1e6:.0f} us" for bits, mean in sorted(self._means.items()))
        return f"<RunTimes {times}>"

    def observe(self, rows: int, seconds: float) -> None:
        """Take one more measurement."""
        bits = rows.bit_length()
        mean = self._means.get(bits)
        self._means[bits] = seconds if mean is None else mean + self._weight * (seconds - mean)

    def expect(self, rows: int) -> float:
        """Return the expected seconds; infinity as long as nothing of that size or larger has run."""
        bits = rows.bit_length()
        known = self._means.get(bits)
        if known is not None:
            return known
        return min((mean for size, mean in list(self._means.items()) if size > bits), default=_NEVER)
