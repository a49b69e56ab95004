"""Writes usage to where it is kept, and tells monthly quotas what was spent."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from pipeline.allowances import AllowanceTable
from pipeline.limits import Allowance
from pipeline.usage import HOUR, Usage, UsageRow, events_of, hour_of, month_of
from pipeline.usage_store import UsageInDoubt, UsageStore, UsageUnavailable

log = logging.getLogger(__name__)

EVERY: Final = 5.0  # seconds
ASK_EVERY: Final = 60.0  # seconds between two questions what all processes have counted
AT_ONCE: Final = 1000  # rows
PARTING: Final = 3.0  # seconds that the last rows may take


class UsageKeeper:
    """Folds and writes every few seconds and as an hour ends. What cannot be written stays in memory, within bounds."""

    def __init__(
        self,
        usage: Usage,
        store: UsageStore,
        identities: AllowanceTable,
        *,
        every: float = EVERY,
        ask_every: float = ASK_EVERY,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._usage = usage
        self._store = store
        self._identities = identities
        self._every = every
        self._ask_every = ask_every
        self._clock = clock
        self._monotonic = monotonic
        self._hour = hour_of(clock())  # what is counted now belongs to it
        self._month = month_of(clock())
        self._known: dict[str, int] = {}  # events of the month in the store, by identity
        self._own: dict[str, int] = {}  # those that are not there yet
        self._asked_at = float("-inf")
        self._is_up = True
        self._task: asyncio.Task[None] | None = None
        self._steps: set[asyncio.Task[None]] = set()
        self._stepping = asyncio.Lock()
        self._stopping = asyncio.Event()
        identities.on_new.append(self._renew)

    def __repr__(self) -> str:
        return f"<UsageKeeper {self._usage!r} {self._store!r} up={self._is_up}>"

    @property
    def is_up(self) -> bool:
        """Whether the last that was tried succeeded."""
        return self._is_up

    async def start(self) -> None:
        """Load what was spent this month and go on by itself; a store that fails stops nothing."""
        await self.step()
        self._task = asyncio.create_task(self._run(), name="usage")

    async def stop(self) -> None:
        """Write what there is, and let go of the store."""
        self._stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PARTING):
                if self._task is not None:
                    await self._task
                await self.step()
        with contextlib.suppress(UsageUnavailable):
            await self._store.close()

    def spent(self, identity: str) -> int:
        """Return the events of an identity in this month: of all processes as last heard, and all folded here."""
        return self._known.get(identity, 0) + self._own.get(identity, 0)

    async def read(self, since: int, until: int, identity: str | None = None, most: int = 10_000) -> list[UsageRow]:
        """Return rows of the store, once all that was counted here is there. Raises `UsageUnavailable`."""
        await self.step()
        return await self._store.read(since, until, identity, most)

    async def step(self) -> None:
        """Fold, write, and tell all quotas what was spent.

        It is not cancelled with who waits for it: half of a step could be written and kept to be written again.
        """
        step = asyncio.create_task(self._step())
        self._steps.add(step)
        step.add_done_callback(self._steps.discard)
        await asyncio.shield(step)

    async def _step(self) -> None:
        async with self._stepping:
            self._fold()
            try:
                await self._write()
                await self._ask()
            except UsageUnavailable as error:
                if self._is_up:
                    log.warning("usage is not written, and kept in memory until it is: %s", error)
                self._is_up = False
            else:
                if not self._is_up:
                    log.info("usage is written again")
                self._is_up = True
            self._own = events_of(self._usage.rows(), self._month[0])
            for allowance in self._identities.all():
                self._renew(allowance)

    def _fold(self) -> None:
        now = self._clock()
        self._usage.fold(self._hour)
        self._hour = hour_of(now)
        month = month_of(now)
        if month != self._month:
            self._month, self._known, self._own = month, {}, {}
            self._asked_at = float("-inf")

    async def _write(self) -> None:
        while rows := self._usage.take(AT_ONCE):
            try:
                await self._store.add(rows)
            except UsageInDoubt:
                self._note_written(rows)
                raise
            except Exception:
                self._usage.put_back(rows)
                raise
            self._note_written(rows)

    def _note_written(self, rows: list[UsageRow]) -> None:
        for identity, events in events_of(rows, self._month[0]).items():
            self._known[identity] = self._known.get(identity, 0) + events

    async def _ask(self) -> None:
        now = self._monotonic()
        if now - self._asked_at >= self._ask_every:
            self._known = await self._store.spent(self._month[0])
            self._asked_at = now

    def _renew(self, allowance: Allowance) -> None:
        if allowance.quota is not None:
            ends = self._monotonic() + self._month[1] - self._clock()
            allowance.quota.renew(self.spent(allowance.name), ends)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._every, max(self._hour + HOUR - self._clock(), 0.0))):
                    await self._stopping.wait()
            try:
                await self.step()
            except Exception:
                log.exception("usage: failed, and goes on")
