"""Token buckets whose tokens are given out ahead of their use, so that a single event costs no look at the clock."""

from typing import Final

GRANT_SECONDS: Final = 0.05  # what a grant may have beyond what is needed at once: so much of the rate
HELD: Final = 0.125  # this part of a burst is held at most by those who have not used it yet


class TokenBucket:
    """`rate` tokens per second; up to `burst` of them are saved while nobody asks.

    Tokens leave in grants. A holder may put back what it has not used, and what it holds counts as saved: in any t
    seconds at most rate·t + burst tokens are used. A use of more than the bucket can save (`HELD` of `burst` may be
    elsewhere) has to wait for a full one, and what it takes beyond that comes on top. Idle holders starve nobody.

    With a `share` below 1 others have the rest of `rate` and `burst`. `asked` counts what was used or refused. Times
    are monotonic seconds.
    """

    __slots__ = ("_at", "_held", "_tokens", "asked", "burst", "rate", "share")

    def __init__(self, rate: float, burst: float, now: float, share: float = 1.0) -> None:
        self.rate = rate
        self.burst = burst
        self.share = share
        self.asked = 0.0
        self._tokens = burst * share
        self._held = 0.0
        self._at = now

    def __repr__(self) -> str:
        return f"<TokenBucket {self._tokens:.6g}/{self.burst:g} at {self.rate:g}/s x {self.share:.3g}>"

    @property
    def is_full(self) -> bool:
        """Whether it was full when it was last looked at, and all grants have come back."""
        return self._tokens >= self.burst * self.share and not self._held

    def offer(self, need: int, now: float) -> int:
        """Return how many tokens can be taken now, `need` of them or more; 0 where those are not there."""
        self.fill(now)
        if self._tokens < min(float(need), self._most()):
            return 0
        spare = min(self._tokens - need, self._spare())
        return need + int(spare) if spare >= 1.0 else need

    def take(self, need: int, grant: int) -> None:
        """Give out what was offered: `need` tokens are used at once, the others of the grant are held."""
        self._tokens -= grant
        self._held += grant - need
        self.asked += grant

    def put_back(self, grant: int, left: int) -> None:
        """Take back what is left of the tokens of a grant that were held; the grant is over."""
        self._held = max(self._held - grant, 0.0)
        self._tokens += left
        self.asked -= left

    def wait(self, need: int, now: float) -> float:
        """Return the seconds until `need` tokens are there, if nobody else takes them."""
        self.fill(now)
        return max(min(float(need), self._most()) - self._tokens, 0.0) / (self.rate * self.share)

    def resize(self, share: float, now: float) -> None:
        """Have another share of the rate from now on."""
        self.fill(now)
        self.share = share
        self.fill(now)

    def fill(self, now: float) -> None:
        """Add what has come since the last time."""
        passed = now - self._at
        if passed > 0.0:
            self._at = now
            self._tokens += passed * self.rate * self.share
        self._tokens = min(self._tokens, self._most())

    def _most(self) -> float:
        """Return how many tokens may lie here, beside those that are held elsewhere."""
        most = self.burst * self.share
        return max(most - self._held, (1.0 - HELD) * most)

    def _spare(self) -> float:
        """Return how much a grant may have beyond its need, so that others find something to hold as well."""
        return min(self.rate * self.share * GRANT_SECONDS, 0.25 * (HELD * self.burst * self.share - self._held))


class Quota(TokenBucket):
    """So many tokens until a certain time. What was spent is told from outside now and then (`renew`)."""

    __slots__ = ("renews_at",)

    def __init__(self, most: int, now: float) -> None:
        super().__init__(0.0, float(most), now)
        self.renews_at = now

    @property
    def left(self) -> int:
        """How many tokens nobody has."""
        return int(self._tokens)

    def renew(self, spent: int, renews_at: float) -> None:
        """Take note of what was spent so far, here and elsewhere, and when nothing will be spent again."""
        self._tokens = self.burst - spent - self._held
        self.renews_at = renews_at

    def wait(self, need: int, now: float) -> float:
        """Return the seconds until `need` tokens are there."""
        return 0.0 if self._tokens >= need else max(self.renews_at - now, 1.0)

    def resize(self, share: float, now: float) -> None:
        """Do nothing: a quota is shared by what all have spent."""

    def fill(self, now: float) -> None:
        """Do nothing: nothing comes by itself."""

    def _most(self) -> float:
        return float("inf")

    def _spare(self) -> float:
        return min(self._tokens / 16, 100.0)
