"""Windows and silent streams where another model takes the place of theirs: what fits goes on, the rest is told."""

import gc
import weakref

import pytest

from pipeline.messages import Gap, Prediction
from tests.pipeline.session_parts import FakeModel, Served


def test_a_window_goes_on_where_the_new_model_takes_the_same_samples() -> None:
    old, new = FakeModel(window=(3, 1)), FakeModel(window=(3, 1))
    served = Served(old)
    served.client.send([1, 2], key="k")
    served.swap(new)
    served.client.send([3], key="k")
    new.finish()
    assert served.client.values() == [6.0]


@pytest.mark.parametrize("window", [(2, 1), (3, 2), None])
def test_a_window_that_does_not_fit_the_new_model_is_dropped_with_a_gap(window: tuple[int, int] | None) -> None:
    old, new = FakeModel(window=(3, 1)), FakeModel(window=window)
    served = Served(old)
    served.client.send([1, 2], key="k")
    served.swap(new)
    served.client.send([5] * window[0] if window else 5, key="k")
    assert served.client.gaps() == [Gap(2, "model_changed", "k")]
    new.finish()
    assert served.client.values() == [5.0 * (window[0] if window else 1)]


def test_a_window_that_held_nothing_is_changed_without_a_word() -> None:
    old, new = FakeModel(window=(2, 2)), FakeModel(window=(3, 1))
    served = Served(old)
    served.client.send([1, 2])
    old.finish()
    served.swap(new)
    served.client.send([1, 2, 3])
    new.finish()
    assert served.client.values() == [3.0, 6.0]


def test_a_model_may_get_a_window_and_lose_it_again() -> None:
    plain, windowed = FakeModel(), FakeModel(window=(2, 1))
    served = Served(plain)
    served.client.send(1)
    served.swap(windowed)
    served.client.send([1])
    served.client.send([2])
    served.swap(plain)
    served.client.send(9)
    assert served.client.gaps() == [Gap(1, "model_changed")]
    windowed.finish()
    plain.finish()
    assert served.client.values() == [1.0, 3.0, 9.0]


def test_a_gap_names_the_model_on_a_connection_for_many() -> None:
    old, new = FakeModel(window=(3, 1)), FakeModel(window=(4, 1))
    served = Served(old, single=False)
    served.client.send([1], model="sum")
    served.swap(new)
    served.client.send([1], model="sum")
    assert served.client.gaps() == [Gap(1, "model_changed", None, "sum")]


@pytest.mark.parametrize("fields", [{}, {"key": "k"}])
def test_a_silent_stream_keeps_no_retired_model_in_memory(fields: dict[str, str]) -> None:
    old, new = FakeModel(window=(3, 1)), FakeModel(window=(4, 1))
    served = Served(old)
    served.client.send([1, 2, 3], **fields)
    gone = weakref.ref(old)
    served.swap(new)
    served.client.session.evict_idle(served.client.now)
    old.finish()
    assert [type(message) for message in served.client.read()] == [Gap, Prediction]
    served.client.session.evict_idle(served.client.now + 100)
    del old
    gc.collect()
    assert gone() is None


def test_a_silent_stream_of_a_model_that_is_gone_is_forgotten_with_its_window() -> None:
    old = FakeModel(window=(3, 1))
    served = Served(old)
    served.client.send([1, 2], key="k")
    served.client.send([1])
    served.swap(None)
    served.client.session.evict_idle(served.client.now)
    assert served.client.gaps() == [Gap(2, "model_changed", "k"), Gap(1, "model_changed")]
    assert served.client.budget.count == 0
    served.swap(FakeModel(window=(1, 1)))
    served.client.send([1])
    assert served.client.session.in_flight == 1
