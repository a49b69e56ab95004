"""`python server.py keys create|list|revoke`: makes API keys, shows which there are, and takes them back."""

import argparse
import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pipeline.api_keys import ApiKey, make_key
from pipeline.backbone import BackboneDown, BackboneFull
from pipeline.errors import ConfigError
from pipeline.key_store import KeyFile, KeyStore, RedisKeys
from pipeline.redis_url import has_password

DEFAULT_FILE: Final = "keys.toml"
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_ROW: Final = "{:<12}  {:<7}  {:<20}  {:<20}  {:<24}  {}"


def run(arguments: list[str]) -> int:
    """Run one command and return the exit code. Raises `ConfigError`; exits for `--help` and wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except (BackboneDown, BackboneFull) as error:
        raise ConfigError(str(error)) from error
    return 0


async def _run(options: argparse.Namespace) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    async with _store(options) as store:
        match options.command:
            case "create":
                await _create(store, options, now)
            case "list":
                _show(await store.load(), now)
            case "revoke":
                key = await store.revoke(options.id, now)
                print(f"{key.id} ({key.name}) is revoked: servers close its sockets within some seconds")


async def _create(store: KeyStore, options: argparse.Namespace, now: datetime) -> None:
    try:
        key, text = make_key(options.name, options.scopes.split(), now, options.expires)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    await store.add(key)
    print(text)
    print(f"{key.id} ({key.name}) is kept as a hash: this is the only time that the key is shown", file=sys.stderr)


def _show(keys: list[ApiKey], now: datetime) -> None:
    print(_ROW.format("id", "state", "created", "expires", "name", "scopes"))
    for key in sorted(keys, key=lambda key: key.created):
        expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%dT%H:%M:%SZ}"
        created = f"{key.created:%Y-%m-%dT%H:%M:%SZ}"
        print(_ROW.format(key.id, key.state(now.timestamp()), created, expires, key.name, " ".join(key.scopes)))


@contextlib.asynccontextmanager
async def _store(options: argparse.Namespace) -> AsyncIterator[KeyStore]:
    """Give what the options name, or else the environment, as the server would take it."""
    in_redis = os.environ.get("WATERSPOUT_API_KEYS_IN_REDIS", "").lower() in ("1", "true", "yes", "on")
    if options.redis is None and (options.file or not in_redis):
        yield KeyFile(Path(options.file or os.environ.get("WATERSPOUT_API_KEYS") or DEFAULT_FILE))
        return
    from pipeline.redis_nodes import RedisNodes  # needed by those alone that have a Redis
    from pipeline.redis_records import Keys

    url = options.redis or os.environ.get("WATERSPOUT_REDIS")
    if not url:
        raise ConfigError("redis: give its URL, or WATERSPOUT_REDIS")
    if options.redis and has_password(options.redis):
        raise ConfigError("redis: other processes see flags, a URL with a password goes to WATERSPOUT_REDIS")
    prefix = options.redis_prefix or os.environ.get("WATERSPOUT_REDIS_PREFIX") or "ws"
    try:
        nodes = RedisNodes(url, Keys(prefix))
    except ValueError as error:
        raise ConfigError(f"redis: {error}") from error
    try:
        yield RedisKeys(nodes)
    finally:
        await nodes.close()


def _lifetime(text: str) -> timedelta:
    """Return how long `30d` is."""
    matched = re.fullmatch(r"([1-9][0-9]{0,5})([smhdw])", text)
    if matched is None:
        raise argparse.ArgumentTypeError(
            "expected a number of seconds, minutes, hours, days or weeks, like 90m, 12h, 30d, 52w"
        )
    return timedelta(**{_UNITS[matched[2]]: int(matched[1])})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("server.py keys", description="API keys.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="create|list|revoke")
    create = commands.add_parser("create", help="make a key, and show it once", allow_abbrev=False)
    create.add_argument("--name", required=True, help="who it is for")
    create.add_argument("--scopes", required=True, help="what it allows: 'predict:* watch:activity/* admin'")
    create.add_argument("--expires", type=_lifetime, metavar="30d", help="90m, 12h, 30d or 52w from now; else never")
    listing = commands.add_parser("list", help="show which there are", allow_abbrev=False)
    revoke = commands.add_parser("revoke", help="take one back for good", allow_abbrev=False)
    revoke.add_argument("id", help="the 12 characters behind wsk_")
    for command in (create, listing, revoke):
        command.add_argument("--file", help=f"TOML file; default: WATERSPOUT_API_KEYS, else {DEFAULT_FILE}")
        command.add_argument("--redis", nargs="?", const="", metavar="URL", help="Redis; default: WATERSPOUT_REDIS")
        command.add_argument("--redis-prefix", metavar="PREFIX", help="what names of keys begin with; default: ws")
    return parser
