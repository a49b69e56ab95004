"""Usage on its way to the store, and monthly quotas: with real files, and a clock of the test."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.allowances import Allowances, AllowanceTable
from pipeline.limit_config import Limits
from pipeline.usage import HOUR, Usage, UsageRow, month_of
from pipeline.usage_keeper import UsageKeeper
from pipeline.usage_store import DAY, SqliteUsage, UsageInDoubt, UsageUnavailable

from .usage_contract import NOON


class Process:
    """One of several processes with a file of usage; `now` is its wall clock."""

    def __init__(self, path: Path, quota: int | None = None, now: float = NOON, ask_every: float = 0.0) -> None:
        self.now = now
        self.usage = Usage()
        self.store = SqliteUsage(path, 400, clock=lambda: self.now)
        limits = Limits(events_per_month=quota)
        self.everyone = Allowances(
            AllowanceTable("identity", limits, {}, 100), AllowanceTable("address", Limits(), {}, 100)
        )
        self.keeper = UsageKeeper(
            self.usage,
            self.store,
            self.everyone.identities,
            every=3600.0,
            ask_every=ask_every,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )

    def send(self, identity: str, events: int) -> int:
        """Send events one by one until one is refused; return how many were let in."""
        meter = self.everyone.open_socket(identity, "10.0.0.1", self.now)
        tally = self.usage.open(identity, "m")
        for sent in range(events):
            if meter.take_event(100, self.now):
                events = sent
                break
            tally.events += 1
        self.usage.close(tally)
        meter.close()
        return events


@asynccontextmanager
async def running(path: Path, quota: int | None = None, now: float = NOON) -> AsyncIterator[Process]:
    process = Process(path, quota, now)
    await process.keeper.start()
    try:
        yield process
    finally:
        await process.keeper.stop()


def events(rows: Sequence[UsageRow]) -> list[tuple[int, str, int]]:
    return [(row.hour, row.identity, row.events) for row in rows]


async def test_what_was_counted_belongs_to_the_hour_it_was_counted_in(tmp_path: Path) -> None:
    async with running(tmp_path / "usage.db") as process:
        process.send("acme", 3)
        process.now += HOUR
        await process.keeper.step()
        process.send("acme", 4)
        rows = await process.keeper.read(NOON, NOON + DAY)
        assert events(rows) == [(NOON + HOUR, "acme", 4), (NOON, "acme", 3)]
        assert "up=True" in repr(process.keeper)


async def test_what_was_counted_last_is_written_as_it_stops(tmp_path: Path) -> None:
    async with running(tmp_path / "usage.db") as process:
        process.send("acme", 3)
    async with running(tmp_path / "usage.db") as process:
        assert events(await process.keeper.read(NOON, NOON + DAY)) == [(NOON, "acme", 3)]


async def test_it_writes_by_itself(tmp_path: Path) -> None:
    process = Process(tmp_path / "usage.db")
    process.keeper._every = 0.01
    await process.keeper.start()
    process.send("acme", 3)
    async with SqliteReader(tmp_path / "usage.db") as reader:
        while events(await reader.read(NOON, NOON + DAY)) != [(NOON, "acme", 3)]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await process.keeper.stop()


class SqliteReader(SqliteUsage):
    def __init__(self, path: Path) -> None:
        super().__init__(path, 400)

    async def __aenter__(self) -> "SqliteReader":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


async def test_a_month_ends_a_quota_and_the_next_begins_it_anew(tmp_path: Path) -> None:
    _, ends = month_of(NOON)
    async with running(tmp_path / "usage.db", quota=100) as process:
        assert process.send("acme", 60) == 60
        assert process.send("acme", 60) == 40
        assert process.send("other", 60) == 60
        await process.keeper.step()
        assert process.keeper.spent("acme") == 100
        meter = process.everyone.open_socket("acme", "10.0.0.1", process.now)
        wait = meter.take_event(1, process.now)
        assert wait == pytest.approx((ends - NOON) * 1000, abs=2)
        assert str(meter.refused) == "events_per_month: this identity may have 100"
        process.now = ends + 1.0
        await process.keeper.step()
        assert process.keeper.spent("acme") == 0
        assert meter.take_event(1, process.now) == 0


async def test_what_was_spent_is_known_after_a_restart_and_to_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    async with running(path, quota=100) as first, running(path, quota=100) as second:
        assert first.send("acme", 30) == 30
        assert second.send("acme", 30) == 30
        await first.keeper.step()
        await second.keeper.step()
        await first.keeper.step()
        assert (first.keeper.spent("acme"), second.keeper.spent("acme")) == (60, 60)
        assert first.send("acme", 100) == 40
    async with running(path, quota=100) as again:
        assert again.keeper.spent("acme") == 100
        assert again.send("acme", 1) == 0


async def test_an_identity_that_comes_later_has_what_it_has_left(tmp_path: Path) -> None:
    async with running(tmp_path / "usage.db", quota=100) as process:
        await process.store.add([UsageRow(NOON, "acme", "m", 90)])
        await process.keeper.step()
        assert process.send("acme", 50) == 10


async def test_a_store_that_cannot_be_written_is_told_once_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipeline.usage_keeper")
    folder = tmp_path / "later"
    async with running(folder / "usage.db", quota=100) as process:
        for _ in range(3):
            process.send("acme", 10)
            await process.keeper.step()
        assert process.keeper.spent("acme") == 30
        assert "up=False" in repr(process.keeper)
        with pytest.raises(UsageUnavailable):
            await process.keeper.read(NOON, NOON + DAY)
        folder.mkdir()
        await process.keeper.step()
        assert process.keeper.is_up
        assert events(await process.keeper.read(NOON, NOON + DAY)) == [(NOON, "acme", 30)]
        assert process.keeper.spent("acme") == 30
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "usage is not written, and kept in memory until it is: " in caplog.messages[0]
    assert "later/usage.db" in caplog.messages[0]


async def test_who_stops_waiting_stops_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "usage.db") as process:
        for _ in range(20):
            process.send("acme", 1)
            reading = asyncio.create_task(process.keeper.read(NOON, NOON + DAY))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        assert events(await process.keeper.read(NOON, NOON + DAY)) == [(NOON, "acme", 20)]


class Doubtful(SqliteUsage):
    """A store that takes rows and does not know what became of them."""

    async def add(self, rows: Sequence[UsageRow]) -> None:
        await super().add(rows)
        raise UsageInDoubt("no answer")


async def test_what_is_in_doubt_is_left_to_the_store_and_counts_as_spent(tmp_path: Path) -> None:
    process = Process(tmp_path / "usage.db", quota=100, ask_every=1e9)
    process.keeper._store = store = Doubtful(tmp_path / "usage.db", 400, clock=lambda: NOON)
    await process.keeper.start()
    process.send("acme", 30)
    await process.keeper.step()
    assert not process.keeper.is_up
    await process.keeper.step()
    assert process.keeper.spent("acme") == 30
    assert events(await store.read(NOON, NOON + DAY)) == [(NOON, "acme", 30)]
    await process.keeper.stop()
    await process.store.close()
