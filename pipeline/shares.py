"""How many rows each source may have under way where there is no queue to count them in."""

from typing import Any

from pipeline.errors import Overloaded


class Shares:
    """Rows under way by source, `limit` of them at most.

    Once `crowd` rows are under way, no source may have more than there is room left: the bounds are those of a
    `MicroBatcher`'s queue.
    """

    __slots__ = ("_crowd", "_held", "_limit", "total")

    def __init__(self, limit: int, crowd: int) -> None:
        self._limit = limit
        self._crowd = crowd
        self._held: dict[Any, int] = {}
        self.total = 0

    def __repr__(self) -> str:
        return f"<Shares {self.total}/{self._limit} of {len(self._held)} sources>"

    @property
    def room(self) -> int:
        """How many rows all sources together may add."""
        return self._limit - self.total

    def room_for(self, source: Any) -> int:
        """Return how many rows a source may add now, one after the other."""
        room = self._limit - self.total
        return min(room, max(self._crowd - self.total, (room - self._held.get(source, 0) + 1) // 2, 0))

    def take(self, source: Any) -> None:
        """Count a row in. Raises `Overloaded` where there is no room for it, and has then changed nothing."""
        room = self._limit - self.total
        held = self._held.get(source, 0)
        if not room:
            raise Overloaded(f"the ensemble is full ({self._limit} rows under way)")
        if self.total >= self._crowd and held >= room:
            raise Overloaded(f"this connection's share of the ensemble is full ({room} of {self._limit} rows)")
        self._held[source] = held + 1
        self.total += 1

    def give_back(self, source: Any) -> None:
        """Count a row out."""
        held = self._held[source] - 1
        if held:
            self._held[source] = held
        else:
            del self._held[source]
        self.total -= 1
