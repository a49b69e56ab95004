"""What must be right with a Redis before anything is built on it, and what is said where it is not."""

import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    ReadOnlyError,
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
        raise _explained(link.place, error) from error
    for command, reply in zip(probes, replies, strict=True):
        if isinstance(reply, ResponseError):
            _check_refusal(link.place, command, reply)
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


def _check_refusal(place: str, command: Command, refusal: ResponseError) -> None:
    if isinstance(refusal, NoPermissionError):
        key = next((str(part) for part in command[1:] if ":" in str(part)), "")
        raise ConfigError(
            f"redis: {place}: the user may not run {command[0]} {key}".rstrip() + f" ({describe(refusal)})"
        )
    if isinstance(refusal, ReadOnlyError):
        raise ConfigError(f"redis: {place} takes no writes ({describe(refusal)})")
    if "unknown command" in str(refusal).lower():
        raise ConfigError(f"redis: {place} has no command {command[0]}")
    log.debug("redis: %s: %s: %s", place, command[0], refusal)  # no memory left, a foreign marker: seen in use


def _explained(place: str, error: Exception) -> ConfigError:
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
    return RedisUnreachable(f"redis: no Redis answers at {place}: {text}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
