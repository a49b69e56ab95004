"""Bytes to messages: what is understood, and what is said of the rest. Everything holds in both encodings."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import CODECS, JSON, MAX_MESSAGES_PER_FRAME, MAX_ORDERS_PER_FRAME, MSGPACK, Codec, Refused
from pipeline.errors import InvalidMessage, TooLarge
from pipeline.messages import Auth, Control, Event, Ping, Reset

ENCODERS: dict[Codec, Callable[[Any], bytes]] = {JSON: msgspec.json.encode, MSGPACK: msgspec.msgpack.encode}

both = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)


def decode(codec: Codec, message: Any) -> list[Event | Control | Refused]:
    return codec.decode_each(ENCODERS[codec](message))


def refusal(codec: Codec, payload: bytes) -> Refused:
    (refused,) = codec.decode_each(payload)
    assert isinstance(refused, Refused)
    return refused


FULL = {
    "id": 7,
    "data": [0.5, 1],
    "key": "sensor-17",
    "ts": 1763683200.25,
    "timeout_ms": 50,
    "priority": 3,
    "model": "m",
    "version": 2,
}


def test_there_is_a_codec_for_each_subprotocol() -> None:
    assert CODECS == {"waterspout.v1.json": JSON, "waterspout.v1.msgpack": MSGPACK}
    assert [(codec.media_type, codec.is_text) for codec in CODECS.values()] == [
        ("application/json", True),
        ("application/msgpack", False),
    ]
    assert repr(JSON) == "<Codec json>"


@both
def test_an_event_has_all_its_fields(codec: Codec) -> None:
    (event,) = decode(codec, FULL)
    assert isinstance(event, Event)
    assert {name: getattr(event, name) for name in FULL} == FULL
    assert codec.decode_event(ENCODERS[codec](FULL)) == event


@both
def test_an_event_may_have_none_of_them(codec: Codec) -> None:
    assert decode(codec, {}) == [Event()]
    assert decode(codec, dict.fromkeys(("id", "key", "ts", "timeout_ms", "priority", "model", "op"))) == [Event()]


@both
@pytest.mark.parametrize("event_id", [0, -(2**63), 2**63 - 1, "", "x" * 256, "\x00 ☃"])
def test_an_id_is_an_integer_of_64_bits_or_a_string_of_256_characters(codec: Codec, event_id: int | str) -> None:
    assert decode(codec, {"id": event_id}) == [Event(id=event_id)]


@both
@pytest.mark.parametrize(
    ("message", "control"),
    [
        ({"op": "ping"}, Ping()),
        ({"op": "ping", "t": {"any": [1, None]}}, Ping({"any": [1, None]})),
        ({"t": 1, "op": "ping"}, Ping(1)),
        ({"op": "reset"}, Reset()),
        ({"op": "reset", "key": "k", "model": "m"}, Reset("k", "m")),
        ({"op": "auth", "token": "t"}, Auth("t")),
    ],
)
def test_a_message_with_an_operation_is_a_control_message(codec: Codec, message: Any, control: Control) -> None:
    assert decode(codec, message) == [control]


@both
def test_a_list_holds_events_and_control_messages(codec: Codec) -> None:
    expected = [Event(id=1, data=2), Ping(3), Event(id=4)]
    assert decode(codec, [{"id": 1, "data": 2}, {"op": "ping", "t": 3}, {"id": 4}]) == expected
    assert decode(codec, []) == []


def test_json_may_have_space_around_it() -> None:
    assert JSON.decode_each(b' \r\n\t[ {"id" : 1} ] \n') == JSON.decode_each(b'\n{"id":1} ') == [Event(id=1)]


@pytest.mark.parametrize("head", [b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"])
def test_msgpack_lists_may_have_any_head(head: bytes) -> None:
    assert MSGPACK.decode_each(head + b"\x81\xa2id\x05") == [Event(id=5)]


@both
def test_a_list_has_a_bound(codec: Codec) -> None:
    assert len(decode(codec, [{}] * MAX_MESSAGES_PER_FRAME)) == MAX_MESSAGES_PER_FRAME
    refused = refusal(codec, ENCODERS[codec]([{}] * (MAX_MESSAGES_PER_FRAME + 1)))
    assert isinstance(refused.error, TooLarge)
    assert str(refused.error) == "a frame may hold 1024 messages, got 1025"


@both
def test_a_list_of_orders_has_a_lower_one(codec: Codec) -> None:
    orders = [{"op": "ping"}] * MAX_ORDERS_PER_FRAME
    assert len(codec.decode_orders(ENCODERS[codec](orders))) == 32
    (refused,) = codec.decode_orders(ENCODERS[codec]([*orders, orders[0]]))
    assert isinstance(refused, Refused)
    assert str(refused.error) == "a frame may hold 32 messages, got 33"


FIELD_ERRORS: dict[str, list[Any]] = {
    "id": [1.5, True, [1], {}, 2**63, "x" * 257],
    "key": [1, "x" * 257, ["k"]],
    "ts": ["now", True],
    "timeout_ms": [0, -1, 86_400_001, "50", True],
    "priority": [-1, 256, 1.5, "high"],
    "model": [1, ["m"]],
    "version": [1.5, True],
}


@both
@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in FIELD_ERRORS for value in FIELD_ERRORS[field]]
)
def test_a_field_of_the_wrong_type_or_size_is_named(codec: Codec, field: str, value: Any) -> None:
    refused = refusal(codec, ENCODERS[codec]({"data": 1, field: value}))
    assert isinstance(refused.error, InvalidMessage)
    assert str(refused.error).startswith(f"{field}: expected ")
    assert "`" not in str(refused.error)


@both
@pytest.mark.parametrize("field", ["dat", "Data", "a`b", "data - at `$.x`", "☃"])
def test_an_unknown_field_is_named_beside_the_known_ones(codec: Codec, field: str) -> None:
    refused = refusal(codec, ENCODERS[codec]({"id": 5, field: 1}))
    assert str(refused.error).startswith(f"{field}: unknown field, expected ")
    assert str(refused.error).endswith(", ".join(Event.__struct_fields__))
    assert refused.id == 5


@both
def test_a_long_unknown_field_is_cut(codec: Codec) -> None:
    assert len(str(refusal(codec, ENCODERS[codec]({"x" * 100_000: 1})).error)) < 300


@both
@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"op": "dance"}, "op: expected one of auth, reset, ping"),
        ({"op": 5}, "op: expected str"),
        ({"op": "ping", "tt": 1}, "tt: unknown field"),
        ({"op": "ping", "id": 1}, "id: unknown field"),
        ({"op": "ping", "data": 1}, "data: unknown field"),
        ({"op": "reset", "key": 1}, "key: expected str"),
        ({"op": "reset", "key": "k" * 257}, "key: expected str of length <= 256"),
        ({"op": "auth", "token": 1}, "token: expected str, got int"),
        ({"op": "auth"}, "token: missing"),
    ],
)
def test_a_wrong_control_message_names_the_field(codec: Codec, message: Any, text: str) -> None:
    assert str(refusal(codec, ENCODERS[codec](message)).error).startswith(text)


@both
@pytest.mark.parametrize(("value", "name"), [(1, "int"), ("s", "str"), (1.5, "float"), (True, "bool")])
def test_what_is_no_map_is_refused(codec: Codec, value: Any, name: str) -> None:
    assert str(refusal(codec, ENCODERS[codec](value)).error) == f"expected object, got {name}"
    assert str(refusal(codec, ENCODERS[codec]([value])).error) == f"expected object, got {name}"


@both
def test_a_list_within_a_list_is_refused(codec: Codec) -> None:
    assert isinstance(refusal(codec, ENCODERS[codec]([[{"id": 1}]])), Refused)


BAD_NEIGHBOURS: list[Any] = [5, None, [], [{"id": 9}], {"id": 1.5}, {"unknown": 1}, {"op": "dance"}, {"op": "auth"}]


@both
@pytest.mark.parametrize("bad", BAD_NEIGHBOURS, ids=repr)
def test_a_bad_message_does_not_take_its_neighbours_with_it(codec: Codec, bad: Any) -> None:
    first, refused, ping, last = decode(codec, [{"id": 1}, bad, {"op": "ping"}, {"id": 2}])
    assert (first, ping, last) == (Event(id=1), Ping(), Event(id=2))
    assert isinstance(refused, Refused)


@both
@pytest.mark.parametrize("event_id", [0, -5, "seven"])
@pytest.mark.parametrize(
    "bad", [{"key": 5}, {"unknown": None}, {"op": 5}, {"op": "dance"}, {"op": "ping", "x": 1}], ids=repr
)
def test_a_refusal_is_addressed_to_the_id(codec: Codec, event_id: int | str, bad: dict[str, Any]) -> None:
    assert refusal(codec, ENCODERS[codec]({"id": event_id, **bad})).id == event_id
    assert refusal(codec, ENCODERS[codec]({**bad, "id": event_id})).id == event_id


@both
@pytest.mark.parametrize("bad", [{"id": 1.5}, {"id": "x" * 257}, {"id": 2**63}, {"key": 5}], ids=repr)
def test_a_refusal_without_a_usable_id_has_none(codec: Codec, bad: dict[str, Any]) -> None:
    assert refusal(codec, ENCODERS[codec](bad)).id is None


def test_the_last_of_equal_keys_counts() -> None:
    assert JSON.decode_each(b'{"id":1,"id":2}') == [Event(id=2)]
    assert MSGPACK.decode_each(b"\x82\xa2id\x01\xa2id\x02") == [Event(id=2)]


@both
@pytest.mark.parametrize("data", [[1, 2.5], [], 3, -0.5])
def test_events_that_hold_numbers_are_decoded_in_one_pass(codec: Codec, data: Any) -> None:
    event = codec.decode_numbers(ENCODERS[codec]({**FULL, "data": data}))
    assert {name: getattr(event, name) for name in FULL} == {**FULL, "data": data}


@both
@pytest.mark.parametrize("data", [[True], ["1"], [[1]], {"shape": [1], "data": [1]}, None, "AACAPw=="], ids=repr)
def test_events_that_hold_anything_else_are_left_to_the_other_decoder(codec: Codec, data: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        codec.decode_numbers(ENCODERS[codec]({"data": data}))


def test_bytes_are_numbers_too_where_the_encoding_has_bytes() -> None:
    assert MSGPACK.decode_numbers(msgspec.msgpack.encode({"data": b"\0\1"})).data == b"\0\1"


FLOATS = st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60), max_size=9)


@given(st.sampled_from([JSON, MSGPACK]), FLOATS)
def test_both_decoders_of_an_event_agree(codec: Codec, numbers: list[float]) -> None:
    payload = ENCODERS[codec]({"id": 1, "data": numbers})
    event, quick = codec.decode_event(payload), codec.decode_numbers(payload)
    assert (quick.id, quick.data) == (event.id, [float(number) for number in event.data])


def test_msgpack_data_may_be_bytes_and_nan() -> None:
    assert MSGPACK.decode_each(msgspec.msgpack.encode({"data": b"\0\1"})) == [Event(b"\0\1")]
    (event,) = MSGPACK.decode_each(msgspec.msgpack.encode({"data": [math.nan, math.inf]}))
    assert isinstance(event, Event)
    assert math.isnan(event.data[0])
    assert event.data[1] == math.inf
