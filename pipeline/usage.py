"""Who has used how much of which model: counts that cost an event an addition, folded into rows per hour (UTC)."""

from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple

OTHER: Final = "other"  # all those beyond a bound
HOUR: Final = 3600


class UsageRow(NamedTuple):
    """What an identity has used of a model in the hour that began at `hour` (unix seconds), or a part of that."""

    hour: int
    identity: str
    model: str
    events: int = 0
    predictions: int = 0
    errors: int = 0
    bytes: int = 0
    compute_seconds: float = 0.0


class Tally:
    """What is counted of one identity and one model. Whoever does something for them adds to it; see `Usage.open`.

    `events` and their `bytes` as they are let in, `predictions` and `errors` as they are answered, `compute_seconds`:
    of each run the part of its rows.
    """

    __slots__ = ("bytes", "compute_seconds", "errors", "events", "identity", "model", "predictions", "users")

    def __init__(self, identity: str, model: str) -> None:
        self.identity = identity
        self.model = model
        self.users = 0
        self.events = 0
        self.predictions = 0
        self.errors = 0
        self.bytes = 0
        self.compute_seconds = 0.0

    def __repr__(self) -> str:
        return f"<Tally {self.identity!r} {self.model!r} events={self.events} users={self.users}>"

    @property
    def is_blank(self) -> bool:
        """Whether nothing was counted."""
        return not (self.events or self.predictions or self.errors or self.bytes or self.compute_seconds)

    def add(self, other: "Tally | UsageRow") -> None:
        """Add what another has counted."""
        self.events += other.events
        self.predictions += other.predictions
        self.errors += other.errors
        self.bytes += other.bytes
        self.compute_seconds += other.compute_seconds

    def clear(self) -> None:
        """Count from zero again."""
        self.events = self.predictions = self.errors = self.bytes = 0
        self.compute_seconds = 0.0


class Usage:
    """The tallies of a process, and what of them has not been written yet.

    Bounds: `most_tallies` pairs of identity and model are told apart at a time and `most_rows` rows wait to be written;
    what is more counts as `OTHER`. `totals` has sums since the start by identity and model for the first `most_labels`
    identities, and `OTHER` for all others.
    """

    __slots__ = ("_labels", "_most_labels", "_most_rows", "_most_tallies", "_rows", "_tallies", "totals")

    def __init__(self, *, most_tallies: int = 20_000, most_rows: int = 100_000, most_labels: int = 100) -> None:
        self._most_tallies = most_tallies
        self._most_rows = most_rows
        self._most_labels = most_labels
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._rows: dict[tuple[int, str, str], Tally] = {}
        self._labels: set[str] = set()
        self.totals: dict[tuple[str, str], Tally] = {}

    def __repr__(self) -> str:
        return f"<Usage tallies={len(self._tallies)} rows={len(self._rows)} labels={len(self._labels)}>"

    def open(self, identity: str, model: str) -> Tally:
        """Return where to count for an identity and a model, until it is given to `close`."""
        tally = self._tallies.get((identity, model))
        if tally is None:
            if len(self._tallies) >= self._most_tallies:
                identity = OTHER
            tally = self._tallies.setdefault((identity, model), Tally(identity, model))
        tally.users += 1
        return tally

    def close(self, tally: Tally) -> None:
        """Count nothing more in what `open` has returned; what was counted stays."""
        tally.users -= 1

    def fold(self, hour: int) -> None:
        """Move what was counted since the last time to the rows of an hour and to the totals."""
        for key, tally in list(self._tallies.items()):
            if not tally.is_blank:
                self._row(hour, tally.identity, tally.model).add(tally)
                self._total(tally.identity, tally.model).add(tally)
                tally.clear()
            elif not tally.users:
                del self._tallies[key]

    def rows(self, most: int | None = None) -> list[UsageRow]:
        """Return what was folded and not taken; of that up to `most` rows."""
        return [
            UsageRow(hour, identity, model, t.events, t.predictions, t.errors, t.bytes, t.compute_seconds)
            for (hour, identity, model), t in islice(self._rows.items(), most)
        ]

    def take(self, most: int) -> list[UsageRow]:
        """Return up to `most` rows of what was folded, to be written, or else given to `put_back`."""
        rows = self.rows(most)
        for row in rows:
            del self._rows[row.hour, row.identity, row.model]
        return rows

    def put_back(self, rows: list[UsageRow]) -> None:
        """Keep rows that could not be written."""
        for row in rows:
            self._row(row.hour, row.identity, row.model).add(row)

    def _row(self, hour: int, identity: str, model: str) -> Tally:
        key = hour, identity, model
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= self._most_rows:
                key = hour, OTHER, OTHER
            row = self._rows.setdefault(key, Tally(key[1], key[2]))
        return row

    def _total(self, identity: str, model: str) -> Tally:
        labels = self._labels
        if identity not in labels:
            if len(labels) < self._most_labels:
                labels.add(identity)
            else:
                identity = OTHER
        total = self.totals.get((identity, model))
        if total is None:
            total = self.totals[identity, model] = Tally(identity, model)
        return total


def events_of(rows: list[UsageRow], since: int) -> dict[str, int]:
    """Return how many events rows of hours from `since` on have, by identity."""
    events: dict[str, int] = {}
    for row in rows:
        if row.hour >= since:
            events[row.identity] = events.get(row.identity, 0) + row.events
    return events


def hour_of(now: float) -> int:
    """Return when the hour began (unix seconds) that a time is in."""
    return int(now // HOUR) * HOUR


def month_of(now: float) -> tuple[int, int]:
    """Return when the calendar month (UTC) that a time is in began and when it ends, in unix seconds."""
    first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return int(first.timestamp()), int(after.timestamp())
