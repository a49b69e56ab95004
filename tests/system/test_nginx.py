"""`deploy/nginx.conf` before a real server: sockets, event streams, who clients are, and what they do not reach."""

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from pipeline.settings import Settings
from tests.certificates import Certificate

from .client import get, open_stream
from .nginx import Proxy, running_nginx
from .process import Server, running_server, until

ROW = [1, 2, 3, 4]
STREAM = "/v1/models/double/stream"


@pytest.fixture(scope="module")
def server(zoo_models: Path) -> Iterator[Server]:
    with running_server("--models", str(zoo_models), "--trusted-proxies", "127.0.0.1") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, server: Server, certificate: Certificate) -> Iterator[Proxy]:
    with running_nginx(tmp_path_factory.mktemp("nginx"), server, certificate) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def trusted(certificate: Certificate) -> ssl.SSLContext:
    return certificate.trusted()


@pytest.fixture
def http(proxy: Proxy, trusted: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(base_url="https://{}:{}".format(*proxy.address), verify=trusted) as client:
        yield client


def socket_to(proxy: Proxy, trusted: ssl.SSLContext, path: str, **options: Any) -> Any:
    return connect("wss://{}:{}{}".format(*proxy.address, path), ssl=trusted, compression=None, proxy=None, **options)


def test_sockets_pass(proxy: Proxy, trusted: ssl.SSLContext) -> None:
    with socket_to(proxy, trusted, STREAM) as socket:
        socket.send(json.dumps({"id": 1, "data": ROW}))
        assert json.loads(socket.recv(5)) == {"id": 1, "outputs": {"y": [2, 4, 6, 8]}}


def test_requests_pass_over_connections_that_are_kept(http: httpx.Client) -> None:
    for _ in range(3):
        assert http.post("/v1/models/double/predict", json={"data": ROW}).json()["outputs"] == {"y": [2, 4, 6, 8]}


def test_a_client_is_who_it_is_and_not_who_it_says(proxy: Proxy, server: Server, trusted: ssl.SSLContext) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"}
    with socket_to(proxy, trusted, STREAM, additional_headers=forged) as socket:
        socket.ping().wait(5)
        (session,) = get(server, "/v1/admin/sessions").json["sessions"]
        assert session["address"] == "127.0.0.1"
    until(lambda: not get(server, "/v1/admin/sessions").json["total"])


def test_pages_of_its_own_origin_may_connect_and_those_without_tls_may_not(
    proxy: Proxy, trusted: ssl.SSLContext
) -> None:
    own = "{}:{}".format(*proxy.address)
    with socket_to(proxy, trusted, STREAM, origin=Origin(f"https://{own}")) as socket:
        socket.ping().wait(5)
    for origin in (f"http://{own}", "https://evil.example"):
        with pytest.raises(InvalidStatus) as refused, socket_to(proxy, trusted, STREAM, origin=Origin(origin)):
            pass
        assert refused.value.response.status_code == 403


def test_events_leave_as_they_come(http: httpx.Client, server: Server) -> None:
    with http.stream("GET", "/v1/watch/sse?topics=double/*") as reply, open_stream(server, STREAM) as stream:
        assert reply.headers["content-type"] == "text/event-stream"
        lines = reply.iter_lines()
        assert next(lines).startswith("retry:")
        for number in range(3):
            stream.ask({"data": [number] * 4, "key": "a"})
            started = time.monotonic()
            assert f"{2.0 * number}" in next(line for line in lines if line.startswith("data:"))
            assert time.monotonic() - started < 2


def test_browsers_are_told_to_come_with_tls(http: httpx.Client, proxy: Proxy) -> None:
    assert http.get("/").headers["Strict-Transport-Security"]
    plain = httpx.get("http://{}:{}/docs?a=b".format(*proxy.plain))
    assert plain.status_code == 308
    assert plain.headers["Location"] == "https://{}:{}/docs?a=b".format(*proxy.plain)


@pytest.mark.parametrize("path", ["/metrics", "/v1/admin/sessions", "/v1/admin/log-level", "/%6detrics"])
def test_what_is_for_operators_stays_inside(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 404


def test_a_body_may_be_as_large_as_the_server_takes(http: httpx.Client) -> None:
    most = Settings.model_fields["max_message_bytes"].default
    row = json.dumps({"data": ROW}).encode()
    assert http.post("/v1/models/double/predict", content=row.ljust(most)).status_code == 200
    assert http.post("/v1/models/double/predict", content=row.ljust(most + 1)).status_code == 413


def test_queries_are_not_logged(http: httpx.Client, proxy: Proxy) -> None:
    http.get("/v1/models?ticket=abcdefghijk")
    lines = until(lambda: [line for line in proxy.access_log.read_text().splitlines() if "/v1/models" in line])
    assert not [line for line in lines if "abcdefghijk" in line]


def test_a_drain_reaches_clients_through_it(
    zoo_models: Path, tmp_path: Path, certificate: Certificate, trusted: ssl.SSLContext
) -> None:
    with (
        running_server("--models", str(zoo_models), "--trusted-proxies", "127.0.0.1") as server,
        running_nginx(tmp_path, server, certificate) as proxy,
        socket_to(proxy, trusted, STREAM) as socket,
    ):
        socket.ping().wait(5)
        server.terminate()
        assert json.loads(socket.recv(5))["op"] == "goaway"
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert server.wait() == 0
