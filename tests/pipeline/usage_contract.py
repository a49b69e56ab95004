"""What every store of usage does: the tests of SQLite and of Redis are made of this class."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from pipeline.usage import HOUR, UsageRow, month_of
from pipeline.usage_store import DAY, UsageStore

OpenStore = Callable[[str], AbstractAsyncContextManager[UsageStore]]

NOON = 1_795_262_400  # 2026-11-21 12:00 UTC
DAYS = 40


class UsageContract:
    """`opened(name)` gives a store of one of several processes; all have the same rows of up to `DAYS` days."""

    async def test_rows_come_back_newest_first(self, opened: OpenStore) -> None:
        rows = [
            UsageRow(NOON, "acme", "activity", 5, 4, 1, 500, 0.25),
            UsageRow(NOON, "acme", "host", 1, 1, 0, 100, 0.5),
            UsageRow(NOON, "Ünicode | 'quotes'", "m", 1, 0, 0, 1 << 40, 0.0),
            UsageRow(NOON - HOUR, "acme", "activity", 7, 7, 0, 700, 1.0),
        ]
        async with opened("a") as store:
            await store.add(rows)
            assert await store.read(NOON - HOUR, NOON + HOUR) == rows
            assert await store.read(NOON, NOON + HOUR, "acme") == rows[:2]
            assert await store.read(NOON - HOUR, NOON) == rows[3:]
            assert await store.read(NOON - HOUR + 1, NOON) == []
            assert await store.read(NOON - HOUR, NOON + HOUR, most=1) == rows[:1]
            assert await store.read(NOON + HOUR, NOON) == []

    async def test_all_processes_add_into_the_same_rows(self, opened: OpenStore) -> None:
        async with opened("a") as first, opened("b") as second:
            for store in (first, second, first):
                await store.add([UsageRow(NOON, "acme", "m", 1, 2, 3, 4, 0.5), UsageRow(NOON, "other", "m", 1)])
            assert await second.read(NOON, NOON + 1) == [
                UsageRow(NOON, "acme", "m", 3, 6, 9, 12, 1.5),
                UsageRow(NOON, "other", "m", 3),
            ]
            assert await first.spent(month_of(NOON)[0]) == {"acme": 3, "other": 3}

    async def test_a_month_has_its_own_events(self, opened: OpenStore) -> None:
        first, _ = month_of(NOON)
        async with opened("a") as store:
            assert await store.spent(first) == {}
            await store.add([UsageRow(first - HOUR, "acme", "m", 100), UsageRow(first, "acme", "m", 1)])
            await store.add([UsageRow(NOON, "acme", "n", 2), UsageRow(NOON, "idle", "n", 0, 0, 5)])
            spent = await store.spent(first)
        assert {identity: events for identity, events in spent.items() if events} == {"acme": 3}

    async def test_what_was_written_is_there_for_the_next(self, opened: OpenStore) -> None:
        async with opened("a") as store:
            await store.add([UsageRow(NOON, "acme", "m", 1)])
        async with opened("b") as store:
            assert await store.read(NOON, NOON + 1) == [UsageRow(NOON, "acme", "m", 1)]

    async def test_adding_nothing_is_allowed(self, opened: OpenStore) -> None:
        async with opened("a") as store:
            await store.add([])
            assert await store.read(NOON - 2 * DAY, NOON + DAY) == []
