"""What happens to events for which there is no room: told at once, or dropped and counted."""

import struct

import pytest

from pipeline.errors import DeadlineExceeded
from pipeline.messages import Failure, Gap
from tests.pipeline.session_parts import Client, FakeModel, limited, value_of


@pytest.mark.parametrize("key", [None, "k"])
def test_reject_tells_at_once_which_event_found_no_room(key: str | None) -> None:
    model = FakeModel()
    client = Client(model, options=limited(2))
    fields = {"key": key} if key else {}
    for value in range(3):
        client.send(value, id=value, **fields)
    failure = client.error()
    assert (failure.id, failure.key) == (2, key)
    assert (failure.error.code, failure.error.retryable) == ("overloaded", True)
    assert failure.error.retry_after_ms is not None
    assert failure.error.retry_after_ms > 0
    assert "max_in_flight" in failure.error.message
    assert client.session.in_flight == 2
    model.finish()
    assert client.told() == [0.0, 1.0]


def test_an_answered_event_makes_room_for_the_next() -> None:
    model = FakeModel()
    client = Client(model, options=limited(1))
    for value in range(5):
        client.send(value)
        client.send(100)
        assert client.error_codes() == ["overloaded"]
        model.finish()
        assert client.told() == [float(value)]
    assert client.session.in_flight == 0


def test_rows_that_run_count_as_in_flight() -> None:
    model = FakeModel()
    client = Client(model, options=limited(2))
    client.send(0)
    client.send(1)
    model.start()
    client.send(2)
    assert client.error_codes() == ["overloaded"]


def test_the_bound_is_of_the_connection_and_not_of_a_key() -> None:
    model = FakeModel()
    client = Client(model, options=limited(2))
    client.send(0, key="a")
    client.send(1, key="b")
    client.send(2, key="c")
    assert client.error().key == "c"


def test_a_full_queue_of_the_model_is_overloaded_too() -> None:
    model = FakeModel(room=1)
    first, second = Client(model), Client(model)
    first.send(0)
    second.send(1)
    assert second.error_codes() == ["overloaded"]
    assert second.session.in_flight == 0
    model.finish()
    second.send(2)
    model.finish()
    assert (first.told(), second.told()) == ([0.0], [2.0])


@pytest.mark.parametrize("bound", [1, 2, 5])
def test_drop_oldest_drops_the_oldest_that_waits_and_counts_it(bound: int) -> None:
    model = FakeModel()
    client = Client(model, options=limited(bound, "drop_oldest"))
    for value in range(bound + 3):
        client.send(value)
    assert client.session.in_flight == bound
    assert client.read() == []
    model.finish()
    assert client.told() == [3, *(float(value) for value in range(3, bound + 3))]


def test_drop_oldest_never_drops_what_runs() -> None:
    model = FakeModel()
    client = Client(model, options=limited(2, "drop_oldest"))
    client.send(0)
    (running,) = model.start()
    for value in range(1, 4):
        client.send(value)
    model.finish(running)
    model.finish()
    assert client.told() == [2, 0.0, 3.0]


def test_drop_oldest_drops_of_the_events_own_key_only() -> None:
    model = FakeModel()
    client = Client(model, options=limited(2, "drop_oldest"))
    client.send(0, key="a")
    client.send(1, key="b")
    client.send(2, key="b")
    client.send(3, key="c")
    assert client.error().key == "c"
    model.finish()
    a, gap, b = client.read()
    assert (value_of(a), gap, value_of(b)) == (0.0, Gap(1, "overflow", "b"), 2.0)


@pytest.mark.parametrize("overflow", ["drop_oldest", "latest"])
def test_where_all_of_the_key_runs_both_policies_reject(overflow: str) -> None:
    model = FakeModel()
    client = Client(model, options=limited(1, overflow))
    client.send(0)
    model.start()
    client.send(1)
    assert client.error_codes() == ["overloaded"]
    model.finish()
    assert client.told() == [0.0]


@pytest.mark.parametrize("overflow", ["drop_oldest", "latest"])
def test_a_rejected_event_has_dropped_nothing(overflow: str) -> None:
    model = FakeModel()
    client = Client(model, options=limited(2, overflow))
    client.send(0, key="a")
    client.send(1, key="b")
    client.send(2, key="c")
    assert client.error_codes() == ["overloaded"]
    model.finish()
    assert client.told() == [0.0, 1.0]


def test_drop_oldest_makes_room_in_a_full_queue_of_the_model() -> None:
    model = FakeModel(room=2)
    client = Client(model, options=limited(100, "drop_oldest"))
    for value in range(4):
        client.send(value)
    model.finish()
    assert client.told() == [2, 2.0, 3.0]


def test_drop_oldest_drops_nothing_as_long_as_there_is_room() -> None:
    model = FakeModel()
    client = Client(model, options=limited(3, "drop_oldest"))
    for value in range(3):
        client.send(value)
    model.finish()
    assert client.told() == [0.0, 1.0, 2.0]


def test_latest_lets_only_the_newest_of_a_key_wait() -> None:
    model = FakeModel()
    client = Client(model, options=limited(100, "latest"))
    for value in range(3):
        client.send(value, key="a")
        client.send(10 + value, key="b")
    assert [job.row for job in model.waiting] == [(struct.pack("<d", 2.0),), (struct.pack("<d", 12.0),)]
    model.finish()
    assert client.told() == [2, 2.0, 2, 12.0]


def test_latest_lets_one_wait_while_one_runs() -> None:
    model = FakeModel()
    client = Client(model, options=limited(100, "latest"))
    client.send(0)
    (running,) = model.start()
    for value in range(1, 6):
        client.send(value)
    model.finish(running)
    model.finish()
    assert client.told() == [4, 0.0, 5.0]


def test_an_invalid_event_drops_nothing() -> None:
    model = FakeModel()
    client = Client(model, options=limited(1, "latest"))
    client.send(0)
    client.send("no number")
    assert client.error_codes() == ["invalid_input"]
    model.finish()
    assert client.told() == [0.0]


@pytest.mark.parametrize("overflow", ["drop_oldest", "latest"])
def test_closing_while_events_are_dropped_leaves_nothing_under_way(overflow: str) -> None:
    """A client that reads too slowly is closed by what it is sent, even in the middle of accepting its event."""
    model = FakeModel(window=(1, 1))
    client = Client(model, options=limited(3, overflow))
    client.send([0.0, 1.0, 2.0])
    model.fail(model.waiting[1], DeadlineExceeded("too late"))
    client.outlet.on_send = client.session.close
    client.send([3.0, 4.0])
    assert isinstance(client.read()[-1], Failure)
    assert (client.session.in_flight, model.waiting) == (0, [])


def test_no_more_events_than_max_in_flight_are_unanswered() -> None:
    """Answers that wait for their turn are unanswered events too: else a row that hangs lets them pile up."""
    model = FakeModel()
    client = Client(model, options=limited(4))
    client.send(-1)
    model.start()
    for value in range(100):
        client.send(value)
        for job in list(model.waiting):
            model.fail(job, DeadlineExceeded("too late"))
    refused = len(client.read_all(Failure))
    model.finish()
    answered = len(client.read())
    assert refused + answered == 101
    assert answered <= 4
