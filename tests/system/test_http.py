"""The HTTP doors: health, models, and what all of them say to requests that are wrong."""

import contextlib
import json
from typing import Any

import pytest

from .client import Http, get, post
from .process import Server
from .raw import connection_to, read_to_end

PREDICT = "/v1/models/double/predict"
ROW = [1, 2, 3, 4]
MSGPACK = {"Content-Type": "application/msgpack"}


def exchange(server: Server, request: bytes) -> bytes:
    """Send a request as it is, asking the server to end the connection; return all that comes."""
    with connection_to(server) as connection:
        connection.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        return read_to_end(connection)


def test_health_and_readiness(zoo: Server) -> None:
    health, ready = get(zoo, "/healthz"), get(zoo, "/readyz")
    assert (health.status, health.json) == (200, {"live": True})
    assert ready.status == 200
    assert (ready.json["ready"], ready.json["status"], ready.json["models"]["broken"]) == (True, "ready", [])
    assert "double" in ready.json["models"]["ready"]


def test_models_are_described(shipped: Server) -> None:
    models = get(shipped, "/v1/models").json["models"]
    assert [model["name"] for model in models] == ["activity", "host"]
    one = get(shipped, "/v1/models/activity")
    assert one.status == 200
    assert one.json == models[0]
    assert one.json["inputs"] == [{"name": "samples", "dtype": "float32", "shape": [100, 6]}]
    assert one.json["window"] == {"length": 100, "hop": 10}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/nowhere", "unknown_model"),
        ("/nowhere", "invalid_message"),
        ("/v1/models/", "invalid_message"),
        ("/v1/models/double/nothing", "invalid_message"),
        ("/v3/health/live", "invalid_message"),
        ("/../server.py", "invalid_message"),
    ],
)
def test_what_is_not_there_is_a_404_in_json(zoo: Server, path: str, code: str) -> None:
    reply = get(zoo, path)
    assert (reply.status, reply.error["code"]) == (404, code)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/healthz"), ("GET", PREDICT), ("DELETE", "/v1/models/double"), ("PUT", PREDICT)]
)
def test_the_wrong_method_is_a_405_in_json(zoo: Server, method: str, path: str) -> None:
    with Http(zoo) as http:
        reply = http.request(method, path)
    assert (reply.status, reply.error["code"]) == (405, "invalid_message")


def test_a_connection_is_kept_for_further_requests_whatever_their_outcome(zoo: Server) -> None:
    with Http(zoo) as http:
        for _ in range(3):
            assert http.request("POST", PREDICT, json.dumps({"data": ROW})).status == 200
            assert http.request("POST", PREDICT, "{").status == 400
            assert http.request("GET", "/nowhere").status == 404
            assert http.request("POST", PREDICT, b"\xc1", MSGPACK).status == 400
        assert http.connection.sock is not None


REFUSED: dict[str, tuple[str, Any, int, str, str]] = {
    "unknown model": ("/v1/models/nowhere/predict", {"data": ROW}, 404, "unknown_model", "model: "),
    "unknown version": (PREDICT + "?version=7", {"data": ROW}, 404, "unknown_model", "version: "),
    "another model": (PREDICT, {"data": ROW, "model": "sum"}, 400, "invalid_message", "model: "),
    "unknown parameter": (PREDICT + "?bogus=1", {"data": ROW}, 400, "invalid_message", "bogus: "),
    "parameter of streams": (PREDICT + "?reply=none", {"data": ROW}, 400, "invalid_message", "reply: "),
    "wrong parameter": (PREDICT + "?timings=yes", {"data": ROW}, 400, "invalid_message", "timings: "),
    "wrong count": (PREDICT, {"data": [1]}, 400, "invalid_input", "data: "),
    "unknown field": (PREDICT, {"dta": ROW}, 400, "invalid_message", "dta: "),
    "no event": (PREDICT, [], 400, "invalid_message", ""),
    "a control message": (PREDICT, {"op": "ping"}, 400, "invalid_message", ""),
    "past its deadline": ("/v1/models/slow/predict", {"data": 1, "timeout_ms": 1e-6}, 504, "deadline_exceeded", ""),
    "failing row": ("/v1/models/fragile/predict", {"data": 99}, 500, "inference_failed", "the model failed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_the_status_of_its_code(zoo: Server, case: str) -> None:
    path, message, status, code, named = REFUSED[case]
    reply = post(zoo, path, message)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert reply.error["message"].startswith(named)
    assert (reply.headers["Retry-After"] is not None) == reply.error["retryable"]


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "application/xml"])
def test_an_unsupported_content_type_is_refused_by_name(zoo: Server, content_type: str) -> None:
    with Http(zoo) as http:
        reply = http.request("POST", PREDICT, json.dumps({"data": ROW}), {"Content-Type": content_type})
    assert (reply.status, reply.error["code"]) in [(400, "invalid_message"), (415, "invalid_message")]
    assert reply.error["message"].startswith("Content-Type: ")


@pytest.mark.parametrize(
    "body",
    ["", "{", '{"data":[NaN,1,2,3]}', "null", "[", "[" * 100_000],
    ids=["nothing", "cut off", "NaN", "null", "list cut off", "too deep"],
)
def test_a_malformed_body_is_refused(zoo: Server, body: str) -> None:
    with Http(zoo) as http:
        reply = http.request("POST", PREDICT, body)
    assert reply.status == 400
    assert reply.error["code"] == "invalid_message"


BODIES = {
    "announced": (b"Content-Length: 1048577\r\n\r\n", b" " * 4096),
    "announced far larger": (b"Content-Length: 99999999999\r\n\r\n", b" " * 4096),
    "in chunks": (b"Transfer-Encoding: chunked\r\n\r\n", (b"10000\r\n" + b" " * 65536 + b"\r\n") * 17),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_is_too_large_is_refused(zoo: Server, case: str) -> None:
    header, body = BODIES[case]
    with connection_to(zoo) as connection:
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n".encode() + header)
        with contextlib.suppress(ConnectionError):  # the server need not read it all
            connection.sendall(body)
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"too_large"' in answer


@pytest.mark.parametrize("length", [b"abc", b"-1", b"5, 5", b"5, 6", b"+5", b"0x5", b"9" * 30, b""])
def test_a_content_length_that_is_none_is_the_client_s_fault(zoo: Server, length: bytes) -> None:
    answer = exchange(
        zoo, f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ".encode() + length + b"\r\n\r\n{   }"
    )
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


@pytest.mark.parametrize("path", ["/v1/models/%ff/predict", PREDICT + "?key=%ff", "/%ff"])
def test_a_path_that_is_not_utf_8_is_the_client_s_fault(zoo: Server, path: str) -> None:
    assert post(zoo, path, {"data": ROW}).status in (400, 404)


def test_a_header_that_is_too_large_is_refused(zoo: Server) -> None:
    answer = exchange(zoo, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"x" * 100_000 + b"\r\n\r\n")
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
