"""Which model an event goes to: one for a whole connection, or one named by each event."""

from typing import Any

import pytest

from pipeline.codec import JSON
from pipeline.errors import ModelUnavailable
from pipeline.messages import Gap, Prediction
from tests.pipeline.session_parts import Client, FakeModel, FakeModels, limited


@pytest.mark.parametrize(
    "fields", [{}, {"model": "sum"}, {"version": 1}, {"version": "1"}, {"model": "sum", "version": 1}]
)
def test_a_connection_for_one_model_takes_events_that_agree(fields: dict[str, Any]) -> None:
    model = FakeModel()
    client = Client(model)
    client.send(1, **fields)
    model.finish()
    assert client.values() == [1.0]


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"model": "other"}, "invalid_message", "'sum' only"),
        ({"model": ""}, "invalid_message", "model:"),
        ({"version": 2}, "unknown_model", ""),
        ({"version": "one"}, "unknown_model", ""),
        ({"model": "sum", "version": 2}, "unknown_model", ""),
    ],
)
def test_a_connection_for_one_model_refuses_events_for_another(fields: dict[str, Any], code: str, names: str) -> None:
    client = Client(FakeModel(), FakeModel("other"))
    client.send(1)
    client.send(1, **fields)
    failure = client.error()
    assert (failure.seq, failure.error.code) == (1, code)
    assert names in failure.error.message


def test_a_connection_for_many_models_sends_each_event_to_its_own() -> None:
    first, second = FakeModel("first"), FakeModel("second")
    client = Client(first, second, single=False)
    client.send(1, model="first")
    client.send(2, model="second", version=1)
    client.send(3, model="first", version="1")
    assert (len(first.waiting), len(second.waiting)) == (2, 1)
    second.finish()
    first.finish()
    assert client.values() == [2.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "invalid_message"),
        ({"version": 1}, "invalid_message"),
        ({"model": "nobody"}, "unknown_model"),
        ({"model": "nobody", "key": "k"}, "unknown_model"),
        ({"model": "sum", "version": 2}, "unknown_model"),
        ({"model": "sum", "version": 2, "key": "k"}, "unknown_model"),
    ],
)
def test_a_connection_for_many_models_refuses_events_without_a_known_one(fields: dict[str, Any], code: str) -> None:
    client = Client(FakeModel(), single=False)
    client.send(1, id=5, **fields)
    failure = client.error()
    assert (failure.id, failure.error.code, failure.error.retryable) == (5, code, False)
    assert client.session.in_flight == 0


def test_a_model_that_cannot_serve_is_a_retryable_error() -> None:
    class Unavailable(FakeModels):
        def get(self, name: str, version: str | None = None) -> FakeModel:
            raise ModelUnavailable("it could not be loaded")

    client = Client(FakeModel(), served=Unavailable())
    client.send(1)
    error = client.error().error
    assert (error.code, error.retryable, error.message) == ("model_unavailable", True, "it could not be loaded")


def test_a_version_that_is_served_elsewhere_is_not_served_on_this_connection() -> None:
    class Versions(FakeModels):
        def get(self, name: str, version: str | None = None) -> FakeModel:
            return {None: newest, "2": newest, "1": older}[version]

    newest, older = FakeModel(), FakeModel()
    client = Client(newest, served=Versions())
    client.send(1, version=2)
    client.send(1, version=1)
    assert client.error().error.code == "unknown_model"
    assert (len(newest.waiting), len(older.waiting)) == (1, 0)


@pytest.mark.parametrize("single", [True, False])
def test_a_session_knows_whether_it_is_for_one_model(single: bool) -> None:
    assert Client(FakeModel(), single=single).session.is_single is single


def test_the_same_key_of_two_models_is_two_streams() -> None:
    first, second = FakeModel("first"), FakeModel("second")
    client = Client(first, second, single=False)
    client.send(1, model="first", key="k")
    client.send(2, model="second", key="k")
    assert client.budget.count == 2
    second.finish()
    assert client.values() == [2.0]
    first.finish()
    assert client.values() == [1.0]


@pytest.mark.parametrize(("single", "name"), [(True, None), (False, "sum")])
def test_a_gap_names_the_model_where_the_connection_has_many(single: bool, name: str | None) -> None:
    model = FakeModel()
    client = Client(model, single=single, options=limited(10, "latest"))
    client.send(1, key="k", model="sum")
    client.send(2, key="k", model="sum")
    model.finish()
    gap, answer = client.read()
    assert gap == Gap(1, "overflow", "k", name)
    assert isinstance(answer, Prediction)


def test_events_of_a_list_may_name_different_models() -> None:
    first, second = FakeModel("first"), FakeModel("second")
    client = Client(first, second, single=False)
    client.send_message([{"data": 1, "model": "first"}, {"data": 2, "model": "second"}, {"data": 3}])
    assert client.error().seq == 2
    assert (len(first.waiting), len(second.waiting)) == (1, 1)


def test_a_model_whose_events_may_be_decoded_as_numbers_gives_the_same_answers() -> None:
    model = FakeModel()
    model.takes_numbers = True
    client = Client(model, codec=JSON)
    for data in (1, 2.5, [3.5], 4):
        client.send(data)
    model.finish()
    assert client.values() == [1.0, 2.5, 3.5, 4.0]


@pytest.mark.parametrize(
    "data", ["AAAAAAAA8D8=", "abc", None, True, [None], [[[1.0]]], {"shape": [], "data": []}, [1, 2]]
)
def test_what_is_refused_as_a_first_event_is_refused_as_a_second(data: Any) -> None:
    """The first event finds out that the model takes numbers; the ones after it are decoded by another decoder."""
    model = FakeModel()
    model.takes_numbers = True
    client = Client(model, codec=JSON)
    client.send(data)
    first = client.error().error
    client.send(1)
    client.send(data)
    assert client.error().error == first
