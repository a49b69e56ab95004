"""Events that were dropped by policy are counted: each once, before the next answer of their key."""

from pipeline.errors import DeadlineExceeded
from pipeline.messages import Gap, Prediction
from tests.pipeline.session_parts import Client, FakeModel, limited


def test_each_gap_is_told_once_and_before_the_next_answer_of_its_key() -> None:
    model = FakeModel()
    client = Client(model, options=limited(1, "drop_oldest"))
    for start in (0, 10, 20):
        for value in range(start, start + 3):
            client.send(value)
        model.finish()
    assert client.told() == [2, 2.0, 2, 12.0, 2, 22.0]


def test_a_gap_is_told_before_an_error_of_the_key_too() -> None:
    model = FakeModel()
    client = Client(model, options=limited(1, "drop_oldest"))
    client.send(0)
    client.send(1)
    model.fail(model.waiting[0], DeadlineExceeded("too late"))
    assert client.told() == [1, "deadline_exceeded"]


def test_a_gap_comes_in_the_encoding_of_the_answer_that_follows_and_names_the_key() -> None:
    model = FakeModel()
    client = Client(model, options=limited(1, "drop_oldest"))
    client.send(0, key="k")
    client.send(1, key="k")
    model.finish()
    gap, answer = client.outlet.sent
    assert (gap.message, gap.codec, gap.seq) == (Gap(1, "overflow", "k"), answer.codec, None)


def test_gaps_are_told_where_predictions_are_not_wanted() -> None:
    model = FakeModel()
    client = Client(model, options=limited(1, "drop_oldest", silent=True))
    client.send(0)
    client.send(1)
    model.finish()
    assert client.gaps() == [Gap(1, "overflow")]


def test_a_row_that_expired_does_not_hold_back_what_was_dropped_before_it() -> None:
    model = FakeModel()
    client = Client(model, options=limited(3, "drop_oldest"))
    for value in range(3):
        client.send(value)
    model.fail(model.waiting[1], DeadlineExceeded("too late"))
    assert client.read() == []
    client.send(3)
    client.send(4)
    assert client.told() == [1, "deadline_exceeded"]
    model.finish()
    assert client.told() == [2.0, 3.0, 4.0]


def test_a_refused_event_is_counted_in_no_gap() -> None:
    model = FakeModel()
    client = Client(model, options=limited(1))
    client.send(0)
    client.send(1)
    assert client.error_codes() == ["overloaded"]
    model.finish()
    (answer,) = client.read()
    assert isinstance(answer, Prediction)
