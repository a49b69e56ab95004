"""Connections to Redis: who has one, what fails on it, and which Redis is at its other end.

Commands go over pools of redis-py and come back as they are on the wire, which is RESP2: its shapes are the same in all
versions, and nothing converts them. Nothing is sent twice: whoever gets `BackboneDown` calls again.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import uuid4
from weakref import WeakSet

from redis.asyncio import BlockingConnectionPool, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from pipeline.backbone import BackboneDown, BackboneFull
from pipeline.redis_records import Keys, ServerClock, parse_info
from pipeline.redis_url import check_url, host, place

log = logging.getLogger(__name__)

Command = tuple[Any, ...]

TIMEOUT = 5.0  # seconds that a reply, or making a connection, may take
MAX_CONNECTIONS = 16  # of those that do not block
ELSEWHERE = (MovedError, AskError, TryAgainError)  # what a node of a cluster says of keys that another has


class NoGroup(BackboneDown):
    """A queue's group is not there: the queue is new, or Redis lost its data."""


@dataclass(slots=True)
class Counts:
    """What has happened at all links that share it."""

    errors: int = 0  # commands that Redis did not do
    strays: int = 0  # commands for slots that another node of a cluster has
    reconnects: int = 0
    foreign: int = 0  # keys of another type that lay where ours belong


class RedisLink:
    """Two pools: one for commands, one for those that block, each of which has a connection for itself."""

    def __init__(
        self, url: str, keys: Keys, counts: Counts, timeout: float = TIMEOUT, *, is_node: bool = False
    ) -> None:
        """Raise `ValueError` for what is no URL of a Redis; nothing is connected yet. `is_node`: of a cluster."""
        check_url(url)
        self.place = place(url)
        self.host = host(url)
        self.is_node = is_node
        self.is_tls = url.startswith("rediss:")
        self.keys = keys
        self.timeout = timeout
        self.patience = 0.4 * timeout  # seconds that a command may block in Redis, or nothing be heard of it
        self.clock = ServerClock()
        self.info: dict[str, str] = {}  # what Redis said of itself when the last connection was made
        self.is_up = False
        self.is_tried = False
        self.counts = counts
        self.round_trip_seconds = 0.0
        self._marker = ""
        self._seen: WeakSet[Any] = WeakSet()
        self._is_closed = False
        self._is_told = False  # whether the log's last word is that it answers
        options: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": None,  # before Python 3.12 what redis-py bounds with may swallow a cancellation
            "socket_connect_timeout": None,
            "socket_read_size": 1 << 16,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
            "redis_connect_func": self._greet,
        }
        self._commands: Any = BlockingConnectionPool.from_url(
            url, max_connections=MAX_CONNECTIONS, timeout=None, **options
        )
        self._blocking: Any = ConnectionPool.from_url(url, max_connections=1 << 16, **options)

    @property
    def generation(self) -> str:
        """Redis' own id of its run, and what was written when the keys were first used."""
        return f"{self.info.get('run_id', '')}:{self._marker}"

    async def run(self, *commands: Command) -> list[Any]:
        """Run commands in one round trip. Raises for the first that Redis refuses."""
        return self.checked(await self.attempt(*commands), *commands)

    async def attempt(self, *commands: Command) -> list[Any]:
        """Run commands in one round trip; what Redis refuses is a `ResponseError` among the replies."""
        started = monotonic()
        replies = await self._ask(self._commands, commands)
        self.round_trip_seconds = monotonic() - started
        return replies

    async def wait(self, *commands: Command) -> list[Any]:
        """Run commands of which the last may block, up to `patience` seconds. Raises as `run` does."""
        return self.checked(await self._ask(self._blocking, commands), *commands)

    def checked(self, replies: list[Any], *commands: Command) -> list[Any]:
        """Return the replies if none of them is an error. Raises `BackboneFull`, `NoGroup` or `BackboneDown`."""
        for reply, command in zip(replies, commands, strict=True):
            if isinstance(reply, OutOfMemoryError):
                raise BackboneFull(f"redis: {self.place} has no memory left (maxmemory)")
            if isinstance(reply, ResponseError):
                if str(reply).startswith(("NOGROUP", "UNBLOCKED")):
                    raise NoGroup(str(reply))
                key = next((part for part in command if str(part).startswith(self.keys.prefix + ":")), "")
                if isinstance(reply, ELSEWHERE):
                    raise BackboneDown(f"redis: {self.place}: {command[0]} {key}: another node has the key now")
                raise self._down(ResponseError(f"{command[0]} {key}: {reply}"))
        return replies

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Any]:
        """Give a connection that is not used any more afterwards. Raises `BackboneDown` for what fails meanwhile."""
        with self._translated():
            async with asyncio.timeout(self.timeout):
                connection = await self._blocking.get_connection()
            try:
                yield connection
            finally:
                self._seen.discard(connection)
                await connection.disconnect(nowait=True)
                await self._blocking.release(connection)

    @property
    def survey(self) -> tuple[Command, ...]:
        """What finds out whether the data are the same, and the time; the replies go to `note_survey`.

        The nodes of a cluster have no marker each: what they lost is noticed by their own id alone.
        """
        marker = self.keys.marker
        return (*(() if self.is_node else (("SET", marker, uuid4().hex, "NX"), ("GET", marker))), ("TIME",))

    def note_survey(self, replies: list[Any]) -> None:
        """Take the replies to `survey`."""
        *markers, time = replies
        if markers and isinstance(markers[-1], bytes):
            self._marker = markers[-1].decode("utf-8", "replace")
        if isinstance(time, list):
            self.clock.note(time, monotonic())

    async def close(self) -> None:
        """Close all connections; who waits on one gets `BackboneDown`."""
        self._is_closed = True
        self.is_up = False
        await self._commands.disconnect()
        await self._blocking.disconnect()

    async def converse(self, *commands: Command) -> list[Any]:
        """Run commands as `attempt` does, but raise what redis-py raises."""
        return await self._exchange(self._commands, commands)

    async def _ask(self, pool: Any, commands: tuple[Command, ...]) -> list[Any]:
        with self._translated():
            replies = await self._exchange(pool, commands)
            for command, reply in zip(commands, replies, strict=True):
                if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
                    await self._set_aside(command)
        self._up()
        return replies

    async def _set_aside(self, command: Command) -> None:
        """Rename what is of another type than ours: whoever gets the error calls again and finds its place free."""
        keys = [part for part in command if isinstance(part, str) and part.startswith(self.keys.prefix + ":")]
        types = await self._exchange(self._commands, tuple(("TYPE", key) for key in keys))
        for key, found in zip(keys, types, strict=True):
            if found not in (b"none", self.keys.type_of(key).encode()):
                (renamed,) = await self._exchange(self._commands, (("RENAME", key, f"{key}:foreign"),))
                self.counts.foreign += 1
                log.error(
                    "redis: %s: %s is no key of ours, renaming it to %s:foreign: %s", self.place, key, key, renamed
                )

    async def _exchange(self, pool: Any, commands: tuple[Command, ...]) -> list[Any]:
        async with asyncio.timeout(self.timeout):
            connection = await pool.get_connection()
            try:
                replies = await _converse(connection, commands)
                if any(isinstance(reply, ReadOnlyError) for reply in replies):  # its name may lead to a new primary now
                    await connection.disconnect(nowait=True)
                self.counts.strays += any(isinstance(reply, MovedError) for reply in replies)
            finally:
                await pool.release(connection)
        return replies

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise `BackboneDown` for what redis-py and the system raise."""
        if self._is_closed:
            raise BackboneDown("the connections to Redis are closed")
        try:
            yield
        except (RedisError, OSError) as error:
            raise self._down(error) from error

    def _up(self) -> None:
        self.is_up, self.is_tried = not self._is_closed, True
        if self.is_up and not self._is_told:
            self._is_told = True
            log.info("redis: %s answers", self.place)

    def _down(self, error: Exception) -> BackboneDown:
        self.is_up, self.is_tried = False, True
        self.counts.errors += 1
        text = f"redis: {self.place}: {describe(error)}"
        if self._is_told and not isinstance(error, ResponseError):  # who is refused something tells that
            self._is_told = False
            log.warning("%s", text)
        return BackboneDown(text)

    async def _greet(self, connection: Any) -> None:
        """Log in on a new connection, and see which Redis this is before anything is asked of it."""
        if connection in self._seen:
            self.counts.reconnects += 1
        await connection.on_connect()
        replies = await _converse(connection, (("INFO", "server"), *self.survey))
        self.info = parse_info(replies[0])
        self.note_survey(replies[1:])
        self._seen.add(connection)
        self._up()


async def _converse(connection: Any, commands: tuple[Command, ...]) -> list[Any]:
    """Send commands and return their replies, errors of Redis among them."""
    replies: list[Any] = []
    try:
        await connection.send_packed_command(connection.pack_commands(commands))
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
    except BaseException:  # replies may be on their way that the next to have the connection would take for its own
        await connection.disconnect(nowait=True)
        raise
    return replies


def describe(error: BaseException) -> str:
    """Return what failed, in one line: the system's or TLS' own words where they are the reason."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS fails: {cause.reason or cause}"
        if isinstance(cause, socket.gaierror):
            return f"no such host ({cause.strerror})"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    return " ".join(str(error).split()) or type(error).__name__
