"""Where API keys are kept: one contract for the file and for Redis; files that are broken, and who may read them."""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import key_store
from pipeline.api_keys import ApiKey, make_key
from pipeline.backbone import BackboneDown
from pipeline.errors import ConfigError
from pipeline.key_store import KeyFile, KeyStore, RedisKeys
from pipeline.redis_nodes import RedisNodes
from pipeline.redis_records import Keys
from tests.redis_server import RedisServer, running_redis

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
Opened = Callable[[], AbstractAsyncContextManager[KeyStore]]


def made(name: str = "ada") -> ApiKey:
    return make_key(name, ["predict:*", "watch:a/*"], NOW, timedelta(days=1))[0]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), data=False) as server:
        yield server


@pytest.fixture
def redis(running: RedisServer) -> RedisServer:
    running.command("FLUSHALL")
    return running


@asynccontextmanager
async def keys_in(redis: RedisServer, prefix: str = "ws") -> AsyncIterator[RedisKeys]:
    nodes = RedisNodes(redis.url, Keys(prefix))
    try:
        yield RedisKeys(nodes)
    finally:
        await nodes.close()


@asynccontextmanager
async def keys_at(path: Path) -> AsyncIterator[KeyFile]:
    yield KeyFile(path)


class StoreContract:
    async def test_what_is_added_is_there(self, opened: Opened) -> None:
        ada, bob = made(), make_key('b"o\\b é', [], NOW)[0]
        async with opened() as store, opened() as other:
            await store.add(ada)
            await other.add(bob)
            for one in (store, other):
                assert sorted(await one.load(), key=lambda key: key.id) == sorted([ada, bob], key=lambda key: key.id)

    async def test_what_is_revoked_stays_and_says_so(self, opened: Opened) -> None:
        ada, bob = made(), made("bob")
        async with opened() as store:
            await store.add(ada)
            await store.add(bob)
            assert await store.revoke(ada.id, NOW) == ada.revoke(NOW)
            await store.revoke(ada.id, NOW + timedelta(1))
            states = {key.name: (key.state(None), key.revoked) for key in await store.load()}
        assert states == {"ada": ("revoked", NOW), "bob": ("valid", None)}

    async def test_the_stamp_tells_of_changes(self, opened: Opened) -> None:
        ada = made()
        async with opened() as store, opened() as other:
            await other.add(ada)
            stamps = [await store.stamp()]
            assert await store.stamp() == stamps[0]
            await other.add(made("bob"))
            stamps.append(await store.stamp())
            await other.revoke(ada.id, NOW)
            stamps.append(await store.stamp())
        assert len(set(stamps)) == 3

    @pytest.mark.parametrize("key_id", ["", "ABCDEFGHIJKL", "stamp", "x" * 1000, "a\r\nb"])
    async def test_a_key_that_is_not_there_cannot_be_revoked(self, opened: Opened, key_id: str) -> None:
        async with opened() as store:
            await store.add(made())
            with pytest.raises(ConfigError, match="has no key"):
                await store.revoke(key_id, NOW)
            assert len(await store.load()) == 1


class TestKeyFile(StoreContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        return lambda: keys_at(tmp_path / "keys.toml")


class TestRedisKeys(StoreContract):
    @pytest.fixture
    def opened(self, redis: RedisServer) -> Opened:
        return lambda: keys_in(redis)


async def test_the_file_is_for_its_owner_alone_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        await KeyFile(tmp_path / "keys.toml").add(made())
    finally:
        os.umask(former)
    assert os.listdir(tmp_path) == ["keys.toml"]
    assert stat.S_IMODE((tmp_path / "keys.toml").stat().st_mode) == 0o600


async def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "keys.toml").symlink_to(tmp_path / "real" / "keys.toml")
    await KeyFile(tmp_path / "keys.toml").add(made())
    assert (tmp_path / "keys.toml").is_symlink()
    assert len(await KeyFile(tmp_path / "real" / "keys.toml").load()) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
async def test_who_revokes_as_root_does_not_lock_out_the_server(tmp_path: Path) -> None:
    path, ada = tmp_path / "keys.toml", made()
    await KeyFile(path).add(ada)
    os.chown(path, 1234, 1235)
    path.chmod(0o640)
    await KeyFile(path).revoke(ada.id, NOW)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 1235, 0o640)


async def test_keys_that_are_added_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"

    def add(number: int) -> None:
        asyncio.run(KeyFile(path).add(made(f"n{number}")))

    await asyncio.gather(*(asyncio.to_thread(add, number) for number in range(20)))
    assert {key.name for key in await KeyFile(path).load()} == {f"n{number}" for number in range(20)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"keys = ", "keys.toml: "),
        (b"\xff", "keys.toml: "),
        (b"keys = 1", "array"),
        (b"[[keys]]\nid = 'x'", r"`name` - at `\$\.keys\[0\]`"),
        (b"[[key]]\nid = 'x'", "key"),
    ],
)
async def test_a_file_that_is_broken_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        await KeyFile(path).load()
    assert str(path) in str(caught.value)


async def test_an_id_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    await KeyFile(path).add(made())
    path.write_text(path.read_text() * 2)
    with pytest.raises(ConfigError, match="two keys have the same id"):
        await KeyFile(path).load()


async def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.toml"
    await KeyFile(path).add(made())
    await KeyFile(path).add(made("bob"))
    for bound, message in (("MAX_KEYS", "more than 1 keys"), ("MAX_FILE_BYTES", "larger than")):
        monkeypatch.setattr(key_store, bound, 1)
        with pytest.raises(ConfigError, match=message):
            await KeyFile(path).load()


async def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, ada = tmp_path / "keys.toml", made()
    await KeyFile(path).add(ada)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"keys\.toml: No space left"):
        await KeyFile(path).add(made("bob"))
    assert os.listdir(tmp_path) == ["keys.toml"]
    assert await KeyFile(path).load() == [ada]


async def test_a_file_that_is_not_there_or_cannot_be_written_is_named(tmp_path: Path) -> None:
    for call in (KeyFile(tmp_path / "none.toml").stamp(), KeyFile(tmp_path / "none.toml").load()):
        with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
            await call
    with pytest.raises(ConfigError, match=r"keys\.toml: No such file"):
        await KeyFile(tmp_path / "none" / "keys.toml").add(made())


async def test_what_others_put_beside_keys_is_told_once(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    ada, bob = made(), made("bob")
    async with keys_in(redis) as store:
        await store.add(ada)
        await store.add(bob)
        value = redis.command("HGET", "ws:api-keys", ada.id)
        for name, wrong in (("X", b"\xff"), ("Y", b"{}"), ("ABCDEFGHIJKL", value), (bob.id, b"[]")):
            redis.command("HSET", "ws:api-keys", name, wrong)
        assert await store.load() == await store.load() == [ada]
        with pytest.raises(ConfigError, match="is no API key"):
            await store.revoke("Y", NOW)
    assert len(caplog.messages) == 4
    assert ada.digest not in caplog.text


async def test_prefixes_have_keys_of_their_own(redis: RedisServer) -> None:
    async with keys_in(redis) as store, keys_in(redis, "staging") as other:
        await store.add(made())
        assert await other.load() == []


async def test_a_redis_that_is_gone_is_told(tmp_path: Path) -> None:
    with running_redis(tmp_path, data=False) as server:
        pass
    async with keys_in(server) as store:
        with pytest.raises(BackboneDown):
            await store.load()
