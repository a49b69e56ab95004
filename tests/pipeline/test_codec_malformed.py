"""Octets that are no message: always an answer, never an exception, and where it can be the name of the field."""

import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.codec import JSON, MSGPACK, Codec, Refused
from pipeline.errors import InvalidMessage
from pipeline.messages import Control, Event

both = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)

DECODERS: dict[Codec, Callable[[bytes], object]] = {JSON: msgspec.json.decode, MSGPACK: msgspec.msgpack.decode}
DEEP = 100_000


def refusal(codec: Codec, payload: bytes) -> Refused:
    (refused,) = codec.decode_each(payload)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, InvalidMessage)
    return refused


@both
@pytest.mark.parametrize(
    "payload", [b"", b" ", b"\xc1", b"\xff", b"{", b"[", b"\x81", b"\x91", b"\xdd\xff\xff\xff\xff"]
)
def test_what_is_cut_or_no_message_at_all_is_refused(codec: Codec, payload: bytes) -> None:
    assert str(refusal(codec, payload).error)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id":1,}',
        b'{"id":01}',
        b"{'id':1}",
        b'{"id":1} x',
        b'{"id":1}{"id":2}',
        b'[{"id":1}',
        b'[{"id":1},]',
        b"[{]",
        b'{"id":1 "data":2}',
        b'{"data":"\n"}',
        b'{"data":"\\q"}',
        b'{"data":"\\ud800"}',
        b'[{"data":"\\udc00"}]',
        b'\xef\xbb\xbf{"id":1}',
        b"/**/{}",
    ],
)
def test_malformed_json_is_refused(payload: bytes) -> None:
    assert refusal(JSON, payload).id is None


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81\xa2id",
        b"\x81\xa2id\x01\x00",
        b"\x82\xa2id\x01",
        b"\x92\x80",
        b"\x81\xa4data\xc6\xff\xff\xff\xff",
        b"\x81\xa4data\xdf\xff\xff\xff\xff",
    ],
)
def test_malformed_msgpack_is_refused(payload: bytes) -> None:
    assert refusal(MSGPACK, payload).id is None


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{"data":NaN}', "data: expected a number, got NaN"),
        (b'{"id":1,"data":[0,1,NaN]}', "data[2]: expected a number, got NaN"),
        (b'{"data":{"x":[1,{"y":-Infinity}]}}', "data.x[1].y: expected a number, got -Infinity"),
        (b'{"data":[1,[Infinity,NaN],NaN],"ts":NaN}', "data[1][0]: expected a number, got Infinity"),
        (b'{"data":{"b":-Infinity,"a":NaN},"ts":NaN}', "data.b: expected a number, got -Infinity"),
        (b'{"ts":Infinity,"data":"NaN"}', "ts: expected a number, got Infinity"),
        (b'[{"id":1},{"data":[[NaN]]}]', "[1].data[0][0]: expected a number, got NaN"),
        (b'{"data":{"\\ud800":NaN}}', "data.?: expected a number, got NaN"),
    ],
)
def test_the_first_number_that_json_does_not_have_is_named(payload: bytes, message: str) -> None:
    text = str(refusal(JSON, payload).error)
    assert text == f"{message}, which JSON does not have"
    assert text.encode()


def test_nan_in_otherwise_malformed_json_is_just_malformed() -> None:
    assert "malformed" in str(refusal(JSON, b'{"data":[NaN,}').error)


@pytest.mark.parametrize("number", ["1" * 5000, "1e999", "-1e400"])
def test_numbers_out_of_range_name_the_field(number: str) -> None:
    refused = refusal(JSON, b'{"id":1,"data":[0,%s]}' % number.encode())
    assert str(refused.error).startswith("data[1]: ")
    assert str(refused.error).endswith("out of range")
    assert refused.id == 1


@pytest.mark.parametrize(
    "payload",
    [
        b'{"data":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"data":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
        b"[" * DEEP + b"]" * DEEP,
        b"[" * DEEP,
        b'[{"op":"ping","t":' + b"[" * DEEP + b"]" * DEEP + b"}]",
        b'{"data":[NaN,' + b"[" * DEEP + b"]" * DEEP + b"]}",
    ],
)
def test_json_nested_too_deep_is_refused(payload: bytes) -> None:
    assert str(refusal(JSON, payload).error)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81\xa4data" + b"\x91" * DEEP + b"\x01",
        b"\x91" * DEEP + b"\x80",
        b"\x81\xa4data" + b"\x81\xa1a" * DEEP + b"\1",
    ],
)
def test_msgpack_nested_too_deep_is_refused(payload: bytes) -> None:
    assert str(refusal(MSGPACK, payload).error) == "the message is nested too deep"


@pytest.mark.parametrize(
    "payload",
    [
        b"\x82\xa2id\x01\xa4data\xa1\xff",
        b"\x82\xa2id\x01\xa3key\xa3\xed\xa0\x80",
        b"\x82\xa2id\x01\xa4data\x91\xa2\xc0\xaf",
        b"\x82\xa2id\x01\xa4data\x81\xa1\xff\x01",
    ],
)
def test_invalid_utf8_in_msgpack_strings_is_refused_with_the_id(payload: bytes) -> None:
    refused = refusal(MSGPACK, payload)
    assert (str(refused.error), refused.id) == ("a string is not valid UTF-8", 1)
    neighbour, _ = MSGPACK.decode_each(b"\x92\x80" + payload)
    assert neighbour == Event()


@pytest.mark.parametrize("payload", [b'{"key":"\xff","id":1}', b'{"data":"\xc0\xaf","id":1}'])
def test_invalid_utf8_in_json_is_refused_with_the_id(payload: bytes) -> None:
    refused = refusal(JSON, payload)
    assert (str(refused.error), refused.id) == ("a string is not valid UTF-8", 1)


@pytest.mark.parametrize(
    "key", [b"\x01", b"\xc0", b"\xc3", b"\xa1\xff", b"\xc4\x01a", b"\x90", b"\x80", b"\xcb" + bytes(8)]
)
def test_msgpack_maps_whose_keys_are_no_names_are_refused(key: bytes) -> None:
    assert str(refusal(MSGPACK, b"\x81" + key + b"\x01").error)


def test_msgpack_maps_with_keys_that_cannot_be_keys_are_refused() -> None:
    assert str(refusal(MSGPACK, b"\x81\xa4data\x81\x80\x01").error)
    assert str(refusal(MSGPACK, b"\x81\xa4data\x81\x91\x80\x01").error)


def test_msgpack_extensions_are_left_to_the_model_to_refuse() -> None:
    (event,) = MSGPACK.decode_each(b"\x81\xa4data\xd4\x05a")
    assert isinstance(event, Event)
    assert isinstance(event.data, msgspec.msgpack.Ext)


@pytest.mark.parametrize("extension", [b"\xd4\x05a", b"\xd6\xff\xff\xff\xff\xff"])
@pytest.mark.parametrize("field", ["id", "key", "ts", "timeout_ms", "priority", "model", "version", "op"])
def test_msgpack_extensions_are_no_values_of_other_fields(extension: bytes, field: str) -> None:
    payload = b"\x81" + msgspec.msgpack.encode(field) + extension
    assert str(refusal(MSGPACK, payload).error).startswith(f"{field}: expected ")


def test_a_wrong_timestamp_extension_names_the_field() -> None:
    assert str(refusal(MSGPACK, b"\x81\xa4data\xd5\xff\x00\x00").error).startswith("data: ")


OCTETS = [bytes([octet]) for octet in b'{}[]:,"\\ 0-e.\xff\x00\x80\x91\xc1\xd4\xdf']
WORDS = rb'"id" "data" "op" "ping" NaN -Infinity 1e999 null \ud800'.split()
PIECES = st.sampled_from([*OCTETS, *WORDS, b"\xa2id", b"\xa4data"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)
NAMES = st.sampled_from([*Event.__struct_fields__, "t", "token", "other"])
MAPS = st.dictionaries(NAMES, st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3)), max_size=4)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Codec, bytes]:
    """Draw a message, or a list of them, in which some octets were replaced."""
    codec, encode = draw(st.sampled_from([(JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)]))
    payload = encode(draw(MAPS | st.lists(MAPS, max_size=3)))
    for piece in draw(st.lists(PIECES, max_size=3)):
        at = draw(st.integers(0, len(payload)))
        payload = payload[:at] + piece + payload[at + draw(st.integers(0, 3)) :]
    return codec, payload


def check(codec: Codec, payload: bytes) -> None:
    messages = codec.decode_each(payload)
    assert messages or DECODERS[codec](payload) == []
    for message in messages:
        assert isinstance(message, Event | Control | Refused)
        if isinstance(message, Refused):
            assert str(message.error)
            assert len(str(message.error)) < 400
            assert str(message.error).encode()


@given(damaged())
@example((JSON, b'[{"\xffdata":null}]'))
def test_damaged_messages_never_raise(case: tuple[Codec, bytes]) -> None:
    check(*case)


@given(st.sampled_from([JSON, MSGPACK]), st.binary(max_size=80) | st.lists(PIECES, max_size=12).map(b"".join))
def test_arbitrary_octets_never_raise(codec: Codec, payload: bytes) -> None:
    check(codec, payload)


@both
def test_a_field_with_a_long_name_is_refused_in_no_time(codec: Codec) -> None:
    """Matched as a whole, its million characters kept the event loop for 50 ms."""
    payload = codec.encode({"x" * 1_000_000: 1})  # type: ignore[arg-type]
    started = time.process_time()
    message = str(refusal(codec, payload).error)
    assert time.process_time() - started < 0.02
    assert message.startswith("xxx")
    assert ": unknown field, expected one of " in message
    assert len(message) < 500
