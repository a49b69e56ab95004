"""Sets of keys (JWKS) in a file or at a URL, which change while the server runs."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final

from pipeline.auth_rules import is_url
from pipeline.errors import ConfigError
from pipeline.https_get import HttpsGet
from pipeline.jwt_keys import KeySet, parse_jwks

log = logging.getLogger(__name__)

MAX_BYTES: Final = 1 << 20
FETCH_SECONDS: Final = 5.0
UNKNOWN_SECONDS: Final = 30.0  # between two fetches for keys that tokens name and nobody knows
REFRESH_SECONDS: Final = 300.0  # by which a key that was taken out of a set at a URL is refused
LOOK_SECONDS: Final = 1.0  # the same for a file

Fetch = Callable[[], Awaitable[bytes]]


class Jwks:
    """A set of keys that is fetched again: now and then, and for a key that is unknown. What fails changes nothing."""

    def __init__(
        self,
        place: str,
        fetch: Fetch,
        algorithms: Sequence[str],
        *,
        refresh_seconds: float,
        unknown_seconds: float = UNKNOWN_SECONDS,
    ) -> None:
        """`fetch` returns the set as it is there, or raises `OSError` or `ValueError`."""
        self.keys = KeySet([])
        self._place = place
        self._fetch = fetch
        self._algorithms = algorithms
        self._refresh_seconds = refresh_seconds
        self._unknown_seconds = unknown_seconds
        self._asked_at = -inf
        self._data: bytes | None = None
        self._told = ""
        self._renewing: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Jwks {self._place} {len(self.keys)} keys>"

    async def start(self) -> None:
        """Fetch the set, and follow it from now on. Raises `ConfigError` where it cannot be had."""
        try:
            await self._load()
        except (OSError, ValueError) as error:
            raise ConfigError(f"jwt_jwks: {self._place}: {_reason(error)}") from error
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow it no more."""
        tasks = [task for task in (self._following, self._renewing) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def renew(self) -> bool:
        """Fetch it again for a key that is unknown, or wait for who does; return False if that was done just now."""
        if self._renewing is None or self._renewing.done():
            now = monotonic()
            if now - self._asked_at < self._unknown_seconds:
                return False
            self._asked_at = now
            self._renewing = asyncio.create_task(self._try())
        await asyncio.wait([self._renewing])
        return True

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_seconds)
            await self._try()

    async def _try(self) -> None:
        try:
            await self._load()
        except (OSError, ValueError) as error:
            text = f"jwt_jwks: {self._place}: {_reason(error)}; the keys of tokens stay as they were"
            if text != self._told:
                self._told = text
                log.error("%s", text)  # noqa: TRY400
        except Exception:
            log.exception("jwt_jwks: %s: fetching failed", self._place)
        else:
            self._told = ""

    async def _load(self) -> None:
        data = await self._fetch()
        if data != self._data:
            keys = parse_jwks(data, self._algorithms)
            keys.succeed(self.keys)
            self.keys, self._data = keys, data
            log.info("jwt_jwks: %s: %d keys", self._place, len(self.keys))


def make_jwks(place: str, algorithms: Sequence[str]) -> Jwks:
    """Return the set that lies in a file or at a URL."""
    if is_url(place):
        fetch: Fetch = HttpsGet(place, MAX_BYTES, FETCH_SECONDS)
        return Jwks(place, fetch, algorithms, refresh_seconds=REFRESH_SECONDS)

    async def read() -> bytes:
        return await asyncio.to_thread(_read, Path(place))

    return Jwks(place, read, algorithms, refresh_seconds=LOOK_SECONDS)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {FETCH_SECONDS:g} s"
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror | ssl.SSLError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
