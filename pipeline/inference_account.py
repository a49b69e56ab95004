"""Who pays for an inference request: for its bytes before they are decoded, for its rows once they are counted."""

from pipeline.limits import Allowance
from pipeline.token_bucket import Quota, TokenBucket
from pipeline.usage import Tally, Usage


class InferenceAccount:
    """One request's. What was decoded is paid for, whatever comes of it. Times are monotonic seconds."""

    __slots__ = ("_name", "_payers", "_tally", "_usage")

    def __init__(self, payers: list[Allowance], usage: Usage, name: str | None) -> None:
        """`name`: of the identity; None where nobody has one."""
        self._payers = payers
        self._usage = usage
        self._name = name
        self._tally: Tally | None = None

    def __repr__(self) -> str:
        return f"<InferenceAccount of {self._name!r} {self._payers}>"

    def take_bytes(self, size: int, now: float) -> None:
        """Take a body of `size` bytes. Raises `RateLimited`; nothing is taken then."""
        buckets = [(payer, payer.bytes) for payer in self._payers]
        wanted = [(payer, "bytes_per_second", bucket) for payer, bucket in buckets if bucket is not None]
        _take(wanted, max(size, 1), now)

    def take_rows(self, count: int, now: float) -> None:
        """Take so many rows, at least one. Raises `RateLimited`; none is taken then."""
        wanted: list[tuple[Allowance, str, TokenBucket]] = []
        for payer in self._payers:
            if payer.events is not None:
                wanted.append((payer, "events_per_second", payer.events))
            if payer.quota is not None:
                wanted.append((payer, "events_per_month", payer.quota))
        _take(wanted, count, now)

    def tally(self, model: str) -> Tally:
        """Return where to count what is done for the model that the request is for."""
        tally = self._tally = self._usage.open(self._name or "", model)
        return tally

    def close(self) -> None:
        """Count nothing more: the request is over."""
        if self._tally is not None:
            self._usage.close(self._tally)
            self._tally = None


def _take(wanted: list[tuple[Allowance, str, TokenBucket]], need: int, now: float) -> None:
    """Take as much of each bucket, or nothing at all. Raises `RateLimited` for the one that takes longest."""
    if all(bucket.offer(need, now) for _, _, bucket in wanted):
        for _, _, bucket in wanted:
            bucket.take(need, need)
        return
    longest = -1.0
    for payer, limit, bucket in wanted:
        bucket.asked += need
        wait = bucket.wait(need, now)
        if wait > longest:
            longest, blamed = wait, (payer, limit, bucket)
    payer, limit, bucket = blamed
    raise payer.refusal(limit, bucket.burst if isinstance(bucket, Quota) else bucket.rate, longest)
