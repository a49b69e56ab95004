"""Usage in SQLite: the contract, retention, several writers, and files that cannot be written."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.usage import HOUR, UsageRow
from pipeline.usage_store import DAY, SqliteUsage, UsageStore, UsageUnavailable

from .usage_contract import DAYS, NOON, OpenStore, UsageContract

ROW = UsageRow(NOON, "acme", "m", 1)


@asynccontextmanager
async def store_at(path: Path, now: float = NOON) -> AsyncIterator[SqliteUsage]:
    store = SqliteUsage(path, DAYS, clock=lambda: now)
    try:
        yield store
    finally:
        await store.close()


class TestSqliteUsage(UsageContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> OpenStore:
        @asynccontextmanager
        async def opened(name: str) -> AsyncIterator[UsageStore]:
            del name  # processes need none
            async with store_at(tmp_path / "usage.db") as store:
                yield store

        return opened


async def test_rows_are_forgotten_in_time(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    async with store_at(path) as store:
        await store.add([ROW, ROW._replace(hour=NOON + HOUR)])
    async with store_at(path, NOON + DAYS * DAY - 1) as store:
        await store.add([])
        assert len(await store.read(0, NOON + DAY)) == 2
    async with store_at(path, NOON + DAYS * DAY) as store:
        await store.add([])
        assert [row.hour for row in await store.read(0, NOON + DAY)] == [NOON + HOUR]


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with store_at(tmp_path / "usage.db") as store:
            await store.add([ROW])
            modes = await asyncio.to_thread(modes_in, tmp_path)
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}, modes


WRITER = """
import asyncio, sys
from pathlib import Path
from pipeline.usage import UsageRow
from pipeline.usage_store import SqliteUsage

async def main():
    store = SqliteUsage(Path(sys.argv[1]), 40, clock=lambda: 1795262400)
    for _ in range(50):
        await store.add([UsageRow(1795262400, "acme", "m", 1, 1, 1, 1, 0.5)])
    await store.close()

asyncio.run(main())
"""


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "usage.db")]
    writers = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(4)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    with sqlite3.connect(tmp_path / "usage.db") as connection:
        assert connection.execute("SELECT * FROM usage").fetchall() == [
            (NOON, "acme", "m", 200, 200, 200, 200, 100.0),
        ]
    connection.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is a text, and as long as a header of SQLite would be, which it is not" * 20, "not a database"),
        (b"SQLite format 3\0" + bytes(84), "usage.db: "),
    ],
)
async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "usage.db"
    path.write_bytes(content)
    async with store_at(path) as store:
        for call in (lambda: store.add([ROW]), lambda: store.read(0, NOON), lambda: store.spent(0)):
            with pytest.raises(UsageUnavailable, match=reason):
                await call()
    assert path.read_bytes() == content


async def test_a_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "usage.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    async with store_at(tmp_path / "usage.db") as store:
        with pytest.raises(UsageUnavailable, match="another version"):
            await store.add([ROW])


async def test_a_folder_that_is_not_there_is_named_and_used_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "later" / "usage.db"
    async with store_at(path) as store:
        with pytest.raises(UsageUnavailable, match=r"later/usage.db"):
            await store.add([ROW])
        path.parent.mkdir()
        await store.add([ROW])
        assert await store.read(NOON, NOON + 1) == [ROW]


async def test_a_locked_file_is_waited_for_and_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.usage_store.BUSY_SECONDS", 0.1)
    path = tmp_path / "usage.db"
    async with store_at(path) as store:
        await store.add([ROW])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    async with store_at(path) as store:
        with pytest.raises(UsageUnavailable, match="locked"):
            await store.add([ROW])
        other.execute("ROLLBACK")
        await store.add([ROW])
        assert [row.events for row in await store.read(NOON, NOON + 1)] == [2]
    other.close()


async def test_a_full_file_takes_all_rows_of_a_call_or_none(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    async with store_at(path) as store:
        await store.add([ROW])
        assert store._connection is not None
        await asyncio.to_thread(store._connection.execute, "PRAGMA max_page_count = 4")
        with pytest.raises(UsageUnavailable, match="full"):
            await store.add([ROW, *(ROW._replace(identity=f"{number:0200}") for number in range(500))])
        assert await store.read(NOON, NOON + 1) == [ROW]
        await store.add([ROW])
        assert await store.read(NOON, NOON + 1) == [ROW._replace(events=2)]
