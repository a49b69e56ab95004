"""The wire's vocabulary as a client sees it: the very octets."""

import math

import msgspec
import numpy as np
import pytest

from pipeline.codec import JSON, MSGPACK
from pipeline.messages import (
    BatchingInfo,
    ErrorBody,
    Failure,
    Gap,
    Goaway,
    Limits,
    ModelInfo,
    Pong,
    Prediction,
    ServerMessage,
    TensorInfo,
    Welcome,
    WindowInfo,
)

X = TensorInfo("x", "float32", [None, 6])
MODEL = ModelInfo("m", "1", "ready", [X], [], BatchingInfo(64, 16384, 0), WindowInfo(100, 10), {"y": ["sit", "walk"]})
WIRE: list[tuple[ServerMessage, str]] = [
    (
        Prediction(id=7, outputs={"scores": [0.25, 0.75]}, label="walking"),
        '{"id":7,"outputs":{"scores":[0.25,0.75]},"label":"walking"}',
    ),
    (
        Prediction(seq=0, key="k", outputs={}, us={"queue": 1, "run": 2, "batch": 3}),
        '{"seq":0,"key":"k","outputs":{},"us":{"queue":1,"run":2,"batch":3}}',
    ),
    (Prediction(id="", outputs={"y": 1}, label={"a": "b"}), '{"id":"","outputs":{"y":1},"label":{"a":"b"}}'),
    (
        Failure(id=8, error=ErrorBody("invalid_input", "data: expected 6 numbers, got 5", False)),
        '{"id":8,"error":{"code":"invalid_input","message":"data: expected 6 numbers, got 5","retryable":false}}',
    ),
    (
        Failure(seq=3, key="k", error=ErrorBody("overloaded", "full", True, 100)),
        '{"seq":3,"key":"k","error":{"code":"overloaded","message":"full","retryable":true,"retry_after_ms":100}}',
    ),
    (Pong(), '{"op":"pong","t":null}'),
    (Pong([1]), '{"op":"pong","t":[1]}'),
    (Gap(2, "overflow", "k"), '{"op":"gap","count":2,"why":"overflow","key":"k"}'),
    (Gap(2, "idle", model="m"), '{"op":"gap","count":2,"why":"idle","model":"m"}'),
    (Goaway("shutting down", 500), '{"op":"goaway","reason":"shutting down","reconnect_in_ms":500}'),
    (
        Welcome("s", "1", Limits(1024, 16), model=MODEL),
        '{"op":"welcome","server":"s","session":"1","limits":{"max_message_bytes":1024,"max_in_flight":16},'
        '"model":{"name":"m","version":"1","state":"ready",'
        '"inputs":[{"name":"x","dtype":"float32","shape":[null,6]}],'
        '"batching":{"max_batch_size":64,"max_queue_size":16384,"max_queue_delay_microseconds":0},'
        '"window":{"length":100,"hop":10},"labels":{"y":["sit","walk"]}}}',
    ),
    (
        Welcome("s", "1", Limits(1, 1), models=[ModelInfo("m", "1", "failed", reason="broken")]),
        '{"op":"welcome","server":"s","session":"1","limits":{"max_message_bytes":1,"max_in_flight":1},'
        '"models":[{"name":"m","version":"1","state":"failed","reason":"broken"}]}',
    ),
]


@pytest.mark.parametrize(("message", "text"), WIRE, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_a_message_says_the_same_in_json_and_msgpack(message: ServerMessage, text: str) -> None:
    assert JSON.encode(message).decode() == text
    assert msgspec.msgpack.decode(MSGPACK.encode(message)) == msgspec.json.decode(text)


def test_many_messages_are_one_list() -> None:
    assert JSON.encode([Pong(1), Pong(2)]) == b'[{"op":"pong","t":1},{"op":"pong","t":2}]'
    assert msgspec.msgpack.decode(MSGPACK.encode([Pong(1)])) == [{"op": "pong", "t": 1}]


def test_json_has_null_where_a_number_is_not_finite() -> None:
    assert JSON.encode(Prediction(id=1, outputs={"y": [math.nan, math.inf, 1.0]})) == (
        b'{"id":1,"outputs":{"y":[null,null,1.0]}}'
    )


def test_msgpack_has_bytes_where_json_has_numbers() -> None:
    octets = np.array([0.5, 2], np.float32).tobytes()
    assert msgspec.msgpack.decode(MSGPACK.encode(Prediction(id=1, outputs={"y": octets}))) == {
        "id": 1,
        "outputs": {"y": octets},
    }
