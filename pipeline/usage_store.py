"""Where rows of usage are kept, and the one that keeps them in a file of SQLite."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

from pipeline.usage import HOUR, UsageRow, hour_of

T = TypeVar("T")

FORMAT: Final = 1  # of the file; another is left alone
BUSY_SECONDS: Final = 2.0  # for others who write to the same file
DAY: Final = 86_400

TABLE: Final = """
CREATE TABLE IF NOT EXISTS usage (
    hour INTEGER NOT NULL, identity TEXT NOT NULL, model TEXT NOT NULL,
    events INTEGER NOT NULL, predictions INTEGER NOT NULL, errors INTEGER NOT NULL,
    bytes INTEGER NOT NULL, compute_seconds REAL NOT NULL,
    PRIMARY KEY (hour, identity, model)
) WITHOUT ROWID
"""
ADD: Final = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    events = events + excluded.events, predictions = predictions + excluded.predictions,
    errors = errors + excluded.errors, bytes = bytes + excluded.bytes,
    compute_seconds = compute_seconds + excluded.compute_seconds
"""
READ: Final = """
SELECT * FROM usage WHERE hour >= ? AND hour < ? AND (? IS NULL OR identity = ?)
ORDER BY hour DESC, identity, model LIMIT ?
"""
SPENT: Final = "SELECT identity, sum(events) FROM usage WHERE hour >= ? GROUP BY identity"


class UsageUnavailable(Exception):
    """Usage cannot be read or written now; nothing was written, and the text says why."""


class UsageInDoubt(UsageUnavailable):
    """Nobody knows whether rows were written: the store finds out, and writes them then if they were not."""


class UsageStore(Protocol):
    """Rows of usage, which several processes add to. Each method raises `UsageUnavailable`."""

    async def add(self, rows: Sequence[UsageRow]) -> None:
        """Add rows to those there are, all of them or none, and forget those that are too old."""

    async def spent(self, since: int) -> dict[str, int]:
        """Return the events by identity in the month that began at `since` (unix seconds)."""

    async def read(self, since: int, until: int, identity: str | None = None, most: int = 10_000) -> list[UsageRow]:
        """Return rows of hours from `since` on and before `until`, the newest first; of one identity or all."""

    async def close(self) -> None:
        """Let go of everything."""


class SqliteUsage:
    """A file that all processes of a machine add to, in a thread. It is opened again after each failure."""

    def __init__(self, path: Path, days: int, *, clock: Callable[[], float] = time.time) -> None:
        """Rows of more than `days` days ago are forgotten; nothing is opened yet."""
        self._path = path
        self._days = days
        self._clock = clock
        self._forgot_at = 0
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="usage")

    def __repr__(self) -> str:
        return f"<SqliteUsage {self._path} open={self._connection is not None}>"

    async def add(self, rows: Sequence[UsageRow]) -> None:
        """Add rows in a transaction; once an hour forget old ones."""
        hour = hour_of(self._clock())
        forgets = hour != self._forgot_at

        def add(connection: sqlite3.Connection) -> None:
            connection.executemany(ADD, rows)
            if forgets:
                connection.execute("DELETE FROM usage WHERE hour < ?", (hour + HOUR - self._days * DAY,))

        await self._run(add)
        self._forgot_at = hour

    async def spent(self, since: int) -> dict[str, int]:
        """Return the events by identity from `since` on."""
        return dict(await self._run(lambda connection: connection.execute(SPENT, (since,)).fetchall()))

    async def read(self, since: int, until: int, identity: str | None = None, most: int = 10_000) -> list[UsageRow]:
        """Return rows, the newest first."""
        values = since, until, identity, identity, most
        found = await self._run(lambda connection: connection.execute(READ, values).fetchall())
        return [UsageRow(*row) for row in found]

    async def close(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    async def _run(self, step: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._try, step)

    def _try(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Run a step in a transaction, in the thread."""
        try:
            if self._connection is None:
                self._connection = _open(self._path)
            connection = self._connection
            with connection:
                connection.execute("BEGIN")
                return step(connection)
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            raise UsageUnavailable(f"{self._path}: {error}") from error

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _open(path: Path) -> sqlite3.Connection:
    """Open a file, or make it, readable to nobody else. Raises `sqlite3.Error` or `OSError`."""
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if version not in (0, FORMAT):
        raise sqlite3.DatabaseError(f"made by another version of the server (format {version})")
    connection.execute(TABLE)
    connection.execute(f"PRAGMA user_version = {FORMAT}")
