"""What must be right with a Redis before anything is built on it, and what is said where it is not."""

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
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

from pipeline.backbone import BackboneDown
from pipeline.errors import ConfigError
from pipeline.redis_link import ELSEWHERE, Command, RedisLink, describe
from pipeline.redis_nodes import RedisNodes
from pipeline.redis_records import GROUP, Keys, is_cluster, key_slot, parse_info, parse_version
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


async def check(nodes: RedisNodes) -> None:
    """Raise `ConfigError` with one line that names what is wrong, `RedisUnreachable` if nothing answers.

    Of a cluster every primary is looked at.
    """
    await _check_server(nodes.seed)
    try:
        owners = await nodes.owners()
    except BackboneDown as error:
        raise RedisUnreachable(str(error)) from error
    for link, slot in owners:
        if link.place != nodes.seed.place:
            await _check_server(link)
        await _check_rights(link, slot, nodes.has_sharded_channels)


async def _check_server(link: RedisLink) -> None:
    """Raise `ConfigError` for one that is too old, or takes no writes; warn of one that throws data away."""
    with _explained(link):
        info, replication, memory, slots = await link.converse(
            ("INFO", "server"), ("INFO", "replication"), ("INFO", "memory"), ("CLUSTER", "SLOTS")
        )
    if isinstance(info, NoPermissionError):
        raise ConfigError(f"redis: {link.place}: the user may not run INFO ({describe(info)})")
    facts = parse_info(info)
    version = facts.get("valkey_version") or facts.get("redis_version", "")
    name = "Valkey" if "valkey_version" in facts else "Redis"
    if parse_version(version) < OLDEST:
        raise ConfigError(f"redis: {link.place} is {name} {version or 'of no known version'}, 6.2 or newer is needed")
    if is_cluster(facts):
        if isinstance(slots, NoPermissionError):
            raise ConfigError(f"redis: {link.place}: the user may not run CLUSTER SLOTS ({describe(slots)})")
    elif parse_info(replication).get("role") == "slave":
        raise ConfigError(f"redis: {link.place} is a replica, which takes no writes; give its primary")
    policy = parse_info(memory).get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        log.warning("redis: %s throws data away when memory is short (maxmemory-policy %s)", link.place, policy)


async def _check_rights(link: RedisLink, slot: int, is_sharded: bool) -> None:
    """Raise `ConfigError` for a command that is refused to us; `slot`: one that it has; `is_sharded`: its channels."""
    probes = list(_probes(link.keys, slot if link.is_node else None, is_sharded))
    with _explained(link):
        replies = await link.converse(*probes)
    _check_replies(link.place, dict(zip(probes, replies, strict=True)))


def _probes(keys: Keys, slot: int | None, is_sharded: bool) -> Iterator[Command]:
    """Give every command that is used, on keys of the same form, without a trace that stays."""
    stem = f"check-{uuid4().hex}"
    name = next(tag for n in count() if key_slot(tag := f"{stem}.{n}") == slot or slot is None)
    stream, members = keys.rows(name, "check"), keys.members(name)
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
    sharded = "S" if is_sharded else ""
    yield f"{sharded}PUBLISH", keys.channel(name), ""
    yield f"{sharded}SUBSCRIBE", keys.channel(name)
    yield ("PING",)
    yield f"{sharded}UNSUBSCRIBE", keys.channel(name)


def _check_replies(place: str, replies: dict[Command, Any]) -> None:
    refusals = {
        command: reply  # a node says of keys that are for all that another has them
        for command, reply in replies.items()
        if isinstance(reply, ResponseError) and not isinstance(reply, ELSEWHERE)
    }
    if any(isinstance(reply, OutOfMemoryError) for reply in refusals.values()):
        log.warning("redis: %s has no memory left (maxmemory)", place)
        refusals = {command: reply for command, reply in refusals.items() if isinstance(reply, NoPermissionError)}
    for command, refusal in refusals.items():
        key = next((str(part) for part in command[1:] if ":" in str(part)), "")
        called = f"{command[0]} {key}".rstrip()
        if isinstance(refusal, NoPermissionError):
            raise ConfigError(f"redis: {place}: the user may not run {called} ({describe(refusal)})")
        raise ConfigError(f"redis: {place}: {called} is refused: {describe(refusal).partition(',')[0]}")


@contextmanager
def _explained(link: RedisLink) -> Iterator[None]:
    """Raise `ConfigError` for what redis-py and the system raise."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise _explanation(link, error) from error


def _explanation(link: RedisLink, error: Exception) -> ConfigError:
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
