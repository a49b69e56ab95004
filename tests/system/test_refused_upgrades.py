"""Upgrades that are refused: for their origin, their query, or the model that they ask for."""

import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from .client import open_stream
from .conftest import StartServer
from .process import Server
from .raw import connection_to, read_head, upgrade_request

ECHO = "/v1/echo"
DOUBLE = "/v1/models/double/stream"


def status_of(server: Server, origin: str | None) -> int:
    """Return the status with which an upgrade from a page of that origin is answered."""
    try:
        with open_stream(server, ECHO, origin=origin):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def test_a_page_of_the_server_s_own_origin_may_connect(zoo: Server) -> None:
    host, port = zoo.address
    assert status_of(zoo, f"http://{host}:{port}") == 101


def test_a_client_that_is_no_page_may_connect(zoo: Server) -> None:
    assert status_of(zoo, None) == 101


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "null", "file://"])
@pytest.mark.parametrize("path", [ECHO, "/v1/stream", DOUBLE])
def test_a_foreign_page_may_not(zoo: Server, origin: str, path: str) -> None:
    with pytest.raises(InvalidStatus) as raised, open_stream(zoo, path, origin=origin):
        pass
    assert raised.value.response.status_code == 403
    assert b'"forbidden"' in raised.value.response.body


def test_listed_origins_may_and_others_still_may_not(start_server: StartServer) -> None:
    server = start_server("--allowed-origins", "https://one.example", "--allowed-origins", "http://two.example:8000")
    assert status_of(server, "https://one.example") == 101
    assert status_of(server, "http://two.example:8000") == 101
    assert status_of(server, "http://one.example") == 403
    assert status_of(server, "http://two.example") == 403


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "://", "http://a]b", "\xff", "x" * 10_000])
def test_an_origin_that_is_none_is_forbidden(zoo: Server, origin: str) -> None:
    with connection_to(zoo) as connection:
        connection.sendall(upgrade_request(zoo, ECHO, Origin=origin))
        assert read_head(connection).startswith(b"HTTP/1.1 403 ")


def refused(server: Server, path: str) -> tuple[int, dict[str, Any]]:
    """Try to open a stream; return status and error of the refusal."""
    with pytest.raises(InvalidStatus) as raised, open_stream(server, path):
        pass
    response = raised.value.response
    assert response.headers["Content-Type"] == "application/json"
    return response.status_code, json.loads(response.body)["error"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("bogus=1", "bogus"),
        ("timings=2", "timings"),
        ("timings=", "timings"),
        ("reply=some", "reply"),
        ("overflow=maybe", "overflow"),
        ("tensors=raw", "tensors"),
        ("key=" + "k" * 257, "key"),
        ("key=%ff", "key"),
        ("timings=1&Timings=1", "Timings"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/stream", DOUBLE])
def test_a_wrong_query_parameter_is_refused_by_name(zoo: Server, path: str, query: str, named: str) -> None:
    status, error = refused(zoo, f"{path}?{query}")
    assert status == 400
    assert error["code"] == "invalid_message"
    assert error["message"].startswith(named + ":")


def test_a_version_needs_a_model_in_the_path(zoo: Server) -> None:
    status, error = refused(zoo, "/v1/stream?version=1")
    assert (status, error["message"].split(":")[0]) == (400, "version")


@pytest.mark.parametrize("path", ["/v1/models/nowhere/stream", DOUBLE + "?version=2", DOUBLE + "?version=x"])
def test_an_unknown_model_or_version_is_refused_before_the_upgrade(zoo: Server, path: str) -> None:
    status, error = refused(zoo, path)
    assert (status, error["code"], error["retryable"]) == (404, "unknown_model", False)
