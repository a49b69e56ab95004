"""Rows of usage in Redis: a hash per hour, to which all processes add, and one per month of what was spent."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from pipeline.backbone import BackboneDown, BackboneFull
from pipeline.redis_link import Command
from pipeline.redis_nodes import RedisNodes
from pipeline.redis_records import Keys
from pipeline.usage import HOUR, UsageRow, month_of
from pipeline.usage_store import DAY, UsageInDoubt, UsageUnavailable

COUNTERS: Final = ("events", "predictions", "errors", "bytes")
COMPUTE: Final = "compute_us"  # whole microseconds
MONTH_DAYS: Final = 62
HOURS_AT_ONCE: Final = 64

Field = tuple[str, str, str]  # identity, model, counter


class RedisUsage:
    """What a process adds leaves in transactions, each with its number in them.

    So one whose reply was lost is not added twice: the number that stands there tells whether it was done.
    """

    def __init__(self, nodes: RedisNodes, keys: Keys, name: str, days: int) -> None:
        """`name`: of this process alone; rows are forgotten after `days` days."""
        self._nodes = nodes
        self._keys = keys
        self._marker = keys.usage(f"by {name}")
        self._ttl = days * DAY
        self._number = 0
        self._in_doubt: list[Command] = []  # the last transaction, where nobody knows whether it was done

    def __repr__(self) -> str:
        return f"<RedisUsage {self._nodes!r} batches={self._number} in doubt={bool(self._in_doubt)}>"

    async def add(self, rows: Sequence[UsageRow]) -> None:
        """Add rows in a transaction; those of one that is in doubt go first."""
        if self._in_doubt:
            await self._resolve()
        self._number += 1
        self._in_doubt = self._adding(rows)
        try:
            await self._run(("MULTI",), *self._in_doubt, ("EXEC",))
        except BackboneFull as error:
            self._in_doubt = []
            raise UsageUnavailable(str(error)) from error
        except BackboneDown as error:
            raise UsageInDoubt(str(error)) from error
        self._in_doubt = []

    async def spent(self, since: int) -> dict[str, int]:
        """Return the events by identity in the month that began at `since`."""
        if self._in_doubt:
            await self._resolve()
        (flat,) = await self._ask(("HGETALL", self._keys.usage(f"month {since}")))
        return {name.decode("utf-8", "replace"): int(events) for name, events in _pairs(flat)}

    async def read(self, since: int, until: int, identity: str | None = None, most: int = 10_000) -> list[UsageRow]:
        """Return rows, the newest first; an hour costs a look at all of it."""
        rows: list[UsageRow] = []
        first = -(-since // HOUR) * HOUR
        hours = list(range(first, max(min(until, first + self._ttl), first), HOUR))[::-1]
        for at in range(0, len(hours), HOURS_AT_ONCE):
            part = hours[at : at + HOURS_AT_ONCE]
            found = await self._ask(*(("HGETALL", self._keys.usage(f"hour {hour}")) for hour in part))
            for hour, flat in zip(part, found, strict=True):
                rows += [row for row in _rows_of(hour, flat) if identity in (None, row.identity)]
            if len(rows) >= most:
                break
        return rows[:most]

    async def close(self) -> None:
        """Try once more what is in doubt; the connections belong to others."""
        if self._in_doubt:
            await self._resolve()

    def _adding(self, rows: Sequence[UsageRow]) -> list[Command]:
        commands: list[Command] = []
        hours = {row.hour for row in rows}
        for row in rows:
            key = self._keys.usage(f"hour {row.hour}")
            values = {name: getattr(row, name) for name in COUNTERS}
            values[COMPUTE] = round(row.compute_seconds * 1e6)
            for name, value in values.items():
                if value:
                    field = msgspec.json.encode((row.identity, row.model, name))
                    commands.append(("HINCRBY", key, field, value))
            if row.events:
                month = self._keys.usage(f"month {month_of(row.hour)[0]}")
                commands.append(("HINCRBY", month, row.identity, row.events))
        commands += [("EXPIRE", self._keys.usage(f"hour {hour}"), self._ttl) for hour in sorted(hours)]
        months = {month_of(hour)[0] for hour in hours}
        commands += [("EXPIRE", self._keys.usage(f"month {month}"), MONTH_DAYS * DAY) for month in sorted(months)]
        commands += [("HSET", self._marker, "number", self._number), ("EXPIRE", self._marker, DAY)]
        return commands

    async def _resolve(self) -> None:
        """Do the last transaction, unless it was done."""
        (number,) = await self._ask(("HGET", self._marker, "number"))
        if number != str(self._number).encode():
            await self._ask(("MULTI",), *self._in_doubt, ("EXEC",))
        self._in_doubt = []

    async def _ask(self, *commands: Command) -> list[Any]:
        try:
            return await self._run(*commands)
        except (BackboneDown, BackboneFull) as error:
            raise UsageUnavailable(str(error)) from error

    async def _run(self, *commands: Command) -> list[Any]:
        link = await self._nodes.of(self._marker)
        return await link.run(*commands)


def _rows_of(hour: int, flat: Sequence[bytes]) -> list[UsageRow]:
    """Return the rows of a hash; fields that are none of ours are left out."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for raw, value in _pairs(flat):
        try:
            identity, model, name = msgspec.json.decode(raw, type=Field)
            found.setdefault((identity, model), {})[name] = int(value)
        except (msgspec.DecodeError, ValueError):
            continue
    return [
        UsageRow(hour, *place, *(values.get(name, 0) for name in COUNTERS), values.get(COMPUTE, 0) / 1e6)  # type: ignore[call-arg]
        for place, values in sorted(found.items())
    ]


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
