"""Where API keys are kept: a TOML file, or Redis. Both hold salted hashes, never a key."""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
import tempfile
import tomllib
from collections.abc import Hashable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import tomli_w

from pipeline.api_keys import MAX_KEYS, ApiKey
from pipeline.errors import ConfigError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pipeline.redis_nodes import RedisNodes

log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 64 << 20
STAMP: Final = "stamp"  # the field of the hash in Redis that changes with any other

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(ApiKey).decode


class KeyStore(Protocol):
    """What the server needs of either."""

    async def stamp(self) -> Hashable:
        """Return what differs once the keys have changed. Raises `ConfigError` or `BackboneDown`."""

    async def load(self) -> list[ApiKey]:
        """Return all keys. Raises `ConfigError` that says what is wrong, or `BackboneDown`."""

    async def add(self, key: ApiKey) -> None:
        """Keep another one."""

    async def revoke(self, key_id: str, now: datetime) -> ApiKey:
        """Revoke one, and return it. Raises `ConfigError` if there is none."""


class _File(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    keys: list[ApiKey] = []


class KeyFile:
    """Keys in a TOML file that its owner alone can read; it is replaced as a whole, so no reader sees half of it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"<KeyFile {self._path}>"

    async def stamp(self) -> Hashable:
        """Return inode, size and times of the file."""
        try:
            found = self._path.stat()
        except OSError as error:
            raise ConfigError(f"api_keys: {self._path}: {error.strerror}") from error
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    async def load(self) -> list[ApiKey]:
        """Return all keys; a large file is read in a thread."""
        return await asyncio.to_thread(self._read)

    async def add(self, key: ApiKey) -> None:
        """Keep another one; the file is made if there is none."""
        with self._locked():
            self._write([*(self._read() if self._path.exists() else []), key])

    async def revoke(self, key_id: str, now: datetime) -> ApiKey:
        """Revoke one."""
        with self._locked():
            keys = {key.id: key for key in self._read()}
            if key_id not in keys:
                raise ConfigError(f"{self._path} has no key {key_id[:40]!r}")
            keys[key_id] = keys[key_id].revoke(now)
            self._write(keys.values())
        return keys[key_id]

    def _read(self) -> list[ApiKey]:
        try:
            if self._path.stat().st_size > MAX_FILE_BYTES:
                raise ConfigError(f"api_keys: {self._path} is larger than {MAX_FILE_BYTES >> 20} MiB")
            found = tomllib.loads(self._path.read_text(encoding="utf-8"))
            keys = msgspec.convert(found, _File).keys
        except OSError as error:
            raise ConfigError(f"api_keys: {self._path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"api_keys: {self._path}: {error}") from error
        if len({key.id for key in keys}) != len(keys):
            raise ConfigError(f"api_keys: {self._path}: two keys have the same id")
        if len(keys) > MAX_KEYS:
            raise ConfigError(f"api_keys: {self._path}: more than {MAX_KEYS} keys")
        return keys

    def _write(self, keys: Iterable[ApiKey]) -> None:
        path = self._path.resolve()
        text = tomli_w.dumps({"keys": [_table(key) for key in keys]})
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
            try:
                with open(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(descriptor)
                    _keep_owner(descriptor, path)
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others from writing in between; the folder is locked, since the file is another after each change."""
        if sys.platform == "win32":  # which knows no such locks: operators take turns there
            yield
            return
        try:
            descriptor = os.open(self._path.resolve().parent, os.O_RDONLY)
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class RedisKeys:
    """Keys in a hash of Redis, by id; a field of it changes with every change, so that a look costs one command."""

    def __init__(self, nodes: "RedisNodes") -> None:
        self._nodes = nodes
        self._key = nodes.keys.api_keys
        self._told: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<RedisKeys {self._key}>"

    async def stamp(self) -> Hashable:
        """Return the field that changes."""
        stamp: bytes | None = await self._run("HGET", self._key, STAMP)
        return stamp

    async def load(self) -> list[ApiKey]:
        """Return all keys but those that cannot be read, which are told once."""
        fields = await self._run("HGETALL", self._key)
        keys = []
        for name, value in zip(fields[::2], fields[1::2], strict=True):
            if name == STAMP.encode():
                continue
            try:
                keys.append(_key_of(name, value))
            except ValueError as error:
                if name not in self._told:
                    self._told.add(name)
                    log.error("redis: %s: %r is no API key: %s", self._key, name[:40], error)  # noqa: TRY400
        return keys

    async def add(self, key: ApiKey) -> None:
        """Keep another one."""
        await self._run("HSET", self._key, key.id, _encode(key), STAMP, secrets.token_hex(8))

    async def revoke(self, key_id: str, now: datetime) -> ApiKey:
        """Revoke one."""
        value = None if key_id == STAMP else await self._run("HGET", self._key, key_id)
        if value is None:
            raise ConfigError(f"redis: {self._key} has no key {key_id[:40]!r}")
        try:
            key = _decode(value).revoke(now)
        except ValueError as error:
            raise ConfigError(f"redis: {self._key}: {key_id} is no API key: {error}") from error
        await self.add(key)
        return key

    async def _run(self, *command: Any) -> Any:
        link = await self._nodes.of(self._key)
        (reply,) = await link.run(command)
        return reply


def _key_of(name: bytes, value: bytes) -> ApiKey:
    key = _decode(value)
    if key.id.encode() != name:
        raise ValueError("it has the id of another")
    return key


def _table(key: ApiKey) -> dict[str, Any]:
    """Return a key as TOML has it, which knows no None."""
    fields = {name: value for name, value in msgspec.structs.asdict(key).items() if value is not None}
    return {**fields, "scopes": list(key.scopes)}


def _keep_owner(descriptor: int, path: Path) -> None:
    """Give what takes a file's place to the same user: whoever revokes a key as root must not lock out the server."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        former = path.stat()
        os.fchown(descriptor, former.st_uid, former.st_gid)
        os.fchmod(descriptor, former.st_mode & 0o660)
