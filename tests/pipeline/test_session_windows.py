"""Events of a windowed model: samples go in, a prediction comes each time a hop completes."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import JSON
from pipeline.messages import Failure, Gap
from tests.pipeline.session_parts import Client, FakeModel, limited, value_of

LENGTH_3_HOP_2 = (3, 2)


def rows_of(samples: Sequence[float], length: int, hop: int) -> list[float]:
    """Return the sum of each window over samples, the plain way."""
    return [sum(samples[at : at + length]) for at in range(0, len(samples) - length + 1, hop)]


def test_a_prediction_comes_with_the_event_that_completes_a_hop() -> None:
    model = FakeModel(window=LENGTH_3_HOP_2)
    client = Client(model)
    for sample in range(7):
        client.send([float(sample)], id=sample)
    model.finish()
    assert [(a.id, value_of(a)) for a in client.predictions()] == [(2, 3.0), (4, 9.0), (6, 15.0)]


def test_an_event_that_completes_nothing_is_absorbed_and_counts() -> None:
    model = FakeModel(window=LENGTH_3_HOP_2)
    client = Client(model)
    client.send([1.0])
    client.send([2.0])
    assert (client.read(), client.session.in_flight, client.session.event_count) == ([], 0, 2)
    client.send([3.0])
    model.finish()
    assert [answer.seq for answer in client.predictions()] == [2]


def test_a_chunk_is_answered_once_for_each_hop_it_completes() -> None:
    model = FakeModel(window=LENGTH_3_HOP_2)
    client = Client(model)
    client.send([float(sample) for sample in range(8)], id="chunk")
    assert client.session.in_flight == 3
    model.finish()
    assert [(a.id, value_of(a)) for a in client.predictions()] == [("chunk", 3.0), ("chunk", 9.0), ("chunk", 15.0)]


def test_each_key_has_a_window_of_its_own() -> None:
    model = FakeModel(window=(2, 2))
    client = Client(model)
    for key in ("a", "b", None):
        client.send([1.0], **({"key": key} if key else {}))
    assert model.waiting == []
    client.send([10.0], key="b")
    model.finish()
    assert [(a.key, value_of(a)) for a in client.predictions()] == [("b", 11.0)]


@pytest.mark.parametrize("data", [None, "text", [], 1, {"shape": [1], "data": [1]}])
def test_samples_that_do_not_fit_are_refused_and_change_nothing(data: Any) -> None:
    model = FakeModel(window=(2, 2))
    client = Client(model)
    client.send([1.0])
    client.send(data)
    assert client.error_codes() == ["invalid_input"]
    client.send([2.0])
    model.finish()
    assert client.values() == [3.0]


def test_a_chunk_for_which_there_is_no_room_is_refused_whole() -> None:
    model = FakeModel(window=(2, 1))
    client = Client(model, options=limited(3))
    client.send([1.0, 2.0])
    client.send([3.0, 4.0, 5.0])
    assert client.error_codes() == ["overloaded"]
    assert client.session.in_flight == 1
    model.finish()
    assert client.values() == [3.0]
    client.send([3.0])
    model.finish()
    assert client.values() == [5.0]


def test_samples_that_complete_no_window_are_taken_whatever_is_in_flight() -> None:
    model = FakeModel(window=(2, 2))
    client = Client(model, options=limited(1))
    client.send([1.0, 2.0])
    client.send([3.0])
    assert client.read() == []
    client.send([4.0])
    assert client.error_codes() == ["overloaded"]
    model.finish()
    assert client.values() == [3.0]
    client.send([5.0])
    model.finish()
    assert client.values() == [8.0]


def test_a_chunk_that_could_never_fit_is_invalid_and_changes_nothing() -> None:
    model = FakeModel(window=(1, 1))
    client = Client(model, options=limited(3))
    client.send([1.0] * 4)
    failure = client.error()
    assert (failure.error.code, failure.error.retryable) == ("invalid_input", False)
    client.send([1.0] * 3)
    model.finish()
    assert client.values() == [1.0, 1.0, 1.0]


def test_a_full_queue_of_the_model_refuses_a_chunk_whole() -> None:
    model = FakeModel(room=2, window=(1, 1))
    client = Client(model)
    client.send([1.0])
    client.send([2.0, 3.0])
    assert client.error_codes() == ["overloaded"]
    assert len(model.waiting) == 1
    client.send([2.0])
    model.finish()
    assert client.values() == [1.0, 2.0]


def test_drop_oldest_drops_as_many_rows_as_a_chunk_needs() -> None:
    model = FakeModel(window=(1, 1))
    client = Client(model, options=limited(4, "drop_oldest"))
    client.send([1.0, 2.0, 3.0])
    client.send([4.0, 5.0, 6.0])
    model.finish()
    gap, *answers = client.read()
    assert gap == Gap(2, "overflow")
    assert [value_of(answer) for answer in answers] == [3.0, 4.0, 5.0, 6.0]


def test_latest_keeps_only_the_rows_of_the_newest_chunk() -> None:
    model = FakeModel(window=(1, 1))
    client = Client(model, options=limited(100, "latest"))
    client.send([1.0, 2.0, 3.0])
    client.send([4.0, 5.0])
    model.finish()
    gap, *answers = client.read()
    assert gap == Gap(3, "overflow")
    assert [value_of(answer) for answer in answers] == [4.0, 5.0]


def test_samples_that_complete_nothing_drop_nothing() -> None:
    model = FakeModel(window=(2, 2))
    client = Client(model, options=limited(100, "latest"))
    client.send([1.0, 2.0])
    client.send([3.0])
    model.finish()
    assert client.values() == [3.0]


def test_reset_forgets_the_window_of_its_key_and_no_other() -> None:
    model = FakeModel(window=(2, 2))
    client = Client(model)
    for key in ("a", "b"):
        client.send([1.0], key=key)
    client.send([1.0])
    client.send_message({"op": "reset", "key": "a"})
    for key in ("a", "b"):
        client.send([10.0], key=key)
    client.send([10.0])
    model.finish()
    assert [(a.key, value_of(a)) for a in client.predictions()] == [("b", 11.0), (None, 11.0)]


@pytest.mark.parametrize("default_key", [None, "of the url"])
def test_reset_without_a_key_forgets_the_connections_own_window(default_key: str | None) -> None:
    model = FakeModel(window=(2, 2))
    client = Client(model, options=limited(100, default_key=default_key))
    client.send([1.0])
    client.send([1.0], key="a")
    client.send_message({"op": "reset"})
    client.send([10.0], id="own")
    client.send([10.0], key="a")
    model.finish()
    assert [(a.id, value_of(a)) for a in client.predictions()] == [(None, 11.0)]


@pytest.mark.parametrize(
    ("named", "values"), [({}, []), ({"model": "first"}, [11.0]), ({"model": "nobody"}, [11.0] * 2)]
)
def test_reset_is_for_the_model_it_names_or_for_all(named: dict[str, str], values: list[float]) -> None:
    first, second = FakeModel("first", window=(2, 2)), FakeModel("second", window=(2, 2))
    client = Client(first, second, single=False)
    for model in (first, second):
        client.send([1.0], model=model.name, key="k")
    client.send_message({"op": "reset", "key": "k", **named})
    for model in (first, second):
        client.send([10.0], model=model.name, key="k")
        model.finish()
    assert client.values() == values


def test_reset_leaves_rows_under_way_alone_and_is_harmless_without_a_window() -> None:
    windowed, plain = FakeModel("windowed", window=(1, 1)), FakeModel("plain")
    client = Client(windowed, plain, single=False)
    client.send([1.0], model="windowed")
    client.send(2, model="plain")
    client.send_message({"op": "reset"})
    windowed.finish()
    plain.finish()
    assert client.values() == [1.0, 2.0]


@given(
    length=st.integers(1, 5),
    hop=st.integers(1, 7),
    bound=st.integers(1, 6),
    steps=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9), st.booleans()), max_size=25),
)
def test_windows_are_those_of_the_accepted_samples_alone(
    length: int, hop: int, bound: int, steps: list[tuple[str, int, bool]]
) -> None:
    """However chunks are cut and whichever are refused, predictions are the windows over what was accepted."""
    model = FakeModel(window=(length, hop))
    client = Client(model, options=limited(bound), codec=JSON)
    accepted: dict[str, list[float]] = {"a": [], "b": []}
    answered: dict[str, list[float]] = {"a": [], "b": []}

    def finish() -> None:
        model.finish()
        for answer in client.predictions():
            answered[answer.key or ""].append(value_of(answer))

    for number, (key, size, finishes) in enumerate(steps):
        samples = [float(number * 10 + at) for at in range(size)]
        client.send(samples, key=key)
        if not client.read_all(Failure):
            accepted[key] += samples
        assert client.session.in_flight <= bound
        if finishes:
            finish()
    finish()
    assert answered == {key: rows_of(samples, length, hop) for key, samples in accepted.items()}


def test_a_chunk_that_completes_more_rows_than_could_ever_wait_is_refused_for_good() -> None:
    client = Client(FakeModel(room=2, window=(1, 1)))
    client.send([1.0, 2.0, 3.0])
    (failure,) = client.read()
    assert isinstance(failure, Failure)
    assert failure.error.message == "data: 3 samples complete 3 windows, at most 2 fit"
    assert (failure.error.code, failure.error.retryable) == ("invalid_input", False)
