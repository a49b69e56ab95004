"""What is said of a Redis that cannot be used: one line that names what is wrong, and never the password."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.redis_checks import RedisUnreachable
from tests.certificates import make_certificate
from tests.redis_server import RedisServer, running_redis
from tests.slow_proxy import SlowProxy

from .redis_parts import backbone_at

PASSWORD = "geheim&/:"  # noqa: S105
QUOTED = "geheim%26%2F%3A"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), data=False) as server:
        yield server


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), "--requirepass", PASSWORD, data=False) as server:
        yield server


async def refusal(url: str, prefix: str = "ws", patience: float = 5.0) -> ConfigError:
    async with backbone_at(url, prefix, patience) as backbone:
        with pytest.raises(ConfigError) as caught:
            await backbone.check()
    text = str(caught.value)
    assert text.startswith("redis: ")
    assert "\n" not in text
    assert "geheim" not in text
    return caught.value


async def test_the_right_password_is_accepted(locked: RedisServer) -> None:
    for user in ("", "default"):
        async with backbone_at(f"redis://{user}:{QUOTED}@127.0.0.1:{locked.port}/3") as backbone:
            await backbone.check()
            assert "geheim" not in repr(backbone)


@pytest.mark.parametrize("credentials", ["", ":geheim2@", "nobody:geheim2@"])
async def test_a_wrong_password_is_named(locked: RedisServer, credentials: str) -> None:
    error = await refusal(f"redis://{credentials}127.0.0.1:{locked.port}")
    assert f"127.0.0.1:{locked.port}: the password or user is not accepted" in str(error)
    assert not isinstance(error, RedisUnreachable)


async def test_a_password_where_none_is_wanted_is_named(server: RedisServer) -> None:
    error = await refusal(f"redis://:geheim2@127.0.0.1:{server.port}")
    assert "the password or user is not accepted" in str(error)


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ("~* &* +@all -xadd", "XADD"),
        ("~* &* +@all -xreadgroup", "XREADGROUP"),
        ("~* &* +@all -info", "INFO"),
        ("~* &* +@all -publish", "PUBLISH"),
        ("~other:* &* +@all", "XGROUP"),
        ("~* resetchannels &other:* +@all", "PUBLISH"),
        ("~ws:* &ws:* -@all", "INFO"),
    ],
)
async def test_what_a_user_may_not_do_is_named(server: RedisServer, rules: str, named: str) -> None:
    server.command("ACL", "SETUSER", "limited", "reset", "on", ">geheim", *rules.split())
    error = await refusal(f"redis://limited:geheim@127.0.0.1:{server.port}")
    assert f"the user may not run {named}" in str(error)


async def test_a_user_with_only_what_is_needed_is_enough(server: RedisServer) -> None:
    commands = "xadd xread xreadgroup xack xdel xclaim xpending xgroup xinfo xlen xrange xtrim exists del pexpire"
    more = "hset hgetall hdel set get time info publish subscribe unsubscribe ping multi exec select"
    allowed = [f"+{name}" for name in f"{commands} {more}".split()]
    server.command("ACL", "SETUSER", "worker", "reset", "on", ">geheim", "~ws:*", "&ws:*", "-@all", *allowed)
    async with backbone_at(f"redis://worker:geheim@127.0.0.1:{server.port}/0") as backbone:
        await backbone.check()
        await backbone.put("q", [b"a", b"b"])
        first, _ = await backbone.take(["q"], "w", 10, 5)
        await backbone.bury(first, "poison")
        async with backbone.listen("c", lambda _: None):
            await backbone.publish("c", [b"x"])


async def test_nothing_there_is_unreachable(tmp_path: Path) -> None:
    absent = RedisServer(tmp_path)
    assert isinstance(await refusal(absent.url), RedisUnreachable)
    assert isinstance(await refusal(absent.unix_url), RedisUnreachable)
    error = await refusal("redis://no-such-host.invalid")
    assert isinstance(error, RedisUnreachable)
    assert "no-such-host.invalid:6379" in str(error)


async def test_a_server_that_says_nothing_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = await refusal(f"redis://127.0.0.1:{silent.getsockname()[1]}", patience=0.2)
        assert isinstance(error, RedisUnreachable)


async def test_a_database_that_is_not_there_is_named(server: RedisServer) -> None:
    assert "DB index is out of range" in str(await refusal(f"{server.url}/99"))


async def test_a_replica_is_refused(server: RedisServer, tmp_path: Path) -> None:
    with running_redis(tmp_path, "--replicaof", f"127.0.0.1 {server.port}", data=False) as replica:
        assert "is a replica" in str(await refusal(replica.url))


async def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with running_redis(tmp_path, "--rename-command", "XCLAIM", "", data=False) as lacking:
        assert "XCLAIM ws:{check-" in (text := str(await refusal(lacking.url)))
        assert "is refused: unknown command" in text


async def test_a_marker_that_is_none_is_named(server: RedisServer) -> None:
    server.command("SADD", "taken:marker", "x")
    assert "GET taken:marker is refused: WRONGTYPE" in str(await refusal(server.url, "taken"))


async def test_a_full_redis_is_told_and_not_wrong(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    server.set("maxmemory", 1)
    try:
        async with backbone_at(server.url) as backbone:
            await backbone.check()
    finally:
        server.set("maxmemory", 0)
    assert "has no memory left" in caplog.text


async def test_a_redis_that_throws_data_away_is_told(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    server.set("maxmemory-policy", "allkeys-lru")
    try:
        async with backbone_at(server.url) as backbone:
            await backbone.check()
    finally:
        server.set("maxmemory-policy", "noeviction")
    assert "maxmemory-policy allkeys-lru" in caplog.text


# -- TLS


async def test_with_its_certificate_tls_works(server: RedisServer, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with SlowProxy(server.port, tls=certificate.served()) as proxy:
        async with backbone_at(f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={certificate.certificate}") as backbone:
            await backbone.check()
            assert await backbone.put("q", [b"a"])


@pytest.mark.parametrize("case", ["nobody signed it", "for another address", "not given"])
async def test_a_wrong_certificate_is_named(server: RedisServer, tmp_path: Path, case: str) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1" if case == "nobody signed it" else "127.0.0.9")
    with SlowProxy(server.port, tls=certificate.served()) as proxy:
        options = "" if case == "nobody signed it" else f"?ssl_ca_certs={certificate.certificate}"
        if case == "not given":
            options = f"?ssl_ca_certs={tmp_path / 'none.pem'}"
        error = await refusal(f"rediss://127.0.0.1:{proxy.port}{options}")
    if case == "not given":
        assert f"ssl_ca_certs: {tmp_path / 'none.pem'} is not a file" in str(error)
    else:
        assert "its TLS certificate is not accepted: " in str(error)
    assert not isinstance(error, RedisUnreachable)


async def test_tls_where_there_is_none_is_named(server: RedisServer) -> None:
    error = await refusal(f"rediss://127.0.0.1:{server.port}", patience=0.5)
    assert "(does it speak TLS?)" in str(error)


async def test_no_tls_where_it_is_wanted_is_named(server: RedisServer, tmp_path: Path) -> None:
    with SlowProxy(server.port, tls=make_certificate(tmp_path).served()) as proxy:
        error = await refusal(f"redis://127.0.0.1:{proxy.port}")
    assert "rediss://" in str(error)


async def test_tls_with_something_else_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        error = await refusal(f"rediss://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()
    assert "TLS fails: " in str(error)
    assert not isinstance(error, RedisUnreachable)


# -- servers that are something else


class Scripted(socketserver.ThreadingTCPServer):
    """Answers each command with the same."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        super().__init__(("127.0.0.1", 0), Conversation)


class Conversation(socketserver.StreamRequestHandler):
    server: Scripted

    def handle(self) -> None:
        while line := self.rfile.readline():
            for _ in range(2 * int(line[1:]) if line.startswith(b"*") else 0):
                self.rfile.readline()
            self.wfile.write(self.server.answer)


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    with Scripted(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


@pytest.mark.parametrize(
    ("info", "named"),
    [
        (b"redis_version:6.0.16\r\n", "is Redis 6.0.16, 6.2 or newer is needed"),
        (b"redis_version:5.0.3\r\n", "is Redis 5.0.3"),
        (b"redis_version:7.2.4\r\nvalkey_version:6.1.0\r\n", "is Valkey 6.1.0"),
        (b"hello\r\n", "of no known version"),
    ],
)
async def test_an_old_version_is_named(info: bytes, named: str) -> None:
    with answering(bulk(info)) as port:
        error = await refusal(f"redis://127.0.0.1:{port}")
    assert named in str(error)
    assert not isinstance(error, RedisUnreachable)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_what_is_no_redis_is_named(answer: bytes) -> None:
    with answering(answer) as port:
        error = await refusal(f"redis://127.0.0.1:{port}")
    assert f"what answers at 127.0.0.1:{port} is no Redis" in str(error)


async def test_a_server_that_still_loads_is_not_wrong() -> None:
    with answering(b"-LOADING Redis is loading the dataset in memory\r\n") as port:
        error = await refusal(f"redis://127.0.0.1:{port}")
    assert isinstance(error, RedisUnreachable)
    assert "still loading" in str(error)
