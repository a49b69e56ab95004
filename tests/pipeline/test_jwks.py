"""Sets of keys that change while the server runs: rotation, outages, and what a server of them may not do to us."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.access import Access
from pipeline.errors import ConfigError, Unauthenticated
from pipeline.https_get import HttpsGet
from pipeline.jwks import MAX_BYTES, Jwks, make_jwks
from pipeline.jwt_tokens import TokenVerifier
from pipeline.settings import read_settings
from tests.certificates import make_certificate

from .jwt_parts import SECRET, JwksServer, jwk, jwks, jwks_server, pem, token

ALGORITHMS = ["RS256", "ES256"]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("WATERSPOUT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[JwksServer]:
    with jwks_server(jwk("RS256", "a")) as server:
        yield server


@asynccontextmanager
async def followed(server: JwksServer, refresh: float = 600.0, unknown: float = 600.0) -> AsyncIterator[Jwks]:
    fetch = HttpsGet(server.url, MAX_BYTES, 2.0)
    keys = Jwks(server.url, fetch, ALGORITHMS, refresh_seconds=refresh, unknown_seconds=unknown)
    await keys.start()
    try:
        yield keys
    finally:
        await keys.stop()


async def until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)


async def refused(access: Access, text: str) -> None:
    while True:
        try:
            await access.identify(text)
        except Unauthenticated:
            return
        await asyncio.sleep(0.01)


async def test_a_key_that_is_new_is_fetched_for_the_first_token_that_names_it(server: JwksServer) -> None:
    async with followed(server) as keys:
        checks = TokenVerifier(keys, ALGORITHMS)
        assert (await checks.verify(token(kid="a"))).name == "ada"
        server.body = jwks(jwk("RS256", "b", "b"))
        outcomes = await asyncio.gather(*(checks.verify(token(kid="b", name="b")) for _ in range(20)))
        assert {outcome.name for outcome in outcomes} == {"ada"}
        assert server.asked == 2
        with pytest.raises(Unauthenticated, match="is not one of those"):
            await checks.verify(token(kid="a"))
    assert server.paths[0] == "/keys?v=1"


async def test_tokens_that_name_unknown_keys_are_no_way_to_make_us_ask(server: JwksServer) -> None:
    async with followed(server) as keys:
        checks = TokenVerifier(keys, ALGORITHMS)
        for number in range(50):
            with pytest.raises(Unauthenticated, match="is not one of those"):
                await checks.verify(token("ES256", kid=f"n{number}"))
        assert server.asked == 2


async def test_a_set_is_looked_at_now_and_then(server: JwksServer) -> None:
    async with followed(server, refresh=0.05) as keys:
        checks = TokenVerifier(keys, ALGORITHMS)
        server.body = jwks(jwk("ES256", "e"))
        await until(lambda: "ES256" in repr(keys.keys._keys))
        with pytest.raises(Unauthenticated):
            await checks.verify(token(kid="a"))
        assert (await checks.verify(token("ES256", kid="e"))).name == "ada"


@pytest.mark.parametrize(
    ("body", "status", "headers", "message"),
    [
        (b"{}", 200, {}, "expected JSON"),
        (jwks(), 200, {}, "no key in it"),
        (jwks(jwk("RS256")), 500, {}, "HTTP status 500"),
        (jwks(jwk("RS256")), 302, {"Location": "file:///etc/passwd"}, "HTTP status 302"),
        (b" " * (MAX_BYTES + (1 << 17)), 200, {}, "more than 1048576 bytes"),
        (b"{}", 200, {"Content-Length": "100"}, "no proper HTTP: IncompleteRead"),
        (b"{}", 200, {"Transfer-Encoding": "chunked"}, "no proper HTTP"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_fails_changes_nothing_and_is_told_once(
    server: JwksServer, caplog: pytest.LogCaptureFixture, body: bytes, status: int, headers: Any, message: str
) -> None:
    async with followed(server, refresh=0.05) as keys:
        checks = TokenVerifier(keys, ALGORITHMS)
        server.body, server.status, server.headers = body, status, headers
        asked = server.asked
        await until(lambda: server.asked >= asked + 4)
        assert (await checks.verify(token(kid="a"))).name == "ada"
        (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert message in told
        assert "stay as they were" in told
    with pytest.raises(ConfigError, match=f"^jwt_jwks: http.*{message}"):
        await Jwks(server.url, HttpsGet(server.url, MAX_BYTES, 2.0), ALGORITHMS, refresh_seconds=9).start()


async def test_a_server_that_drips_is_given_up_in_time() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with_header = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 900
        try:
            for at in range(len(with_header)):
                writer.write(with_header[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0.01)
        except OSError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    with pytest.raises(TimeoutError):
        await HttpsGet(url, 1000, 0.3)()
    listening.close()


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n"])
async def test_what_is_no_http_is_refused(answer: bytes) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(reply, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    with pytest.raises(ValueError, match="no proper HTTP"):
        await HttpsGet(url, 1000, 2.0)()
    listening.close()


async def test_nobody_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    with pytest.raises(ConfigError, match=r"^jwt_jwks: .*Connection refused$"):
        await make_jwks(url, ALGORITHMS).start()


async def test_over_https_the_server_must_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    with jwks_server(jwk("RS256", "a"), certificate=certificate) as server:
        with pytest.raises(ConfigError, match=r"jwt_jwks: https.*self.signed"):
            await make_jwks(server.url, ALGORITHMS).start()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
        async with followed(server) as keys:
            assert (await TokenVerifier(keys, ALGORITHMS).verify(token(kid="a"))).name == "ada"


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


async def test_keys_in_a_file_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    access = Access.from_settings(read_settings(["--jwt-jwks", write(path, jwks(jwk("RS256", "a")))]))
    assert not access.is_open
    await access.start()
    assert (await access.identify(token(kid="a"))).name == "ada"
    write(path, jwks(jwk("RS256", "b", "b")))
    await refused(access, token(kid="a"))
    assert (await access.identify(token(kid="b", name="b"))).name == "ada"
    with pytest.raises(Unauthenticated, match="is no "):
        await access.identify("wsk_" + "A" * 56)
    await access.stop()


async def test_with_a_key_that_is_taken_out_all_end_whom_it_let_in(tmp_path: Path) -> None:
    path, (a, b) = tmp_path / "jwks.json", (jwk("RS256", "a"), jwk("RS256", "b", "b"))
    access = Access.from_settings(read_settings(["--jwt-jwks", write(path, jwks(a, b))]))
    await access.start()
    ada, other = await access.identify(token(kid="a")), await access.identify(token(kid="b", name="b"))
    tickets = [await access.issue(identity) for identity in (ada, other, ada)]
    entered = await access.redeem(tickets.pop())
    write(path, jwks(jwk("RS256", "c", "c"), b))
    await refused(access, token(kid="a"))
    now = time.time()
    assert [identity.is_valid(now) for identity in (ada, entered, other)] == [False, False, True]
    with pytest.raises(Unauthenticated, match="no such ticket"):
        await access.redeem(tickets[0])
    assert (await access.redeem(tickets[1])).name == other.name
    await access.stop()


@pytest.mark.parametrize("content", [None, b"", b"[]", b" " * (MAX_BYTES + 1)])
async def test_a_file_of_keys_that_is_wrong_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "jwks.json"
    if content is not None:
        write(path, content)
    with pytest.raises(ConfigError, match=r"^jwt_jwks: .*jwks\.json: "):
        await Access.from_settings(read_settings(["--jwt-jwks", str(path)])).start()


async def test_a_public_key_or_a_secret_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "key.pem", pem("ES256"))
    access = Access.from_settings(read_settings(["--jwt-public-key", path, "--jwt-audience", "w"]))
    await access.start()
    assert (await access.identify(token("ES256", aud="w"))).name == "ada"
    with pytest.raises(Unauthenticated, match="has no aud"):
        await access.identify(token("ES256"))
    await access.stop()
    monkeypatch.setenv("WATERSPOUT_JWT_SECRET", SECRET)
    access = Access.from_settings(read_settings(["--jwt-issuer", "i"]))
    identity = await access.identify(token("HS256", iss="i"))
    holder = await access.redeem(await access.issue(identity))
    assert (holder.name, holder.kind, holder.expires_at) == ("ada", "ticket", identity.expires_at)
    assert SECRET not in f"{access!r} {access.__dict__!r}"


@pytest.mark.parametrize("content", [None, b"", pem("ES384")])
def test_a_public_key_that_is_wrong_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^jwt_public_key: .*key\.pem: "):
        Access.from_settings(read_settings(["--jwt-public-key", str(path)]))
