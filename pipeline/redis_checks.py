"""What must be right with a Redis before anything is built on it, and what is said where it is not."""

import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)

from pipeline.errors import ConfigError
from pipeline.redis_link import Command, RedisLink, describe
from pipeline.redis_records import GROUP, Keys, parse_info, parse_version
from pipeline.redis_url import named_files

log = logging.getLogger(__name__)

OLDEST = (6, 2)  # XPENDING with IDLE, XTRIM with MINID, XADD with NOMKSTREAM


class RedisUnreachable(ConfigError):
    """Nothing answers there now; all else may be right."""


def check_files(url: str) -> None:
    """Raise `ConfigError` for a file of the URL's options that is not there."""
    for option, name in named_files(url).items():
        if not Path(name).is_file():
            raise ConfigError(f"redis: {option}: {name} is not a file")


async def check(link: RedisLink) -> None:
    """Raise `ConfigError` with one line that names what is wrong, `RedisUnreachable` if nothing answers."""
    probes = list(_probes(link.keys))
    try:
        info, replication, memory = await link.converse(("INFO", "server"), ("INFO", "replication"), ("INFO", "memory"))
        _check_server(link.place, parse_info(info), info)
        if parse_info(replication).get("role") == "slave":
            raise ConfigError(f"redis: {link.place} is a replica, which takes no writes; give its primary")
        replies = await link.converse(*probes)
    except (RedisError, OSError) as error:
        raise _explained(link, error) from error
    _check_replies(link.place, dict(zip(probes, replies, strict=True)))
    policy = parse_info(memory).get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        log.warning("redis: %s throws data away when memory is short (maxmemory-policy %s)", link.place, policy)


def _check_server(place: str, info: dict[str, str], reply: object) -> None:
    if isinstance(reply, NoPermissionError):
        raise ConfigError(f"redis: {place}: the user may not run INFO ({describe(reply)})")
    version = info.get("valkey_version") or info.get("redis_version", "")
    name = "Valkey" if "valkey_version" in info else "Redis"
    if parse_version(version) < OLDEST:
        raise ConfigError(f"redis: {place} is {name} {version or 'of no known version'}, 6.2 or newer is needed")
    if "cluster" in (info.get("redis_mode"), info.get("server_mode")):
        raise ConfigError(f"redis: {place} belongs to a cluster, which is not supported; give a single {name}")


def _probes(keys: Keys) -> Iterator[Command]:
    """Give every command that is used, on keys of the same form, without a trace that stays."""
    name = f"check-{uuid4().hex}"
    stream, members = keys.queue(name), keys.members(name)
    yield "XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM"
    yield "PEXPIRE", stream, 10_000
    yield ("MULTI",)
    yield "XADD", stream, "NOMKSTREAM", "1-1", "d", ""
    yield ("EXEC",)
    yield "XREADGROUP", "GROUP", GROUP, "c", "COUNT", 1, "STREAMS", stream, ">"
    yield "XPENDING", stream, GROUP, "IDLE", 0, "-", "+", 1
    yield "XCLAIM", stream, GROUP, "c", 0, "1-1", "JUSTID"
    yield "XREAD", "COUNT", 1, "STREAMS", stream, "0-0"
    yield "XRANGE", stream, "-", "+", "COUNT", 1
    yield "XLEN", stream
    yield "XACK", stream, GROUP, "1-1"
    yield "XDEL", stream, "1-1"
    yield "XTRIM", stream, "MINID", "1-1"
    yield "XINFO", "CONSUMERS", stream, GROUP
    yield "XGROUP", "DELCONSUMER", stream, GROUP, "c"
    yield "EXISTS", stream
    yield "DEL", stream
    yield "XTRIM", keys.dead, "MAXLEN", "~", 1000
    yield "HSET", members, "c", ""
    yield "HGETALL", members
    yield "HDEL", members, "c"
    yield "SET", keys.marker, uuid4().hex, "NX"
    yield "GET", keys.marker
    yield ("TIME",)
    yield "PUBLISH", keys.channel(name), ""
    yield "SUBSCRIBE", keys.channel(name)
    yield ("PING",)
    yield "UNSUBSCRIBE", keys.channel(name)


def _check_replies(place: str, replies: dict[Command, Any]) -> None:
    refusals = {command: reply for command, reply in replies.items() if isinstance(reply, ResponseError)}
    if any(isinstance(reply, OutOfMemoryError) for reply in refusals.values()):
        log.warning("redis: %s has no memory left (maxmemory)", place)
        refusals = {command: reply for command, reply in refusals.items() if isinstance(reply, NoPermissionError)}
    for command, refusal in refusals.items():
        key = next((str(part) for part in command[1:] if ":" in str(part)), "")
        called = f"{command[0]} {key}".rstrip()
        if isinstance(refusal, NoPermissionError):
            raise ConfigError(f"redis: {place}: the user may not run {called} ({describe(refusal)})")
        raise ConfigError(f"redis: {place}: {called} is refused: {describe(refusal).partition(',')[0]}")


def _explained(link: RedisLink, error: Exception) -> ConfigError:
    place = link.place
    text = describe(error)
    causes = list(_causes(error))
    if isinstance(error, AuthenticationError):
        return ConfigError(f"redis: {place}: the password or user is not accepted: {text}")
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return ConfigError(f"redis: {place}: {text}")
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return ConfigError(f"redis: {place}: {text} (rediss:// is for a Redis that speaks TLS)")
    if isinstance(error, BusyLoadingError):
        return RedisUnreachable(f"redis: {place} is still loading its data")
    if isinstance(error, InvalidResponse):
        return ConfigError(f"redis: what answers at {place} is no Redis")
    if isinstance(error, ResponseError):
        return ConfigError(f"redis: {place}: {text}")
    if not any(isinstance(cause, OSError) and cause.errno for cause in causes):  # somebody is there
        text += " (does it speak TLS?)" if link.is_tls else " (does it want TLS? then it is rediss://)"
    return RedisUnreachable(f"redis: no Redis answers at {place}: {text}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
