"""Access: keys as they come, go and are revoked while the server runs; what is accepted, and what never is."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.access import Access
from pipeline.api_keys import make_key
from pipeline.errors import ConfigError, Unauthenticated
from pipeline.identity import OPEN_IDENTITY
from pipeline.key_store import KeyFile, KeyStore, RedisKeys
from pipeline.redis_nodes import RedisNodes
from pipeline.redis_records import Keys
from pipeline.settings import Settings, read_settings
from tests.redis_server import RedisServer, running_redis

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("WATERSPOUT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), data=False) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def settings_of(path: Path) -> Settings:
    return read_settings(["--api-keys", str(path)])


async def added(store: KeyStore, name: str = "ada", lifetime: timedelta | None = None) -> tuple[str, str]:
    """Make a key; return its id and text."""
    key, text = make_key(name, ["predict:*"], NOW, lifetime)
    await store.add(key)
    return key.id, text


@asynccontextmanager
async def started(access: Access) -> AsyncIterator[Access]:
    await access.start()
    try:
        yield access
    finally:
        await access.stop()


def write(path: Path, text: str | None) -> str:
    """Replace a file's text, or remove it; return what was there."""
    former = path.read_text() if path.exists() else ""
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text)
    return former


async def until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)


class Counting(KeyFile):
    """A file that knows how often it was looked at."""

    looks = 0

    async def stamp(self) -> Hashable:
        self.looks += 1
        return await super().stamp()


async def refused(access: Access, text: str) -> str:
    """Wait until a credential is refused; return the reason."""
    while True:
        try:
            await access.identify(text)
        except Unauthenticated as error:
            return str(error)
        await asyncio.sleep(0.01)


async def accepted(access: Access, text: str) -> None:
    """Wait until a credential is accepted."""
    while True:
        try:
            await access.identify(text)
        except Unauthenticated:
            await asyncio.sleep(0.01)
        else:
            return


async def test_without_credentials_everybody_may_do_everything() -> None:
    access = Access.from_settings(read_settings([]))
    assert access.is_open
    assert repr(access) == "<Access open>"
    async with started(access):
        assert await access.identify("anything") is OPEN_IDENTITY
        assert await access.redeem(await access.issue(OPEN_IDENTITY)) is OPEN_IDENTITY


async def test_a_key_of_the_file_is_accepted_and_nothing_else_is(path: Path) -> None:
    _, text = await added(KeyFile(path))
    async with started(Access.from_settings(settings_of(path))) as access:
        assert not access.is_open
        assert (await access.identify(text)).name == "ada"
        for wrong, reason in (
            ("", "no credential"),
            ("anonymous", "is no API key"),
            (text + "x", "no such API key"),
            ("wsk_" + "x" * 10_000, "at most 8192"),
            ("\ud800", "ASCII"),
            ("a.b.c", "is no API key, which"),
        ):
            with pytest.raises(Unauthenticated, match=reason):
                await access.identify(wrong)


@pytest.mark.parametrize("place", ["file", "redis"])
async def test_keys_come_and_are_revoked_while_the_server_runs(path: Path, redis: RedisServer, place: str) -> None:
    redis.command("FLUSHALL")
    nodes = RedisNodes(redis.url, Keys("ws"))
    store: KeyStore = KeyFile(path) if place == "file" else RedisKeys(nodes)
    key_id, text = await added(store)
    arguments = ["--api-keys-in-redis", "--redis", redis.url] if place == "redis" else ["--api-keys", str(path)]
    async with started(Access.from_settings(read_settings(arguments), nodes)) as access:
        ada = await access.identify(text)
        _, other = await added(store, "bob")
        await accepted(access, other)
        bob = await access.identify(other)
        ticket = await access.redeem(await access.issue(ada))
        assert await access.identify(text) is ada
        await store.revoke(key_id, NOW)
        assert await refused(access, text) == "the API key was revoked"
        assert [who.is_valid(NOW.timestamp()) for who in (ada, ticket, bob)] == [False, False, True]
    await nodes.close()


async def test_a_key_expires_while_the_server_runs(path: Path) -> None:
    _, text = await added(KeyFile(path), lifetime=timedelta(hours=1))
    clock = [NOW.timestamp()]
    async with started(Access(keys=KeyFile(path), clock=lambda: clock[0])) as access:
        ada = await access.identify(text)
        clock[0] += 3600
        assert not ada.is_valid(clock[0])
        with pytest.raises(Unauthenticated, match="has expired"):
            await access.identify(text)


async def test_a_file_that_breaks_changes_nothing_and_is_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Counting(path)
    _, text = await added(store)
    async with started(Access(keys=store, look_seconds=0.05)) as access:
        for wrong in ("[[keys", None):
            good = write(path, wrong)
            looks = store.looks
            await until(lambda looks=looks: store.looks >= looks + 3)  # type: ignore[misc]
            assert (await access.identify(text)).name == "ada"
            write(path, good)
            await until(lambda looks=store.looks: store.looks >= looks + 2)  # type: ignore[misc]
        _, other = await added(store, "bob")
        await accepted(access, other)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == 2
    assert all(str(path) in line and "stay as they were" in line for line in told)


@pytest.mark.parametrize("content", [None, "[[keys", "keys = 1"])
async def test_a_file_that_is_wrong_at_the_start_is_named(path: Path, content: str | None) -> None:
    if content is not None:
        write(path, content)
    with pytest.raises(ConfigError, match=r"^api_keys: .*keys\.toml"):
        await Access.from_settings(settings_of(path)).start()


async def test_a_redis_that_is_gone_at_the_start_is_named(tmp_path: Path) -> None:
    with running_redis(tmp_path, data=False) as server:
        pass
    nodes = RedisNodes(server.url, Keys("ws"))
    with pytest.raises(ConfigError, match="api_keys_in_redis: redis: "):
        await Access(keys=RedisKeys(nodes)).start()
    with pytest.raises(ConfigError, match="needs redis"):
        Access.from_settings(read_settings(["--api-keys-in-redis", "--redis", server.url]))
    await nodes.close()


async def test_while_redis_is_gone_keys_stay_as_they_were(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        nodes = RedisNodes(server.url, Keys("ws"))
        store = RedisKeys(nodes)
        _, text = await added(store)
        async with started(Access(keys=store)) as access:
            server.kill()
            await until(lambda: not nodes.is_up)
            assert (await access.identify(text)).name == "ada"
            server.start()
            _, other = await added(store, "bob")
            await accepted(access, other)
            assert (await access.identify(text)).name == "ada"
        await nodes.close()


async def test_no_secret_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = KeyFile(path)
    key_id, text = await added(store)
    shown = []
    async with started(Access.from_settings(settings_of(path))) as access:
        identity = await access.identify(text)
        ticket = await access.issue(identity)
        shown += [repr(access), repr(identity), repr(store), repr(access.__dict__)]
        for wrong in (text[:-1], ticket + "A", "wst_" + text):
            for call in (access.identify(wrong), access.redeem(wrong)):
                with pytest.raises(Unauthenticated) as caught:
                    await call
                shown += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
        await store.revoke(key_id, NOW)
        shown.append(await refused(access, text))
    everything = caplog.text + "".join(shown)
    assert text[17:40] not in everything
    assert ticket[4:30] not in everything
