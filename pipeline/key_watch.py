"""Keeps the keys that a server knows as their store has them."""

import asyncio
import logging
from collections.abc import Hashable
from typing import Final

from pipeline.api_keys import KeyRing
from pipeline.backbone import BackboneDown, BackboneFull
from pipeline.errors import ConfigError
from pipeline.key_store import KeyStore

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0


class KeyWatch:
    """A task that looks at a store about once a second. What cannot be read now changes nothing, and is told once."""

    def __init__(self, store: KeyStore, ring: KeyRing, look_seconds: float = LOOK_SECONDS) -> None:
        self._store = store
        self._ring = ring
        self._look_seconds = look_seconds
        self._stamp: Hashable = None
        self._told = ""
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<KeyWatch {self._store!r} {len(self._ring)} keys>"

    async def start(self) -> None:
        """Load the keys, and follow them from now on. Raises `ConfigError` where they cannot be had."""
        try:
            await self._look()
        except (BackboneDown, BackboneFull) as error:
            raise ConfigError(f"api_keys_in_redis: {error}") from error
        if not len(self._ring):
            log.warning("%r: there are no API keys yet, make them with `server.py keys create`", self._store)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow them no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await self._look()
            except (ConfigError, BackboneDown, BackboneFull) as error:
                self._tell(f"{error}; the API keys stay as they were")
            except Exception:
                log.exception("looking for API keys failed, and goes on")
            else:
                self._told = ""

    async def _look(self) -> None:
        stamp = await self._store.stamp()
        if stamp == self._stamp and stamp is not None:
            return
        keys = await self._store.load()
        self._ring.replace(keys)
        if self._stamp is not None:
            log.info("%r: %d API keys", self._store, len(keys))
        self._stamp = stamp

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            log.error("%s", text)
