"""`GET /v1/usage`: what identities have used of which model, by hour."""

import time
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from handlers.base import JsonHandler
from pipeline.errors import Forbidden, InvalidMessage, ModelUnavailable
from pipeline.usage import HOUR
from pipeline.usage_store import UsageUnavailable

PARAMETERS: Final = frozenset(("since", "until", "identity"))
DAY: Final = 86_400
MAX_ROWS: Final = 10_000


class UsageOfHour(Struct):
    """What an identity has used of a model in the hour that began at `hour` (UTC)."""

    hour: datetime
    identity: str
    model: str
    events: int
    predictions: int
    errors: int
    bytes: int
    compute_seconds: float


class UsageReport(Struct):
    """Rows by hour, identity and model; `is_whole`: there are no more than these."""

    usage: list[UsageOfHour]
    is_whole: bool


class UsageHandler(JsonHandler):
    """Of the last day, or `?since=` and `?until=` (times like 2026-11-21T12:00:00Z).

    Operators see all identities, or one with `?identity=`, others themselves.
    """

    async def get(self) -> None:
        """List what was used; 503 where that cannot be read now."""
        query = self.query(PARAMETERS)
        now = time.time()
        until = _time(query, "until", now)
        since = _time(query, "since", until - DAY)
        if since > until:
            raise InvalidMessage("since: expected a time before until")
        keeper, whose = self.state.usage, self._whose(query.get("identity"))
        self.set_header("Cache-Control", "no-store")
        if keeper is None:
            self.reply(UsageReport([], True))
            return
        try:
            first = int(since) // HOUR * HOUR
            rows = await keeper.read(first, max(int(until), first) + 1, whose, MAX_ROWS + 1)
        except UsageUnavailable as error:
            raise ModelUnavailable(f"usage cannot be read now: {error}") from error
        told = [UsageOfHour(datetime.fromtimestamp(row.hour, UTC), *row[1:]) for row in rows[:MAX_ROWS]]
        self.reply(UsageReport(told, len(rows) <= MAX_ROWS))

    def _whose(self, wanted: str | None) -> str | None:
        """Return whose rows are shown; None: all. Raises `Forbidden`."""
        identity = self.identity
        assert identity is not None
        if identity.scopes.is_admin:
            return wanted
        if wanted not in (None, identity.name):
            raise Forbidden("identity: only operators see what others have used")
        return identity.name


def _time(query: dict[str, str], name: str, default: float) -> float:
    text = query.get(name)
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
        seconds = moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        seconds = None
    if seconds is None:
        raise InvalidMessage(f"{name}: expected a time like 2026-11-21T12:00:00Z, got {text[:100]!r}")
    return seconds
