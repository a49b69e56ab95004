"""What is wrong is refused by the name of its field; the socket stays open and its neighbours notice nothing."""

from typing import Any

import msgpack
import pytest

from .client import ENCODINGS, Stream, encode, open_stream
from .process import Server

DOUBLE = "/v1/models/double/stream"
GOOD = {"id": "good", "data": [1, 2, 3, 4]}
GOOD_ANSWER = {"id": "good", "outputs": {"y": [2, 4, 6, 8]}}
MISSING = object()
MALFORMED_MESSAGES = 4501

each_encoding = pytest.mark.parametrize("encoding", ENCODINGS)

MALFORMED_JSON = {
    "nothing": ("", ""),
    "no JSON": ("hello", ""),
    "cut off": ('{"data":[1,2', ""),
    "more after the end": ('{"data":[1,2,3,4]}}', ""),
    "NaN": ('{"data":[1,2,3,NaN]}', "data[3]: expected a number"),
    "infinity": ('{"data":[1,2,3,-Infinity]}', "data[3]: expected a number"),
    "number out of range": ('{"data":[1,2,3,1e999]}', "data[3]: number out of range"),
    "lone surrogate": ('{"key":"\\ud800"}', ""),
    "too deep": ('{"data":' + "[" * 100_000 + "]" * 100_000 + "}", "the message is nested too deep"),
    "too deep and cut off": ("[" * 500_000, "the message is nested too deep"),
    "a number": ("5", "expected object, got int"),
    "a string": ('"data"', "expected object, got str"),
    "a list in a list": ("[[[1]]]", "expected"),
}

MALFORMED_MSGPACK: dict[str, bytes] = {
    "nothing": b"",
    "no MessagePack": b"\xc1",
    "cut off": b"\x81\xa4data\x94\x01\x02",
    "more after the end": msgpack.packb({"data": [1, 2, 3, 4]}) + b"\x00",
    "text that is not UTF-8": b"\x81\xa4data\xa1\xff",
    "a map as a key": b"\x81\xa4data\x81\x80\x01",
    "a list longer than the frame": b"\xdd\xff\xff\xff\xff",
    "a map longer than the frame": b"\xdf\xff\xff\xff\xff",
    "too deep": b"\x91" * 100_000 + b"\xc0",
    "an extension": msgpack.packb(msgpack.ExtType(5, b"x")),
    "a field without a name": msgpack.packb({"data": [1, 2, 3, 4], 5: 6}),
}

WRONG_MESSAGE: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"dta": 1}, "dta: "),
    "id of a wrong type": ({"id": 1.5}, "id: expected"),
    "id a boolean": ({"id": True}, "id: expected"),
    "id too large": ({"id": 2**63}, "id: expected"),
    "id too long": ({"id": "x" * 257}, "id: expected"),
    "key of a wrong type": ({"key": 5}, "key: expected"),
    "key too long": ({"key": "k" * 257}, "key: expected"),
    "time of a wrong type": ({"ts": "now"}, "ts: expected"),
    "timeout of zero": ({"timeout_ms": 0}, "timeout_ms: expected"),
    "timeout too long": ({"timeout_ms": 1e12}, "timeout_ms: expected"),
    "priority below zero": ({"priority": -1}, "priority: expected"),
    "version of a wrong type": ({"version": [1]}, "version: expected"),
    "another model": ({"model": "sum"}, "model: "),
    "unknown op": ({"op": "shutdown", "id": MISSING, "data": MISSING}, "op: expected"),
    "op of a wrong type": ({"op": 5}, "op: expected"),
    "a message of the server's": ({"op": "pong", "id": MISSING, "data": MISSING}, "op: expected"),
    "reset of a wrong key": ({"op": "reset", "key": 5, "id": MISSING, "data": MISSING}, "key: expected"),
    "reset with an unknown field": ({"op": "reset", "keys": "a", "id": MISSING, "data": MISSING}, "keys: "),
    "ping with an unknown field": ({"op": "ping", "time": 1, "id": MISSING, "data": MISSING}, "time: "),
    "auth without a token": ({"op": "auth", "id": MISSING, "data": MISSING}, "token: "),
}

WRONG_INPUT: dict[str, tuple[Any, str]] = {
    "missing": (MISSING, "data: missing, expected"),
    "null": (None, "data: expected 4 numbers, got null"),
    "a string": ("text", "data: expected 4 numbers, got a string"),
    "too few": ([1, 2, 3], "data: expected 4 numbers, got 3"),
    "too many": ([1, 2, 3, 4, 5], "data: expected 4 numbers, got 5"),
    "none": ([], "data: expected 4 numbers, got 0"),
    "one number": (1, "data: expected 4 numbers, got"),
    "a string among numbers": ([1, 2, "3", 4], "data: expected numbers, got a string"),
    "a boolean among numbers": ([1, 2, True, 4], "data: expected numbers, got a boolean"),
    "null among numbers": ([1, 2, None, 4], "data: expected numbers, got null"),
    "a map among numbers": ([1, 2, {}, 4], "data: expected numbers, got a map"),
    "another shape": ([[1, 2], [3, 4]], "data: expected shape [4], got [2, 2]"),
    "ragged": ([[1, 2, 3], [4]], "data[1]: expected a list of 3, got 1"),
    "another input": ({"z": [1, 2, 3, 4]}, "data"),
    "does not fit the type": ([1e39, 2, 3, 4], "data: the number at element 0 does not fit float32"),
    "shape and data differ": ({"shape": [4], "data": [1, 2, 3]}, "data.data: expected 4 numbers, got 3"),
    "wrong shape": ({"shape": [2, 2], "data": [1, 2, 3, 4]}, "data.shape: expected"),
    "shape of no numbers": ({"shape": "4", "data": [1, 2, 3, 4]}, "data.shape: expected"),
}


def without_missing(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message without its fields that are MISSING."""
    return {name: value for name, value in message.items() if value is not MISSING}


def check_alive(*streams: Stream) -> None:
    """Check that the next good event is answered, and that nothing else comes before."""
    for stream in streams:
        assert stream.ask(GOOD, "json") == GOOD_ANSWER


@pytest.mark.parametrize("case", MALFORMED_JSON)
def test_malformed_json_is_refused(zoo: Server, case: str) -> None:
    payload, expected = MALFORMED_JSON[case]
    with open_stream(zoo, DOUBLE) as neighbour, open_stream(zoo, DOUBLE) as stream:
        stream.send_raw(payload)
        answer = stream.receive()
        assert stream.came_as == "json"
        assert answer["seq"] == 0
        assert (answer["error"]["code"], answer["error"]["retryable"]) == ("invalid_message", False)
        assert answer["error"]["message"].startswith(expected)
        check_alive(stream, neighbour)


@pytest.mark.parametrize("case", MALFORMED_MSGPACK)
def test_malformed_messagepack_is_refused(zoo: Server, case: str) -> None:
    with open_stream(zoo, DOUBLE) as stream:
        stream.send_raw(MALFORMED_MSGPACK[case])
        assert stream.receive()["error"]["code"] == "invalid_message"
        assert stream.came_as == "msgpack"
        check_alive(stream)


@each_encoding
@pytest.mark.parametrize("case", WRONG_MESSAGE)
def test_a_wrong_message_is_refused_by_the_name_of_its_field(zoo: Server, case: str, encoding: str) -> None:
    fields, expected = WRONG_MESSAGE[case]
    with open_stream(zoo, DOUBLE, encoding) as stream:
        answer = stream.ask(without_missing({**GOOD, **fields}))
        assert stream.came_as == encoding
        assert answer["error"]["code"] == "invalid_message"
        assert answer["error"]["message"].startswith(expected)
        assert answer.get("id") == (None if "id" in fields else "good")
        check_alive(stream)


@each_encoding
@pytest.mark.parametrize("case", WRONG_INPUT)
def test_wrong_data_is_refused_with_what_was_expected(zoo: Server, case: str, encoding: str) -> None:
    data, expected = WRONG_INPUT[case]
    with open_stream(zoo, DOUBLE, encoding) as stream:
        answer = stream.ask(without_missing({"id": 5, "key": "k", "data": data}))
        assert (answer["id"], answer["key"]) == (5, "k")
        assert (answer["error"]["code"], answer["error"]["retryable"]) == ("invalid_input", False)
        assert answer["error"]["message"].startswith(expected)
        check_alive(stream)


@pytest.mark.parametrize("size", [0, 3, 15, 17, 32])
def test_a_wrong_number_of_bytes_is_refused(zoo: Server, size: int) -> None:
    with open_stream(zoo, DOUBLE, "msgpack") as stream:
        error = stream.refusal({"data": bytes(size)})
        assert error["message"] == f"data: expected 16 bytes (float32[4]), got {size} bytes"
        check_alive(stream)


@pytest.mark.parametrize(
    "payload",
    [
        encode({"x" * 500_000: 1}, "json"),
        encode({"id": "x" * 500_000}, "json"),
        encode({"op": "x" * 500_000}, "json"),
        encode({"data": {"x" * 500_000: 1}}, "json"),
        encode({"model": "x" * 500_000, "data": 1}, "json"),
        '{"data":' + "[" * 900 + "]" * 900 + "}",
        encode({"data": {"shape": [1] * 100_000, "data": []}}, "json"),
    ],
    ids=["field", "id", "op", "input", "model", "nesting", "shape"],
)
@pytest.mark.parametrize("path", ["/v1/stream", DOUBLE, "/v1/models/sum/stream"])
def test_an_error_is_short_however_long_the_mistake(zoo: Server, path: str, payload: str) -> None:
    with open_stream(zoo, path) as stream:
        stream.send_raw(payload)
        assert len(stream.receive()["error"]["message"]) < 1000


def test_a_list_of_too_many_messages_is_refused_whole(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as stream:
        error = stream.refusal([GOOD] * 1025)
        assert error["code"] == "too_large"
        assert "1024" in error["message"]
        check_alive(stream)


@each_encoding
def test_a_hundred_malformed_messages_in_a_row_close_the_socket(zoo: Server, encoding: str) -> None:
    with open_stream(zoo, DOUBLE, encoding) as neighbour, open_stream(zoo, DOUBLE, encoding) as stream:
        for _ in range(99):
            assert stream.refusal({"dta": 1})["code"] == "invalid_message"
        check_alive(stream)  # starts the count anew
        for _ in range(100):
            assert stream.refusal({"dta": 1})["code"] == "invalid_message"
        assert stream.close_code() == MALFORMED_MESSAGES
        check_alive(neighbour)


def test_a_list_of_malformed_messages_closes_the_socket_too(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as stream:
        stream.send([1] * 200)
        assert [stream.receive()["seq"] for _ in range(100)] == list(range(100))
        assert stream.close_code() == MALFORMED_MESSAGES


def test_wrong_data_is_no_malformed_message(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as stream:
        for _ in range(150):
            assert stream.refusal({"data": [1]})["code"] == "invalid_input"
        check_alive(stream)
