"""One timer for all sockets: it finds the idle, the dead, the stalled and those whose closing hangs."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pipeline.admin_messages import SessionInfo
from pipeline.idle import Idle

log = logging.getLogger(__name__)

GUEST_SECONDS: Final = 5.0  # in which who is no one yet has to say who he is

_SHARDS: Final = 10  # each tick visits one of them, so that no tick is long


@dataclass(frozen=True, slots=True)
class HeartbeatOptions:
    """Patience with a socket, in seconds."""

    ping_after_seconds: float = 25.0
    pong_wait_seconds: float = 8.0
    slow_consumer_seconds: float = 10.0
    close_seconds: float = 2.0

    def __post_init__(self) -> None:
        if (
            min(
                self.ping_after_seconds,
                self.pong_wait_seconds,
                self.slow_consumer_seconds,
                self.close_seconds,
            )
            <= 0
        ):
            raise ValueError("heartbeat: all times must be above 0 seconds")

    @property
    def interval(self) -> float:
        """Seconds between two looks at the same socket."""
        shortest = min(self.ping_after_seconds, self.pong_wait_seconds, self.slow_consumer_seconds, self.close_seconds)
        return min(1.0, shortest / 4)


class Beating(Protocol):
    """What the heartbeat looks after."""

    @property
    def name(self) -> str:
        """The session's id."""

    opened_at: float  # of the loop's clock

    @property
    def event_count(self) -> int:
        """How many events came."""

    def describe(self) -> SessionInfo:
        """Return what operators are told."""

    @property
    def is_idle(self) -> bool:
        """Whether every event that came was answered."""

    def live_streams(self) -> list[Any]:
        """Return the `Stream`s of the socket."""

    def tick(self, now: float) -> None:
        """Take note that one interval has passed; `now` is the loop's time in seconds."""

    def go_away(self, reason: str) -> None:
        """Tell the client that the socket will close soon."""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""

    def abort(self) -> None:
        """Drop the connection at once."""


class Heartbeat:
    """The set of open sockets and their common timer."""

    def __init__(self, options: HeartbeatOptions) -> None:
        self.options = options
        interval = options.interval
        self.ping_after = math.ceil(options.ping_after_seconds / interval)
        self.dead_after = self.ping_after + math.ceil(options.pong_wait_seconds / interval)
        self.slow_after = math.ceil(options.slow_consumer_seconds / interval)
        self.guest_after = math.ceil(GUEST_SECONDS / interval)
        self.close_after = math.ceil(options.close_seconds / interval)
        self._shards: list[set[Beating]] = [set() for _ in range(_SHARDS)]
        self._next_shard = 0
        self._newest = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._empty = Idle(self.__len__)
        self.closes: Counter[int] = Counter()  # of sockets from here, by code

    def __repr__(self) -> str:
        return f"<Heartbeat sockets={len(self)} interval={self.options.interval}s>"

    def __len__(self) -> int:
        """Return the number of open sockets."""
        return sum(map(len, self._shards))

    def __iter__(self) -> Iterator[Beating]:
        """Iterate over a snapshot of the open sockets."""
        return iter([socket for shard in self._shards for socket in shard])

    def start(self) -> None:
        """Start the timer."""
        self._timer = self._loop.call_later(self.options.interval / _SHARDS, self._tick)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, socket: Beating) -> int:
        """Look after one more socket; return the shard to give to `discard`."""
        self._newest = (self._newest + 1) % _SHARDS
        self._shards[self._newest].add(socket)
        return self._newest

    def discard(self, socket: Beating, shard: int) -> None:
        """Forget a socket that is closed."""
        self._shards[shard].discard(socket)
        self._empty.notify()

    async def emptied(self) -> None:
        """Wait until no socket is open."""
        await self._empty.wait()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self.options.interval / _SHARDS, self._tick)
        now = self._loop.time()
        self._next_shard = (self._next_shard + 1) % _SHARDS
        for socket in list(self._shards[self._next_shard]):
            try:
                socket.tick(now)
            except Exception:
                log.exception("a socket's heartbeat failed", extra={"session": socket.name})
                socket.abort()
