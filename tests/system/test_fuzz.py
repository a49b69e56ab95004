"""Whatever a client sends, each frame gets an answer or a close, and the server's log stays clean."""

import json
import math
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .client import TIMEOUT, Http, Message, Stream, open_stream
from .process import Server
from .raw import connection_to, read_head, send_and_read_to_end, upgrade_request

GOOD = {"id": "the good one", "model": "double", "data": [1, 2, 3, 4]}
GOOD_ANSWER = {"id": "the good one", "outputs": {"y": [2.0, 4.0, 6.0, 8.0]}}
SILENT_OPS = ("reset", "auth")

# All examples of a test share its socket, which is what fixtures here are for.
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=12,
)
packable = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=12))
    | st.builds(msgpack.Timestamp, st.integers(-(2**40), 2**40), st.integers(0, 999_999_999))
)
packable_values = st.recursive(
    packable,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(packable, inner, max_size=6),
    max_leaves=12,
)
models = st.sampled_from(["double", "sum", "fragile", "moving", "wide", "nowhere", ""])


def events(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return messages that look right at first sight, alone and in lists."""
    data = (
        values
        | st.lists(st.floats(width=32), min_size=4, max_size=4)
        | st.integers(-10, 10)
        | st.fixed_dictionaries({"shape": values, "data": values})
        | st.dictionaries(st.sampled_from(["a", "b", "x"]), values)
    )
    fields = {
        "id": values | st.integers(0, 9),
        "key": values | st.sampled_from(["a", "b"]),
        "ts": values,
        "timeout_ms": values | st.floats(),
        "priority": values | st.integers(0, 9),
        "model": models,
        "version": values | st.sampled_from([1, "1", 2]),
        "bogus": values,
    }
    event = st.fixed_dictionaries({"data": data}, optional=fields)
    control = st.fixed_dictionaries(
        {"op": st.sampled_from(["ping", "reset", "auth", "pong", ""])},
        optional={"t": values, "key": values, "model": models | values, "token": values, "id": values},
    )
    message = event | control
    return message | st.lists(message, max_size=5)


texts = st.text(max_size=60) | json_values.map(json.dumps) | events(json_values).map(json.dumps)
binaries = st.binary(max_size=60) | packable_values.map(msgpack.packb) | events(packable_values).map(msgpack.packb)
damaged = st.builds(
    lambda whole, at, octet: whole[: at % len(whole)] + bytes([octet]) + whole[at % len(whole) + 1 :],
    events(packable_values).map(msgpack.packb),
    st.integers(0, 1000),
    st.integers(0, 255),
)


def is_silent(payload: str | bytes) -> bool:
    """Return whether no answer is due: for no message at all, and for some control messages."""
    try:
        value = json.loads(payload) if isinstance(payload, str) else msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, TypeError):
        return False
    messages = value if isinstance(value, list) else [value]
    return all(isinstance(message, dict) and message.get("op") in SILENT_OPS for message in messages)


def answers_to(stream: Stream, payload: str | bytes) -> list[Message]:
    """Send a frame and a good event; return what comes before the good event's answer."""
    stream.send_raw(payload)
    stream.send(GOOD)
    came = []
    while (message := stream.receive()) != GOOD_ANSWER:
        came.append(message)
    return came


@pytest.fixture
def one_model(zoo: Server) -> Iterator[Stream]:
    """Give a socket that all examples of a test share."""
    with open_stream(zoo, "/v1/models/double/stream") as stream:
        yield stream


@pytest.fixture
def many_models(zoo: Server) -> Iterator[Stream]:
    """Give a socket that all examples of a test share."""
    with open_stream(zoo, "/v1/stream") as stream:
        yield stream


@quick
@given(payload=texts | binaries | damaged)
@example(payload=b"\x81\xa4data\x81\x80\x01")
@example(payload=b"\xd6\xff\xff\xff\xff\xff")
@example(payload=msgpack.packb({"op": "ping", "t": {b"\xff": math.nan}}))
def test_every_frame_is_answered_before_the_next(one_model: Stream, payload: str | bytes) -> None:
    assert answers_to(one_model, payload) or is_silent(payload)


@quick
@given(payload=texts | binaries | damaged)
def test_no_frame_for_any_model_harms_the_socket(many_models: Stream, payload: str | bytes) -> None:
    answers_to(many_models, payload)


NESTED = {
    "JSON lists": lambda depth: "[" * depth + "0" + "]" * depth,
    "JSON maps": lambda depth: '{"a":' * depth + "0" + "}" * depth,
    "MessagePack lists": lambda depth: b"\x91" * depth + b"\x00",
    "MessagePack maps": lambda depth: b"\x81\xa1a" * depth + b"\x00",
}


@pytest.mark.parametrize("kind", NESTED)
def test_no_depth_of_nesting_is_too_much_to_answer(one_model: Stream, kind: str) -> None:
    for depth in range(900, 1010, 2):
        nested: Any = NESTED[kind](depth)
        if isinstance(nested, str):
            payloads: list[str | bytes] = [f'{{"op":"ping","t":{nested}}}', f'{{"data":{nested}}}']
        else:
            payloads = [b"\x82\xa2op\xa4ping\xa1t" + nested, b"\x81\xa4data" + nested]
        for payload in payloads:
            one_model.send_raw(payload)
            one_model.send(GOOD)
            one_model.socket.recv(TIMEOUT)  # not decoded: it may be nested deeper than the decoder here can follow
            assert one_model.receive() == GOOD_ANSWER, depth


@quick
@given(octets=st.binary(min_size=1, max_size=200))
def test_any_octets_after_the_handshake_end_the_connection_or_wait_for_more(zoo: Server, octets: bytes) -> None:
    with connection_to(zoo) as connection:
        connection.sendall(upgrade_request(zoo, "/v1/models/double/stream"))
        assert read_head(connection).startswith(b"HTTP/1.1 101 ")
        send_and_read_to_end(connection, octets)


requests = st.builds(
    lambda method, path, name, value: (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\n\r\n".encode()
    ),
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "x"]),
    st.sampled_from(["/", "/v1/stream", "/v1/models/double/predict", "/metrics", "*", "//", "/%00", "/%ff"]),
    st.sampled_from(["Origin", "Upgrade", "Content-Length", "Content-Type", "Accept", "Transfer-Encoding", "Host"]),
    st.sampled_from(["http://[", "chunked", "-1", "1", "x", "", "*/*", "application/msgpack", "websocket", "\x00"]),
)


@quick
@given(octets=st.binary(max_size=200) | requests)
def test_any_octets_instead_of_a_request_end_the_connection(zoo: Server, octets: bytes) -> None:
    with connection_to(zoo) as connection:
        assert b" 500 " not in send_and_read_to_end(connection, octets)[:30]


@quick
@given(
    body=st.binary(max_size=60) | binaries | texts.map(str.encode),
    content_type=st.sampled_from(["application/json", "application/msgpack", "text/plain", ""]),
    accept=st.sampled_from(["*/*", "application/x-ndjson", "text/event-stream"]),
)
def test_any_body_gets_a_response(zoo: Server, body: bytes, content_type: str, accept: str) -> None:
    with Http(zoo) as http:
        headers = {"Content-Type": content_type, "Accept": accept}
        assert http.request("POST", "/v1/models/double/predict", body, headers).status in (200, 400, 404, 413, 503, 504)
