"""Keys cost memory: how many a connection and the server hold, and how they are given back."""

import pytest

from pipeline.interfaces import KeyBudget, SessionOptions
from pipeline.messages import Failure, Gap
from tests.pipeline.session_parts import Client, FakeModel, limited


def windowed(*, max_keys: int = 100, idle: float = 300.0, budget: KeyBudget | None = None) -> tuple[FakeModel, Client]:
    model = FakeModel(window=(4, 4))
    options = SessionOptions(max_keys=max_keys, key_idle_seconds=idle)
    return model, Client(model, options=options, budget=budget)


def test_a_connection_holds_max_keys_and_refuses_the_next() -> None:
    _, client = windowed(max_keys=2)
    for key in ("a", "b", "c"):
        client.send([1.0], key=key)
    failure = client.error()
    assert (failure.key, failure.error.code, failure.error.retryable) == ("c", "overloaded", True)
    assert "max_keys_per_socket" in failure.error.message
    client.send([1.0], key="a")
    assert client.read() == []


def test_the_server_holds_max_keys_over_all_connections() -> None:
    budget = KeyBudget(2)
    _, first = windowed(budget=budget)
    _, second = windowed(budget=budget)
    first.send([1.0], key="a")
    second.send([1.0], key="a")
    second.send([1.0], key="b")
    failure = second.error()
    assert failure.error.code == "overloaded"
    assert "(max_keys)" in failure.error.message
    first.session.close()
    second.send([1.0], key="b")
    assert second.read() == []
    assert budget.count == 2


def test_events_without_a_key_need_no_room_for_one() -> None:
    model, client = windowed(budget=KeyBudget(0), max_keys=1)
    client.send([1.0] * 4)
    model.finish()
    assert len(client.predictions()) == 1
    assert client.budget.count == 0


def test_the_key_of_the_url_is_a_key_like_any_other() -> None:
    model = FakeModel()
    client = Client(model, options=limited(10, default_key="k"))
    client.send(1)
    client.send(2, key="k")
    assert client.budget.count == 1
    first, second = model.start()
    model.finish(second)
    assert client.read() == []
    model.finish(first)
    assert client.values() == [1.0, 2.0]


def test_a_key_that_holds_nothing_makes_room_for_a_new_one() -> None:
    model, client = windowed(max_keys=2)
    client.send([1.0] * 4, key="done")
    client.send([1.0], key="holds a sample")
    model.finish()
    client.predictions()
    client.send([1.0], key="new")
    assert client.read() == []
    client.send([1.0], key="one too many")
    assert client.error_codes() == ["overloaded"]
    assert client.budget.count == 2


def test_a_key_with_events_under_way_is_kept() -> None:
    model = FakeModel()
    client = Client(model, options=SessionOptions(max_keys=1))
    client.send(1, key="a")
    client.send(2, key="b")
    assert client.error_codes() == ["overloaded"]
    model.finish()
    client.send(3, key="b")
    model.finish()
    assert client.values() == [1.0, 3.0]


def test_a_key_that_still_skips_samples_holds_something() -> None:
    """Where the hop exceeds the length, a window without samples may have some to skip: its phase is state too."""
    model = FakeModel(window=(1, 3))
    client = Client(model, options=SessionOptions(max_keys=1))
    client.send([0.0], key="a")
    model.finish()
    assert client.values() == [0.0]
    client.send([0.0], key="b")
    assert client.error_codes() == ["overloaded"]


def test_an_idle_key_is_forgotten_and_its_samples_are_told_as_a_gap() -> None:
    model, client = windowed(idle=60.0)
    client.send([1.0, 1.0, 1.0], key="a")
    client.now += 60.0
    client.session.evict_idle(client.now)
    assert client.gaps() == [Gap(3, "idle", "a")]
    assert client.budget.count == 0
    client.send([1.0], key="a")
    model.finish()
    assert client.read() == []


def test_an_idle_key_without_samples_is_forgotten_without_a_word() -> None:
    model = FakeModel()
    client = Client(model, options=SessionOptions(key_idle_seconds=60.0))
    client.send(1, key="a")
    model.finish()
    client.predictions()
    client.session.evict_idle(client.now + 60.0)
    assert (client.read(), client.budget.count) == ([], 0)


def test_a_key_is_idle_only_after_the_whole_time_since_its_last_event() -> None:
    _, client = windowed(idle=60.0)
    client.send([1.0], key="a")
    client.send([1.0], key="b")
    client.now += 59.0
    client.send([1.0], key="b")
    client.session.evict_idle(client.now)
    assert client.read() == []
    client.now += 50.0
    client.session.evict_idle(client.now)
    assert client.gaps() == [Gap(1, "idle", "a")]
    client.now += 10.0
    client.session.evict_idle(client.now)
    assert client.gaps() == [Gap(2, "idle", "b")]


def test_a_key_with_events_under_way_is_not_idle() -> None:
    model = FakeModel()
    client = Client(model, options=SessionOptions(key_idle_seconds=60.0))
    client.send(1, key="a")
    client.session.evict_idle(client.now + 1000.0)
    assert client.budget.count == 1
    model.finish()
    assert client.values() == [1.0]


def test_the_own_window_of_the_connection_is_never_idle() -> None:
    model, client = windowed(idle=60.0)
    client.send([1.0] * 3)
    client.session.evict_idle(client.now + 1e6)
    client.send([1.0])
    model.finish()
    assert client.values() == [4.0]


def test_looking_for_idle_keys_is_cheap_when_done_often() -> None:
    """It looks at all keys eight times in `key_idle_seconds`, however often it is called."""
    _, client = windowed(idle=80.0)
    client.send([1.0], key="a")
    client.now += 79.0
    client.session.evict_idle(client.now)
    client.session.evict_idle(client.now + 9.0)
    assert client.read() == []
    client.session.evict_idle(client.now + 11.0)
    assert len(client.gaps()) == 1


@pytest.mark.parametrize("single", [True, False])
def test_an_idle_gap_names_the_model_where_the_connection_has_many(single: bool) -> None:
    model = FakeModel(window=(4, 4))
    client = Client(model, single=single, options=SessionOptions(key_idle_seconds=60.0))
    client.send([1.0], key="a", model="sum")
    client.session.evict_idle(client.now + 60.0)
    assert client.gaps() == [Gap(1, "idle", "a", None if single else "sum")]


def test_a_connection_that_is_closed_by_the_gap_it_is_sent_gives_its_keys_back_once() -> None:
    """A client that reads too slowly is closed by what it is sent, here while its idle keys are forgotten."""
    _, client = windowed(idle=60.0)
    for key in ("a", "b", "c"):
        client.send([1.0], key=key)
    client.outlet.on_send = client.session.close
    client.session.evict_idle(client.now + 60.0)
    assert client.budget.count == 0


def test_closing_gives_back_exactly_the_keys_that_are_held() -> None:
    budget = KeyBudget(100)
    _, first = windowed(budget=budget)
    _, second = windowed(budget=budget, idle=60.0)
    for key in ("a", "b", "c"):
        first.send([1.0], key=key)
        second.send([1.0], key=key)
    second.session.evict_idle(second.now + 60.0)
    second.send([1.0], key="d")
    assert budget.count == 4
    second.session.close()
    second.session.evict_idle(second.now + 600.0)
    assert budget.count == 3
    first.session.close()
    assert budget.count == 0


def test_an_event_refused_for_its_key_does_not_count_against_the_server() -> None:
    budget = KeyBudget(1)
    _, client = windowed(budget=budget)
    client.send([1.0], key="a")
    for _ in range(3):
        client.send([1.0], key="b")
    assert len(client.read_all(Failure)) == 3
    assert budget.count == 1


def test_a_refused_event_has_taken_no_key() -> None:
    budget = KeyBudget(100)
    _, client = windowed(budget=budget)
    client.send("no samples", key="a")
    assert client.error_codes() == ["invalid_input"]
    assert budget.count == 0


def test_an_unknown_model_is_named_where_no_key_is_left_either() -> None:
    client = Client(FakeModel("a"), single=False, options=SessionOptions(max_keys=1))
    client.send(1, key="k", model="a")
    client.send(1, key="l", model="nowhere")
    assert client.error_codes() == ["unknown_model"]
