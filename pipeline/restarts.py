"""When a process that died is started again."""

from typing import Final

FIRST: Final = 0.5  # seconds
MOST: Final = 30.0
SETTLED: Final = 60.0

_DOUBLINGS: Final = 16  # more would make no difference, and overflow some day


class Restarts:
    """Pauses that double each time, until a process has lived long enough to count as well again."""

    def __init__(self) -> None:
        self.count = 0
        self._in_a_row = 0

    def __repr__(self) -> str:
        return f"<Restarts {self.count}, {self._in_a_row} in a row>"

    def pause(self, lived: float) -> float:
        """Return how many seconds to wait after a process that lived for `lived` seconds."""
        self.count += 1
        self._in_a_row = 1 if lived >= SETTLED else self._in_a_row + 1
        return min(MOST, FIRST * 2.0 ** min(self._in_a_row - 1, _DOUBLINGS))
