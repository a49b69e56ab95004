"""What an answer carries: timings, labels, numbers or bytes; and when it is an error instead."""

import math
import struct
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.codec import JSON, MSGPACK, Codec
from pipeline.errors import (
    ConfigError,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    InvalidMessage,
    ModelUnavailable,
    Overloaded,
    ShuttingDown,
    TooLarge,
    UnknownModel,
    WaterspoutError,
)
from pipeline.interfaces import SessionOptions
from pipeline.messages import Failure, Pong, Prediction
from pipeline.results import BatchResult
from pipeline.stream import encode_unencodable, failure
from pipeline.tensors import DTYPES, TensorSpec
from tests.pipeline.session_parts import Client, FakeModel, limited, value_of


@pytest.mark.parametrize(
    ("timeout_ms", "default", "waits"),
    [
        (None, math.inf, math.inf),
        (None, 0.25, 0.25),
        (50, math.inf, 0.05),
        (0.5, 0.25, 0.0005),
        (1000, 0.25, 1.0),
        (86_400_000, math.inf, 86_400.0),
    ],
)
def test_the_deadline_is_the_events_timeout_or_the_models(
    timeout_ms: float | None, default: float, waits: float
) -> None:
    model = FakeModel()
    model.default_timeout = default
    client = Client(model)
    client.now = 1000.0
    client.send(1, **({} if timeout_ms is None else {"timeout_ms": timeout_ms}))
    (job,) = model.waiting
    assert job.deadline == pytest.approx(1000.0 + waits)
    assert job.enqueued_at == 1000.0


def test_timings_are_microseconds_in_the_queue_of_the_run_and_the_rows_of_the_batch() -> None:
    model = FakeModel()
    client = Client(model, options=SessionOptions(timings=True))
    client.now = 10.0
    client.send(1)
    client.now = 10.5
    client.send(2)
    model.finish(*model.start(), run=10.75)
    assert [answer.us for answer in client.predictions()] == [
        {"queue": 750_000, "run": 2000, "batch": 2},
        {"queue": 250_000, "run": 2000, "batch": 2},
    ]


def test_timings_come_only_where_they_were_asked_for() -> None:
    model = FakeModel()
    client = Client(model)
    client.send(1)
    model.finish()
    assert [answer.us for answer in client.predictions()] == [None]


def test_reply_none_leaves_predictions_out_and_nothing_else() -> None:
    model = FakeModel()
    client = Client(model, options=SessionOptions(silent=True))
    for value in (0, 1, 2):
        client.send(value)
    client.send("no number")
    client.send_message({"op": "ping"})
    first, second, third = model.start()
    model.finish(second)
    model.finish(first)
    model.fail(third, InferenceFailed("bad row"))
    refused, pong, failed = client.read()
    assert isinstance(refused, Failure)
    assert isinstance(pong, Pong)
    assert isinstance(failed, Failure)
    assert (refused.seq, failed.seq) == (3, 2)
    assert client.session.in_flight == 0


@pytest.mark.parametrize(
    ("codec", "lists", "expected"),
    [
        (JSON, False, 2.5),
        (JSON, True, 2.5),
        (MSGPACK, True, 2.5),
        (MSGPACK, False, struct.pack("<d", 2.5)),
    ],
)
def test_outputs_are_bytes_in_messagepack_unless_lists_were_asked_for(codec: Codec, lists: bool, expected: Any) -> None:
    model = FakeModel()
    client = Client(model, options=SessionOptions(lists=lists), codec=codec)
    client.send(2.5)
    model.finish()
    assert client.values() == [expected]


def test_one_batch_answers_each_connection_as_it_asked() -> None:
    model = FakeModel()
    numbers, raw = Client(model), Client(model, codec=MSGPACK)
    numbers.send(1)
    raw.send(2)
    raw.send_message({"data": struct.pack("<d", 3)})
    model.finish(*model.start())
    assert numbers.values() == [1.0]
    assert raw.values() == [struct.pack("<d", 2), struct.pack("<d", 3)]


def test_a_prediction_carries_its_rows_label() -> None:
    model = FakeModel()
    client = Client(model)
    client.send(1)
    model.finish(*model.start(), labels={"y": ["only"]})
    assert [answer.label for answer in client.predictions()] == ["only"]


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (InvalidMessage("why"), "invalid_message", False),
        (InvalidInput("why"), "invalid_input", False),
        (TooLarge("why"), "too_large", False),
        (UnknownModel("why"), "unknown_model", False),
        (ModelUnavailable("why"), "model_unavailable", True),
        (Overloaded("why"), "overloaded", True),
        (DeadlineExceeded("why"), "deadline_exceeded", True),
        (InferenceFailed("why"), "inference_failed", False),
        (ShuttingDown("why"), "shutting_down", True),
        (ConfigError("why"), "model_unavailable", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, WaterspoutError) else "",
)
def test_an_error_says_what_happened_and_whether_to_try_again(
    error: WaterspoutError, code: str, retryable: bool
) -> None:
    body = failure(error, None, 4, "k").error
    assert (body.code, body.message, body.retryable) == (code, "why", retryable)
    assert (body.retry_after_ms is not None) == isinstance(error, Overloaded)


def test_an_error_without_an_id_carries_the_number_of_its_event() -> None:
    assert (failure(InvalidInput("why"), None, 4, None).seq, failure(InvalidInput("why"), "a", 4, None).seq) == (
        4,
        None,
    )


LONE_SURROGATE = "\ud800"  # has no UTF-8


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=repr)
def test_outputs_that_cannot_be_encoded_become_an_error_with_the_same_address(codec: Codec) -> None:
    model = FakeModel()
    client = Client(model, codec=codec)
    client.send(1, id="a", key="k")
    client.send(2)
    result = BatchResult([TensorSpec("y", DTYPES["string"], ())], [np.array([LONE_SURROGATE] * 2, object)], {})
    for row, job in enumerate(model.start()):
        job.owner.finish(job, result, row)
    for prediction, address in zip(client.predictions(), ({"id": "a", "key": "k"}, {"seq": 1}), strict=True):
        with pytest.raises(UnicodeError) as caught:
            codec.encode(prediction)
        payload = encode_unencodable(prediction, codec, caught.value)
        decode = msgspec.json.decode if codec is JSON else msgspec.msgpack.decode
        told = decode(payload)
        error = told.pop("error")
        assert told == address
        assert (error["code"], error["retryable"]) == ("inference_failed", False)
        assert codec.name in error["message"]


def test_only_predictions_can_be_replaced() -> None:
    with pytest.raises(InferenceFailed) as caught:
        encode_unencodable(Pong(LONE_SURROGATE), JSON, UnicodeError("no"))
    assert isinstance(caught.value.__cause__, UnicodeError)


def test_an_answer_finds_its_event_after_many_came_and_went() -> None:
    model = FakeModel()
    client = Client(model, options=limited(8))
    for round_number in range(50):
        for value in range(8):
            client.send(value, id=f"{round_number}-{value}", key=str(value % 3))
        for job in reversed(model.start()):
            model.finish(job)
        answers = client.predictions()
        assert {answer.id: value_of(answer) for answer in answers} == {
            f"{round_number}-{value}": float(value) for value in range(8)
        }
    assert client.session.in_flight == 0


def test_a_stream_shows_its_counts() -> None:
    model = FakeModel()
    client = Client(model, options=limited(1, "drop_oldest"))
    client.send(0, key="k")
    client.send(1, key="k")
    assert repr(model.waiting[0].owner) == "<Stream sum/k pending=1 dropped=1>"


def test_an_outcome_that_comes_twice_is_answered_once() -> None:
    model = FakeModel()
    client = Client(model)
    client.send(1)
    (job,) = model.start()
    model.finish(job)
    job.owner.fail(job, InferenceFailed("again"))
    (answer,) = client.read()
    assert isinstance(answer, Prediction)
    assert client.session.in_flight == 0
