"""How many rows each source may have, and a count of them where there is no queue to count them in."""

from typing import Any

from pipeline.errors import Overloaded


def room_of_share(room: int, total: int, held: int, crowd: int) -> int:
    """Return how many rows a source that holds `held` of all `total` rows can add one by one, with room for `room`.

    A dynamic threshold (Choudhury and Hahne, 1998): once there are `crowd` rows, no source may hold more of them than
    there is room left. One that floods gets half of it all, N that flood get 1/(N+1) each, and there is room for
    whoever comes next.
    """
    return min(room, max(crowd - total, (room - held + 1) // 2, 0))


class Shares:
    """Rows under way by source: `limit` of them at most, and of each source what `room_of_share` says."""

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
        return room_of_share(self.room, self.total, self._held.get(source, 0), self._crowd)

    def take(self, source: Any) -> None:
        """Count a row in. Raises `Overloaded` where there is no room for it, and has then changed nothing."""
        room, held = self.room, self._held.get(source, 0)
        if not room:
            raise Overloaded(f"the ensemble is full ({self._limit} rows under way)")
        if not room_of_share(room, self.total, held, self._crowd):
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
