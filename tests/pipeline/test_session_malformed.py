"""A client that sends no messages of the protocol is told each time, and not for ever."""

from collections.abc import Callable

import pytest

from pipeline.codec import JSON, MSGPACK, Refused
from pipeline.errors import InvalidMessage
from pipeline.messages import Failure, Pong
from tests.pipeline.session_parts import Client, FakeModel

BROKEN = b"{"


def send_broken(client: Client, count: int) -> None:
    for _ in range(count):
        client.send_bytes(BROKEN)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b'"text"',
        b"{} {}",
        b'{"data": 1, "dta": 2}',
        b'{"data": 1, "key": 5}',
        b'{"data": 1, "timeout_ms": 0}',
        b'{"data": 1, "timeout_ms": 1e9}',
        b'{"data": 1, "priority": -1}',
        b'{"op": "reset", "id": 1}',
        b'{"op": null, "data": 1, "ts": "now"}',
        b'\xff{"data": 1}',
        b"[" * 5000 + b"]" * 5000,
        b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_what_is_no_message_is_answered_by_invalid_message(payload: bytes) -> None:
    client = Client(FakeModel())
    client.send_bytes(payload)
    assert client.error_codes() == ["invalid_message"]
    assert client.session.event_count == 1
    assert client.outlet.closed == []


def test_a_message_that_is_no_messagepack_is_answered_in_messagepack() -> None:
    client = Client(FakeModel(), codec=MSGPACK)
    client.send_bytes(b"\xc1")
    (sent,) = client.outlet.sent
    assert sent.codec is MSGPACK
    assert client.error_codes() == ["invalid_message"]


def test_a_frame_of_too_many_messages_is_refused_as_one() -> None:
    model = FakeModel()
    client = Client(model)
    client.send_message([{"data": 1}] * 1025)
    assert client.error_codes() == ["too_large"]
    assert model.waiting == []
    client.send_message([{"data": 1}] * 200)
    assert len(model.waiting) == 200


def test_a_bad_message_in_a_list_does_not_take_its_neighbours_with_it() -> None:
    model = FakeModel()
    client = Client(model)
    client.send_bytes(b'[{"data": 1}, 5, {"data": 2, "x": 3, "id": 9}, {"data": 4}]')
    failures = client.read_all(Failure)
    assert [(f.seq, f.id, f.error.code) for f in failures] == [
        (1, None, "invalid_message"),
        (None, 9, "invalid_message"),
    ]
    model.finish()
    assert client.values() == [1.0, 4.0]


def test_one_hundred_malformed_messages_in_a_row_close_the_connection() -> None:
    client = Client(FakeModel())
    send_broken(client, 99)
    assert client.outlet.closed == []
    send_broken(client, 1)
    assert client.outlet.closed == [4501]
    assert client.error_codes() == ["invalid_message"] * 100


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(lambda client: client.send(1), id="good event"),
        pytest.param(lambda client: client.send("no number"), id="event refused for its data"),
        pytest.param(lambda client: client.send_message([{"data": 1}]), id="good event in a list"),
    ],
)
def test_an_event_between_starts_the_count_again(between: Callable[[Client], None]) -> None:
    client = Client(FakeModel())
    send_broken(client, 99)
    between(client)
    send_broken(client, 99)
    assert client.outlet.closed == []
    send_broken(client, 1)
    assert client.outlet.closed == [4501]


def test_a_control_message_between_does_not_start_the_count_again() -> None:
    client = Client(FakeModel())
    send_broken(client, 99)
    client.send_message({"op": "ping"})
    send_broken(client, 1)
    assert client.outlet.closed == [4501]
    assert Pong() in client.read()


def test_a_list_is_not_read_beyond_the_hundredth_malformed_message() -> None:
    model = FakeModel()
    client = Client(model)
    client.send_message([0] * 150 + [{"data": 1}])
    assert client.outlet.closed == [4501]
    assert client.error_codes() == ["invalid_message"] * 100
    assert model.waiting == []


def test_messages_refused_before_decoding_count_too() -> None:
    client = Client(FakeModel())
    refused = Refused(InvalidMessage("expected binary frames"), "an id")
    assert all(client.session.refuse_message(refused, JSON) for _ in range(99))
    assert not client.session.refuse_message(refused, JSON)
    assert client.outlet.closed == [4501]
    assert {failure.id for failure in client.read_all(Failure)} == {"an id"}
