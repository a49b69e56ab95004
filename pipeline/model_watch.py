"""Keeps the repository as its folder is."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from watchfiles import awatch

from pipeline.errors import ConfigError
from pipeline.repository import Repository

log = logging.getLogger(__name__)

QUIET_MS = 100  # changes that follow each other within this are one
LONGEST_MS = 1000  # how long such a run of changes is waited out
LOOK_EVERY_MS = 10_000  # look without being told too: network file systems tell nothing
RETRY_SECONDS = 2.0

Changes = Callable[..., AsyncIterator[Any]]


class ModelWatch:
    """A task that refreshes the repository whenever files below a folder change.

    The kernel tells (inotify and its like); where it cannot, the folder is polled.
    """

    def __init__(
        self, repository: Repository, folder: Path, *, recursive: bool = True, changes: Changes = awatch
    ) -> None:
        """Make it; `changes` is `watchfiles.awatch` or what can be called like it."""
        self._repository = repository
        self._folder = folder
        self._recursive = recursive
        self._changes = changes
        self._polls = False
        self._is_late = False  # something may have changed while nobody watched
        self._told = ""
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ModelWatch {self._folder}{' polling' if self._polls else ''}>"

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Watch no more; a version that is being loaded is given up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                if self._is_late:
                    await self._refresh()
                await self._follow()
            except ConfigError as error:
                if str(error) != self._told:
                    log.error("%s; what is served stays", error)  # noqa: TRY400
                self._told = str(error)
            except Exception as error:  # also what watchfiles raises where the kernel gives it no watch
                if self._polls:
                    log.exception("the models could not be followed")
                else:
                    log.warning("%s: changes are not told here (%s), polling instead", self._folder, error)
                self._polls = True
            self._is_late = True
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        changes = self._changes(
            self._folder,
            watch_filter=None,
            recursive=self._recursive,
            step=QUIET_MS,
            debounce=LONGEST_MS,
            rust_timeout=LOOK_EVERY_MS,
            yield_on_timeout=True,
            force_polling=self._polls or None,
        )
        async for _ in changes:
            await self._refresh()

    async def _refresh(self) -> None:
        while not await self._repository.refresh():
            pass
        self._told = ""
