"""How long to wait before something is tried again: exponential, with full jitter."""

import math
import random
from collections.abc import Callable


class Backoff:
    """Gives the seconds to wait: uniform below a bound that doubles with each failure, from `first` to `longest`."""

    __slots__ = ("_chance", "_first", "_longest", "failures")

    def __init__(self, first: float = 0.1, longest: float = 3.0, chance: Callable[[], float] = random.random) -> None:
        """`chance` is uniform in [0, 1)."""
        self._first = first
        self._longest = longest
        self._chance = chance
        self.failures = 0

    def next(self, longest: float = math.inf) -> float:
        """Count a failure and return the seconds to wait, this time no more than `longest`."""
        bound = min(self._longest, longest, self._first * 2.0 ** min(self.failures, 64))
        self.failures += 1
        return bound * self._chance()

    def reset(self) -> None:
        """Count from the beginning: it went well."""
        self.failures = 0
