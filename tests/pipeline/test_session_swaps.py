"""Another model takes the place of the one that a connection uses: no event is lost, no answer comes out of turn."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import JSON, MSGPACK, Codec
from pipeline.errors import InvalidInput, ModelUnavailable, UnknownModel
from pipeline.interfaces import SessionOptions
from pipeline.routes import Routes
from pipeline.tensors import DTYPES, Row, Shapes, TensorSpec
from tests.pipeline.session_parts import NUMBER, Client, FakeModel, FakeModels, Served, limited, value_of


class Negative(FakeModel):
    """Takes the same as `sum`, and limits and deadlines of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.default_timeout = 7.0


def keys(keyed: bool) -> dict[str, str]:
    return {"key": "k"} if keyed else {}


@pytest.mark.parametrize("keyed", [False, True])
def test_new_events_go_to_the_new_model_at_once_and_the_old_one_finishes_what_it_has(keyed: bool) -> None:
    old, new = FakeModel(), FakeModel()
    served = Served(old)
    served.client.send(1, **keys(keyed))
    old.start()
    served.client.send(2, **keys(keyed))
    served.swap(new)
    served.client.send(3, **keys(keyed))
    assert (len(old.running), len(old.waiting), len(new.waiting)) == (1, 1, 1)
    old.finish()
    new.finish()
    assert served.client.values() == [1.0, 2.0, 3.0]


def test_answers_of_the_new_model_wait_for_those_of_the_old_one_by_key() -> None:
    old, new = FakeModel(), FakeModel()
    served = Served(old)
    served.client.send(1, key="a")
    served.client.send(2, key="b")
    served.swap(new)
    served.client.send(3, key="a")
    served.client.send(4, key="c")
    new.finish()
    assert served.client.values() == [4.0]
    old.finish()
    assert served.client.values() == [1.0, 3.0, 2.0]


def test_a_model_brings_its_own_deadline_queue_and_row_size() -> None:
    old, new = FakeModel(room=1), Negative(room=5)
    new.row_bytes = -1
    served = Served(old, codec=MSGPACK, options=SessionOptions(lists=True))
    served.client.send(1)
    served.client.send(2)
    assert served.client.error_codes() == ["overloaded"]
    served.swap(new)
    served.client.send(3)
    (job,) = new.waiting
    assert job.deadline == served.client.now + 7.0
    served.client.send(b"\0" * NUMBER.nbytes)
    new.finish()
    old.finish()
    assert served.client.values() == [1.0, 3.0, 0.0]


@pytest.mark.parametrize(("error", "code"), [(UnknownModel, "unknown_model"), (ModelUnavailable, "model_unavailable")])
@pytest.mark.parametrize("fields", [{}, {"key": "k"}])
def test_events_for_a_model_that_is_gone_are_refused_until_it_is_back(
    error: type[Exception], code: str, fields: dict[str, str]
) -> None:
    class Models(FakeModels):
        def get(self, name: str, version: str | None = None) -> Any:
            if name not in self._models:
                raise error("it is gone")
            return super().get(name, version)

    old, new = FakeModel(), FakeModel()
    models = Models(old)
    client = Client(old, served=models)
    client.send(1, **fields)
    models.swap("sum", None)
    client.send(2, **fields)
    assert client.error_codes() == [code]
    old.finish()
    assert client.values() == [1.0]
    models.swap("sum", new)
    client.send(3, **fields)
    new.finish()
    assert client.values() == [3.0]


def test_closing_takes_each_waiting_row_out_of_the_model_that_has_it() -> None:
    first, second, third = FakeModel(), FakeModel(), FakeModel()
    served = Served(first)
    for model, value in ((second, 1), (third, 2)):
        served.client.send(value, key="k")
        served.swap(model)
    served.client.send(3, key="k")
    jobs = [model.waiting[0] for model in (first, second, third)]
    served.client.session.close()
    assert [model.cancelled for model in (first, second, third)] == [[job] for job in jobs]
    assert served.client.session.in_flight == 0


def test_what_is_dropped_by_policy_is_taken_out_of_the_model_that_has_it() -> None:
    old, new = FakeModel(), FakeModel()
    served = Served(old, options=limited(2, "drop_oldest"))
    served.client.send(1)
    served.swap(new)
    served.client.send(2)
    served.client.send(3)
    assert (len(old.cancelled), len(new.cancelled)) == (1, 0)
    served.client.send(4)
    assert (len(old.cancelled), len(new.cancelled)) == (1, 1)
    new.finish()
    assert served.client.told() == [2, 3.0, 4.0]


def test_rows_that_wait_in_the_old_model_are_not_dropped_for_room_in_the_new_one() -> None:
    old, new = FakeModel(), FakeModel(room=1)
    served = Served(old, options=limited(10, "drop_oldest"))
    other = Client(new, served=FakeModels(new))
    other.send(0)
    served.client.send(1)
    served.swap(new)
    served.client.send(2)
    assert served.client.error_codes() == ["overloaded"]
    old.finish()
    assert served.client.told() == [1.0]


def test_a_version_named_by_an_event_has_its_own_stream_on_a_connection_for_many() -> None:
    class Versions(FakeModels):
        def get(self, name: str, version: str | None = None) -> FakeModel:
            return {None: newest, "2": newest, "1": older, "stable": older}[version]

        def route(self, name: str, version: str | None = None) -> Any:
            return routes[name, version].to(version, self.get(name, version))

    routes = Routed()
    newest, older = FakeModel(window=(2, 1)), FakeModel(window=(2, 1))
    client = Client(newest, served=Versions(newest), single=False)
    for version in ({}, {"version": 1}, {"version": "stable"}, {"version": 2}):
        client.send([1], model="sum", **version)
    assert client.read() == []
    client.send([5], model="sum", version="stable")
    assert (len(newest.waiting), len(older.waiting)) == (0, 1)
    older.finish()
    assert client.values() == [6.0]


class Routed(dict[tuple[str, str | None], Any]):
    def __missing__(self, place: tuple[str, str | None]) -> Any:
        return self.setdefault(place, Routes(place[0]))


class Integer(FakeModel):
    """Takes integers, and so no `1.0`."""

    spec = TensorSpec("x", DTYPES["int64"], ())

    def parse(self, data: Any, is_numbers: bool = False) -> tuple[Row, Shapes | None]:
        cell, _ = self.spec.parse(data, "data")
        assert isinstance(cell, bytes)
        return (NUMBER.parse(int.from_bytes(cell, "little", signed=True), "data")[0],), None


def float_model() -> FakeModel:
    model = FakeModel()
    model.takes_numbers = True
    return model


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
@pytest.mark.parametrize("fields", [{}, {"key": "old"}, {"key": "new"}])
def test_an_event_decoded_as_floats_is_decoded_again_for_a_model_of_integers(
    codec: Codec, fields: dict[str, str]
) -> None:
    old, new = float_model(), Integer()
    served = Served(old, codec=codec)
    served.client.send(1, key="old")
    served.client.send(1)
    old.finish()
    assert len(served.client.predictions()) == 2
    served.swap(new)
    served.client.send(2**53 + 1, **fields)
    served.client.send(1.0, **fields)
    served.client.send(3, **fields)
    assert not served.client.session.takes_numbers
    (refused,) = served.client.read()
    assert refused.error.code == InvalidInput.code  # type: ignore[union-attr]
    assert len(new.waiting) == 2


def test_a_model_of_floats_in_the_place_of_one_of_integers_has_its_events_decoded_as_floats() -> None:
    old, new = Integer(), float_model()
    served = Served(old)
    served.client.send(1)
    served.swap(new)
    served.client.send(2.5)
    assert served.client.session.takes_numbers
    old.finish()
    new.finish()
    assert served.client.values() == [1.0, 2.5]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from([None, "a", "b"])),
        st.tuples(st.just("swap"), st.none()),
        st.tuples(st.just("finish"), st.integers(0, 5)),
        st.tuples(st.just("start"), st.integers(0, 5)),
        st.tuples(st.just("tick"), st.none()),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_is_swapped_each_event_is_answered_once_and_in_the_order_of_its_key(
    history: list[tuple[str, Any]],
) -> None:
    models = [FakeModel()]
    served = Served(models[0])
    client = served.client
    key_of: list[str | None] = []
    for step, choice in history:
        if step == "send":
            client.send(len(key_of), **({} if choice is None else {"key": choice}))
            key_of.append(choice)
        elif step == "swap":
            models.append(FakeModel())
            served.swap(models[-1])
        elif step == "tick":
            client.now += 50
            client.session.evict_idle(client.now)
        else:
            model = models[choice % len(models)]
            if step == "start":
                model.start(1)
            else:
                model.finish()
    for model in models:
        model.finish()
    answers = client.predictions()
    assert Counter(answer.seq for answer in answers) == Counter(range(len(key_of)))
    assert all(value_of(answer) == answer.seq for answer in answers)
    for key in {*key_of}:
        seqs = [answer.seq or 0 for answer in answers if answer.key == key]
        assert seqs == sorted(seqs)
