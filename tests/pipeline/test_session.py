"""What a connection promises about each event: its number, its id, and exactly one answer."""

from typing import Any

import pytest

from pipeline.codec import JSON, MSGPACK, Codec
from pipeline.errors import InferenceFailed
from pipeline.interfaces import KeyBudget
from pipeline.messages import Failure, Pong, Prediction
from tests.pipeline.session_parts import ROOMY, Client, FakeModel, limited, value_of


def test_events_are_numbered_from_zero_and_refused_ones_count() -> None:
    model = FakeModel()
    client = Client(model)
    client.send(10)
    client.send("no number")
    client.send_bytes(b"no message")
    client.send(13)
    assert [failure.seq for failure in client.read_all(Failure)] == [1, 2]
    model.finish()
    assert [(p.seq, value_of(p)) for p in client.predictions()] == [(0, 10.0), (3, 13.0)]
    assert client.session.event_count == 4


def test_a_list_in_one_frame_is_as_many_events() -> None:
    model = FakeModel()
    client = Client(model)
    client.send_message([{"data": 1}, {"data": None}, {"data": 3}, []])
    assert [failure.seq for failure in client.read_all(Failure)] == [1, 3]
    client.send(4)
    model.finish()
    assert [(p.seq, value_of(p)) for p in client.predictions()] == [(0, 1.0), (2, 3.0), (4, 4.0)]


def test_the_outlet_learns_the_number_of_every_event_it_answers() -> None:
    model = FakeModel()
    client = Client(model)
    client.send(0, id="with an id")
    client.send("no number")
    model.finish()
    assert [sent.seq for sent in client.outlet.sent] == [1, 0]


@pytest.mark.parametrize("event_id", [7, 0, -(2**63), 2**63 - 1, "", "watch 7", "x" * 256])
def test_an_id_comes_back_in_place_of_the_number(event_id: int | str) -> None:
    model = FakeModel()
    client = Client(model)
    client.send(1, id=event_id)
    model.finish()
    client.send("no number", id=event_id)
    client.send_message({"id": event_id, "unheard": 1})
    answers = client.read()
    assert all(isinstance(answer, Prediction | Failure) for answer in answers)
    assert [(a.id, a.seq) for a in answers if isinstance(a, Prediction | Failure)] == [(event_id, None)] * 3


@pytest.mark.parametrize("event_id", [1.5, 2**63, "x" * 257, [], True])
def test_an_id_that_is_none_is_an_invalid_message_answered_by_number(event_id: Any) -> None:
    client = Client(FakeModel())
    client.send(1, id=event_id)
    failure = client.error()
    assert (failure.id, failure.seq, failure.error.code) == (None, 0, "invalid_message")
    assert "id" in failure.error.message


def test_a_key_is_repeated_only_if_the_event_had_one() -> None:
    model = FakeModel()
    client = Client(model, options=limited(100, default_key="of the url"))
    client.send(1)
    client.send(2, key="own")
    client.send(3, key="")
    model.finish()
    assert [answer.key for answer in client.predictions()] == [None, "own", ""]
    client.send("no number", key="own")
    client.send("no number")
    assert [failure.key for failure in client.read_all(Failure)] == ["own", None]


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=repr)
def test_an_answer_comes_in_the_encoding_of_its_event(codec: Codec) -> None:
    model = FakeModel()
    client = Client(model, codec=codec)
    client.send(1)
    client.send("no number")
    client.send_bytes(b"")
    client.send_message({"op": "ping"})
    model.finish()
    assert [sent.codec for sent in client.outlet.sent] == [codec] * 4


def test_encodings_can_be_mixed_on_one_connection() -> None:
    model = FakeModel()
    client = Client(model)
    for codec in (JSON, MSGPACK, JSON):
        client.codec = codec
        client.send(1)
    model.finish()
    assert [sent.codec for sent in client.outlet.sent] == [JSON, MSGPACK, JSON]


def test_a_ping_is_answered_at_once_and_is_no_event() -> None:
    client = Client(FakeModel())
    client.send_message({"op": "ping", "t": {"sent": 1.5}})
    assert client.read() == [Pong({"sent": 1.5})]
    assert client.session.event_count == 0


def test_control_messages_and_events_share_a_frame() -> None:
    model = FakeModel()
    client = Client(model)
    client.send_message([{"data": 1}, {"op": "ping", "t": 1}, {"op": "auth", "token": "t"}, {"data": 2}])
    assert client.read() == [Pong(1)]
    assert client.outlet.tokens == ["t"]
    model.finish()
    assert [answer.seq for answer in client.predictions()] == [0, 1]


def test_an_unknown_op_is_an_invalid_message_that_keeps_its_id() -> None:
    client = Client(FakeModel())
    client.send_message({"op": "dance", "id": 3})
    failure = client.error()
    assert (failure.id, failure.error.code) == (3, "invalid_message")


def test_the_failure_of_a_row_is_its_own() -> None:
    model = FakeModel()
    client = Client(model)
    client.send(1, id="a", key="k")
    client.send(2, id="b")
    bad, good = model.start()
    model.fail(bad, InferenceFailed("bad row"))
    failure = client.error()
    assert (failure.id, failure.key, failure.error.code, failure.error.message) == (
        "a",
        "k",
        "inference_failed",
        "bad row",
    )
    assert failure.error.retryable is False
    model.finish(good)
    assert client.values() == [2.0]


def test_answers_of_one_key_keep_their_order_whatever_order_they_are_done_in() -> None:
    model = FakeModel()
    client = Client(model)
    for value in range(4):
        client.send(value, key="k")
    first, second, third, fourth = model.start()
    model.finish(third)
    model.fail(second, InferenceFailed("bad row"))
    assert client.read() == []
    model.finish(first)
    kinds = [type(answer) for answer in client.read()]
    assert kinds == [Prediction, Failure, Prediction]
    model.finish(fourth)
    assert client.values() == [3.0]


def test_keys_do_not_wait_for_each_other() -> None:
    model = FakeModel()
    client = Client(model)
    client.send(0, key="slow")
    client.send(1, key="quick")
    client.send(2)
    slow, quick, keyless = model.start()
    model.finish(quick, keyless)
    assert client.values() == [1.0, 2.0]
    model.finish(slow)
    assert client.values() == [0.0]


def test_draining_refuses_new_events_and_answers_accepted_ones() -> None:
    model = FakeModel()
    client = Client(model)
    client.send(1)
    client.session.drain()
    client.send(2)
    client.send(3, key="new")
    failures = client.read_all(Failure)
    assert [(f.seq, f.error.code, f.error.retryable) for f in failures] == [
        (1, "shutting_down", True),
        (2, "shutting_down", True),
    ]
    model.finish()
    assert client.values() == [1.0]
    client.send_message({"op": "ping"})
    assert client.read() == [Pong()]


def test_closing_cancels_what_is_under_way_and_nothing_is_answered_after() -> None:
    model = FakeModel()
    budget = KeyBudget(ROOMY)
    client = Client(model, budget=budget)
    for key in (None, "a", "b"):
        client.send(1, **({"key": key} if key else {}))
    (running,) = model.start(1)
    assert (client.session.in_flight, budget.count) == (3, 2)
    client.session.close()
    assert (client.session.in_flight, budget.count, model.waiting) == (0, 0, [])
    model.finish(running)
    assert client.read() == []
    client.session.close()
    assert (client.session.in_flight, budget.count) == (0, 0)


def test_an_answer_that_was_ahead_of_its_turn_is_not_sent_after_closing() -> None:
    model = FakeModel()
    client = Client(model)
    client.send(0)
    client.send(1)
    first, second = model.start()
    model.finish(second)
    client.session.close()
    model.finish(first)
    assert client.read() == []


def test_a_connection_that_ends_while_a_list_is_read_leaves_nothing_under_way() -> None:
    model = FakeModel()
    client = Client(model)
    client.outlet.on_send = client.session.close
    client.send_message([{"data": 0}, {"data": "no number"}, {"data": 2}])
    assert (client.session.in_flight, model.waiting) == (0, [])


def test_closing_from_within_an_answer_is_safe() -> None:
    model = FakeModel()
    client = Client(model)
    for value in range(3):
        client.send(value)
    first, second, third = model.start()
    model.finish(second)
    model.finish(third)
    client.outlet.on_send = client.session.close
    model.finish(first)
    assert client.values() == [0.0]
    assert client.session.in_flight == 0


def test_repr_shows_the_counts_that_matter() -> None:
    client = Client(FakeModel())
    client.send(1, key="k")
    assert repr(client.session) == "<Session sum in_flight=1 keys=1 events=1>"
    many = Client(FakeModel(), single=False)
    assert repr(many.session) == "<Session * in_flight=0 keys=0 events=0>"
