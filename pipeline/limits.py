"""What an identity or an address has left of its limits (`Allowance`), and what a socket has drawn of that (`Meter`).

An event costs two subtractions until what was drawn is used up. No clock: times are arguments, monotonic seconds.
"""

from math import ceil
from typing import Final

from pipeline.errors import RateLimited
from pipeline.limit_config import Limits
from pipeline.token_bucket import Quota, TokenBucket

ALL: Final = 1 << 60
WAIT_MS: Final = 1000  # for room that is there when somebody else leaves
TOLERATED: Final = 50  # refusals in a second; a socket with more of them for ABUSE_SECONDS on end does not listen
ABUSE_SECONDS: Final = 10
LARGE: Final = 8192  # bytes: what is refused counts as one refusal more for each of these


class Room:
    """A count of what is there at the same time. `most` is what may be here, `limit` what may be everywhere."""

    __slots__ = ("limit", "most", "used")

    def __init__(self, limit: int | None, share: float) -> None:
        self.limit = ALL if limit is None else limit
        self.most = self.limit if share >= 1.0 else ceil(self.limit * share)
        self.used = 0


class Allowance:
    """What one identity or address has left. `of` is "identity" or "address"."""

    __slots__ = ("bytes", "controls", "events", "keys", "name", "of", "openings", "quota", "refusals", "sockets",
                 "subscriptions")  # fmt: skip

    def __init__(self, of: str, name: str, limits: Limits, refusals: dict[str, int], now: float, share: float) -> None:
        """`refusals` counts by limit, of all allowances of a kind."""
        self.of = of
        self.name = name
        self.refusals = refusals
        seconds = limits.burst_seconds
        self.openings = _bucket(limits.new_sockets_per_second, seconds, now, share)
        self.events = _bucket(limits.events_per_second, seconds, now, share)
        self.bytes = _bucket(limits.bytes_per_second, seconds, now, share)
        self.controls = _bucket(limits.control_frames_per_second, seconds, now, share)
        self.quota = None if limits.events_per_month is None else Quota(limits.events_per_month, now)
        self.sockets = Room(limits.sockets, share)
        self.keys = Room(limits.keys, share)
        self.subscriptions = Room(limits.subscriptions, share)

    def __repr__(self) -> str:
        return f"<Allowance of {self.of} {self.name!r} sockets={self.sockets.used} events={self.events!r}>"

    @property
    def rates(self) -> dict[str, TokenBucket]:
        """The buckets that there are, by limit."""
        named = {
            "new_sockets_per_second": self.openings,
            "events_per_second": self.events,
            "bytes_per_second": self.bytes,
            "control_frames_per_second": self.controls,
        }
        return {limit: bucket for limit, bucket in named.items() if bucket is not None}

    @property
    def rooms(self) -> dict[str, Room]:
        """What is counted, by limit; only what is bounded."""
        named = {"sockets": self.sockets, "keys": self.keys, "subscriptions": self.subscriptions}
        return {limit: room for limit, room in named.items() if room.limit < ALL}

    def is_idle(self, now: float) -> bool:
        """Return whether forgetting it would give nobody more than it has."""
        for bucket in self.rates.values():
            bucket.fill(now)
            if not bucket.is_full:
                return False
        return not self.sockets.used

    def check_opening(self, now: float) -> None:
        """Raise `RateLimited` where no socket can be opened now."""
        self.check_room("sockets", self.sockets)
        bucket = self.openings
        if bucket is not None and not bucket.offer(1, now):
            bucket.asked += 1
            raise self.refusal("new_sockets_per_second", bucket.rate, bucket.wait(1, now))

    def open(self) -> None:
        """Count a socket in, after `check_opening`."""
        self.sockets.used += 1
        if self.openings is not None:
            self.openings.take(1, 1)

    def check_room(self, limit: str, room: Room) -> None:
        """Raise `RateLimited` where nothing more of a kind can be there at the same time."""
        if room.used >= room.most:
            raise self.refusal(limit, float(room.limit), WAIT_MS / 1000)

    def refusal(self, limit: str, most: float, seconds: float) -> RateLimited:
        """Count a refusal and return what tells of it."""
        self.count_refusal(limit)
        return RateLimited(f"{limit}: this {self.of} may have {most:.15g}", wait_ms(seconds))

    def count_refusal(self, limit: str) -> None:
        """Count something that was refused."""
        self.refusals[limit] = self.refusals.get(limit, 0) + 1


class Meter:
    """What one socket, or one request, may still do. Its identity may become known later (`identify`).

    `take_event` and `take_control` return 0, or the milliseconds after which to try again; `refused` then tells why.
    """

    __slots__ = ("_allowances", "_bad_seconds", "_bytes", "_bytes_granted", "_event_buckets", "_events",
                 "_events_granted", "_keys", "_refusal", "_refusals", "_second", "_size_buckets", "_sockets",
                 "_subscriptions")  # fmt: skip

    def __init__(self, allowances: list[Allowance], sockets: int = 1) -> None:
        self._sockets = sockets
        self._events = self._events_granted = 0
        self._bytes = self._bytes_granted = 0
        self._keys = self._subscriptions = 0
        self._second = 0.0  # when the second began in which `_refusals` are counted
        self._refusals = self._bad_seconds = 0
        self._refusal = ("", "", 0.0, 0)  # the last: kind of allowance, limit, how much that is, milliseconds
        self._use(allowances)

    def __repr__(self) -> str:
        names = [allowance.name for allowance in self._allowances]
        return f"<Meter of {names} keys={self._keys} subscriptions={self._subscriptions} bad={self._bad_seconds}>"

    @property
    def refused(self) -> RateLimited:
        """What tells of the last refusal."""
        of, limit, most, milliseconds = self._refusal
        return RateLimited(f"{limit}: this {of} may have {most:.15g}", milliseconds)

    @property
    def is_abusive(self) -> bool:
        """Whether it has not heeded refusals for so long that it may be closed with 4013."""
        return self._bad_seconds >= ABUSE_SECONDS

    def take_event(self, size: int, now: float) -> int:
        """Take an event of `size` bytes; return 0, or the milliseconds to wait as it is refused."""
        events = self._events - 1
        left = self._bytes - size
        if events >= 0 and left >= 0:
            self._events = events
            self._bytes = left
            return 0
        return self.take_events(1, size, now)

    def take_events(self, count: int, size: int, now: float) -> int:
        """Take so many events of `size` bytes in all, or none of them; return as `take_event` does."""
        self.rest()
        grant = size_grant = ALL
        need = max(size, 1)
        for bucket in self._event_buckets:
            grant = min(grant, bucket.offer(count, now))
        for bucket in self._size_buckets:
            size_grant = min(size_grant, bucket.offer(need, now))
        if not (grant and size_grant):
            return self._refuse_events(count, need, now)
        for bucket in self._event_buckets:
            bucket.take(count, grant)
        for bucket in self._size_buckets:
            bucket.take(need, size_grant)
        self._events = self._events_granted = grant - count
        self._bytes = self._bytes_granted = size_grant - need
        return 0

    def check_size(self, size: int, now: float) -> int:
        """Return as `take_event` does whether so many bytes could be taken now. They are not, but may be refused."""
        if size <= self._bytes:
            return 0
        self.rest()
        for bucket in self._size_buckets:
            if not bucket.offer(size, now):
                return self._refuse_events(0, size, now)
        return 0

    def take_control(self, now: float) -> int:
        """Take a ping, a pong or an operation that is no event; return as `take_event` does."""
        for allowance in self._allowances:
            bucket = allowance.controls
            if bucket is not None and not bucket.offer(1, now):
                bucket.asked += 1
                return self._refuse(allowance, "control_frames_per_second", bucket.rate, bucket.wait(1, now), now)
        for allowance in self._allowances:
            if allowance.controls is not None:
                allowance.controls.take(1, 1)
        return 0

    def take_key(self) -> None:
        """Count a key in. Raises `RateLimited`."""
        for allowance in self._allowances:
            allowance.check_room("keys", allowance.keys)
        self._keys += 1
        for allowance in self._allowances:
            allowance.keys.used += 1

    def give_keys(self, count: int = 1) -> None:
        """Count keys out."""
        self._keys -= count
        for allowance in self._allowances:
            allowance.keys.used -= count

    def take_subscription(self) -> None:
        """Count a pattern that is watched in. Raises `RateLimited`."""
        for allowance in self._allowances:
            allowance.check_room("subscriptions", allowance.subscriptions)
        self._subscriptions += 1
        for allowance in self._allowances:
            allowance.subscriptions.used += 1

    def give_subscriptions(self, count: int = 1) -> None:
        """Count patterns out."""
        self._subscriptions -= count
        for allowance in self._allowances:
            allowance.subscriptions.used -= count

    def identify(self, allowance: Allowance, now: float) -> None:
        """Count under an identity in the place of the one so far. Raises `RateLimited`; nothing has changed then."""
        if allowance in self._allowances:
            return
        allowance.check_opening(now)
        others = [other for other in self._allowances if other.of != allowance.of]
        self._count(-1)
        self.rest()
        allowance.open()
        allowance.sockets.used -= 1
        self._use([*others, allowance])
        self._count(1)

    def rest(self) -> None:
        """Put back what was drawn and not used, for others: about once a second, and where nothing comes."""
        for bucket in self._event_buckets:
            bucket.put_back(self._events_granted, self._events)
        for bucket in self._size_buckets:
            bucket.put_back(self._bytes_granted, self._bytes)
        self._events = self._events_granted = 0 if self._event_buckets else ALL
        self._bytes = self._bytes_granted = 0 if self._size_buckets else ALL

    def close(self) -> None:
        """Give everything back: the socket is gone."""
        self.rest()
        self._count(-1)
        self._keys = self._subscriptions = self._sockets = 0
        self._use([])

    def _use(self, allowances: list[Allowance]) -> None:
        self._allowances = allowances
        self._event_buckets = [bucket for a in allowances for bucket in (a.events, a.quota) if bucket is not None]
        self._size_buckets = [bucket for a in allowances for bucket in (a.bytes,) if bucket is not None]
        self._events = self._events_granted = 0 if self._event_buckets else ALL
        self._bytes = self._bytes_granted = 0 if self._size_buckets else ALL

    def _count(self, sign: int) -> None:
        for allowance in self._allowances:
            allowance.sockets.used += sign * self._sockets
            allowance.keys.used += sign * self._keys
            allowance.subscriptions.used += sign * self._subscriptions

    def _refuse_events(self, count: int, size: int, now: float) -> int:
        """Return how long to wait for the limit that takes longest."""
        longest, limit, most = -1.0, "", 0.0
        blamed = self._allowances[0]
        for allowance in self._allowances:
            waits = (
                ("events_per_second", allowance.events, count),
                ("bytes_per_second", allowance.bytes, size),
                ("events_per_month", allowance.quota, count),
            )
            for name, bucket, need in waits:
                if bucket is not None:
                    bucket.asked += need
                    wait = bucket.wait(need, now)
                    if wait > longest:
                        longest, limit, blamed = wait, name, allowance
                        most = bucket.burst if name == "events_per_month" else bucket.rate
        return self._refuse(blamed, limit, most, longest, now, size)

    def _refuse(self, allowance: Allowance, limit: str, most: float, seconds: float, now: float, size: int = 0) -> int:
        """Count a refusal, also towards abuse; return the milliseconds to wait."""
        passed = now - self._second
        if passed >= 1.0:
            self._bad_seconds = self._bad_seconds + 1 if self._refusals > TOLERATED and passed < 2.0 else 0
            self._second, self._refusals = now, 0
        self._refusals += 1 + size // LARGE
        allowance.count_refusal(limit)
        wait = wait_ms(seconds)
        self._refusal = (allowance.of, limit, most, wait)
        return wait


def wait_ms(seconds: float) -> int:
    """Return whole milliseconds that are not shorter, by one for what clocks and floats lose."""
    return min(ceil(seconds * 1000) + 1, 1 << 31)


def _bucket(rate: float | None, seconds: float, now: float, share: float) -> TokenBucket | None:
    return None if rate is None else TokenBucket(rate, max(rate * seconds, 1.0), now, share)
