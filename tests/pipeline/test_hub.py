"""Who watches what gets the latest of it, at most so often, and nobody else pays for it."""

from collections.abc import Iterator

import pytest

from pipeline.errors import InvalidMessage
from pipeline.hub import NEVER, RECENT_ALERTS, Hub
from pipeline.messages import Gap
from pipeline.topic_table import LINGER_SECONDS, MAX_LINGERING
from pipeline.topics import ALERTS, STATS, Topic
from pipeline.watch_messages import MAX_PATTERNS

from .hub_parts import Lines, Number, RecordingModel, RecordingWatcher, flush


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def form() -> Lines:
    return Lines()


def held(hub: Hub, *names: str) -> list[Topic]:
    """Return topics that each have a stream."""
    return [hub.topic(name) for name in names]


def test_a_watcher_gets_a_snapshot_and_then_the_latest_at_its_rate(hub: Hub, form: Lines) -> None:
    a, b = held(hub, "m/a", "m/b")
    a.publish(Number(1))
    watcher = RecordingWatcher(form)
    hub.subscribe(watcher, ["m/*"], 10.0)
    flush(hub, 0.0)
    assert watcher.take() == [("m/a", 1)]
    a.publish(Number(2))
    a.publish(Number(3))
    b.publish(Number(4))
    flush(hub, 1.0)
    assert watcher.take() == [("m/a", 3), ("m/b", 4)]
    a.publish(Number(5))
    flush(hub, 1.05)
    assert watcher.take() == []
    assert hub.next_flush() == pytest.approx(1.1)
    flush(hub, 1.1)
    assert watcher.take() == [("m/a", 5)]
    assert hub.next_flush() == NEVER


def test_who_comes_back_after_a_snapshot_gets_the_very_next_value(hub: Hub, form: Lines) -> None:
    (topic,) = held(hub, "m/a")
    topic.show(Number(1))
    first, second = RecordingWatcher(form), RecordingWatcher(form)
    hub.subscribe(first, ["m/*"], 10.0)
    flush(hub, 0.0)
    assert first.take() == [("m/a", 1)]
    hub.leave(first)
    topic.publish(Number(2))
    hub.subscribe(second, ["m/*"], 10.0, since=first.position)
    flush(hub, 1.0)
    assert second.take() == [("m/a", 2)]


def test_watchers_of_one_choice_share_what_is_encoded_and_packed(hub: Hub, form: Lines) -> None:
    topics = held(hub, *(f"m/{n}" for n in range(50)))
    watchers = [RecordingWatcher(form) for _ in range(200)]
    for watcher in watchers:
        hub.subscribe(watcher, ["m/*"], 10.0)
    flush(hub, 0.0)
    form.packed = 0
    values = [Number(n) for n in range(50)]
    for topic, value in zip(topics, values, strict=True):
        topic.publish(value)
    flush(hub, 1.0)
    assert [value.encoded for value in values] == [1] * 50
    assert form.packed == 1
    assert all(watcher.take() == [(f"m/{n}", n) for n in range(50)] for watcher in watchers)


def test_different_choices_share_what_is_encoded_in_the_same_form(hub: Hub, form: Lines) -> None:
    (topic,) = held(hub, "m/a")
    choices = [("m/a", 10.0, False), ("m/*", 5.0, False), ("*/*", 10.0, True)]
    for pattern, hz, inputs in choices:
        hub.subscribe(RecordingWatcher(form), [pattern], hz, inputs=inputs)
    value = Number(1)
    topic.publish(value)
    flush(hub, 1.0)
    assert value.encoded == 2  # with inputs, and without


def test_one_flush_of_many_topics_takes_many_steps(hub: Hub, form: Lines) -> None:
    watcher = RecordingWatcher(form)
    hub.subscribe(watcher, ["m/*"], 10.0)
    for topic in held(hub, *(f"m/{n}" for n in range(1000))):
        topic.publish(Number(0))
    assert flush(hub, 1.0) > 10
    assert len(watcher.take()) == 1000


def test_a_watcher_that_stalls_gets_the_gap_and_the_latest_once_it_reads_again(hub: Hub, form: Lines) -> None:
    a, b = held(hub, "m/a", "m/b")
    slow, quick = RecordingWatcher(form), RecordingWatcher(form)
    for watcher in (slow, quick):
        hub.subscribe(watcher, ["m/*"], 10.0)
    flush(hub, 0.0)
    hub.pause(slow)
    for second in range(1, 6):
        a.publish(Number(second))
        flush(hub, float(second))
    b.publish(Number(9))
    flush(hub, 6.0)
    assert slow.take() == []
    hub.resume(slow)
    flush(hub, 6.5)
    assert slow.told == [Gap(4, "slow_consumer")]
    assert slow.take() == [("m/a", 5), ("m/b", 9)]
    assert quick.told == []
    a.publish(Number(7))
    flush(hub, 7.0)
    assert slow.take() == [("m/a", 7)]


def test_a_watcher_that_missed_nothing_is_told_of_no_gap(hub: Hub, form: Lines) -> None:
    (a,) = held(hub, "m/a")
    watcher = RecordingWatcher(form)
    hub.subscribe(watcher, ["m/*"], 10.0)
    a.publish(Number(1))
    flush(hub, 0.0)
    hub.pause(watcher)
    hub.resume(watcher)
    flush(hub, 1.0)
    assert watcher.told == []


def test_a_watcher_that_stalls_in_its_snapshot_goes_on_where_it_was(hub: Hub, form: Lines) -> None:
    names = [f"m/{n}" for n in range(300)]
    for topic in held(hub, *names):
        topic.publish(Number(0))
    watcher = RecordingWatcher(form)
    hub.subscribe(watcher, ["m/*"], 10.0)
    steps = hub.flush(0.0)
    next(steps)
    hub.pause(watcher)
    list(steps)
    before = [name for name, _ in watcher.take()]
    hub.resume(watcher)
    flush(hub, 1.0)
    assert before
    assert before + [name for name, _ in watcher.take()] == names


def test_a_watcher_goes_on_from_a_position(hub: Hub, form: Lines) -> None:
    a, b = held(hub, "m/a", "m/b")
    first = RecordingWatcher(form)
    hub.subscribe(first, ["m/*"], 10.0)
    a.publish(Number(1))
    b.publish(Number(2))
    flush(hub, 0.0)
    hub.leave(first)
    b.publish(Number(3))
    second = RecordingWatcher(form)
    hub.subscribe(second, ["m/*"], 10.0, since=first.position)
    flush(hub, 1.0)
    assert second.take() == [("m/b", 3)]


def test_alerts_come_at_once_and_those_missed_come_later(hub: Hub, form: Lines) -> None:
    hub.announce(Number(0))
    slow, quick = RecordingWatcher(form), RecordingWatcher(form)
    for watcher in (slow, quick):
        hub.subscribe(watcher, [ALERTS], 1.0)
    flush(hub, 0.0)
    hub.pause(slow)
    for value in (1, 2):
        hub.announce(Number(value))
    assert quick.take() == [(ALERTS, 1), (ALERTS, 2)]
    hub.resume(slow)
    flush(hub, 0.0)
    assert slow.take() == [(ALERTS, 1), (ALERTS, 2)]
    hub.pause(slow)
    for value in range(RECENT_ALERTS + 10):
        hub.announce(Number(value))
    hub.resume(slow)
    flush(hub, 0.0)
    assert slow.told == [Gap(10, "slow_consumer")]
    assert [value for _, value in slow.take()] == list(range(10, RECENT_ALERTS + 10))


def test_statistics_matter_only_while_somebody_watches_them(hub: Hub, form: Lines) -> None:
    told: list[bool] = []
    hub.on_stats = told.append
    one, other = RecordingWatcher(form), RecordingWatcher(form)
    hub.subscribe(one, [STATS, "m/*"], 10.0)
    hub.subscribe(other, [STATS], 10.0)
    assert set(told) == {True}
    hub.publish_stats(Number(1))
    flush(hub, 0.0)
    assert one.take() == other.take() == [(STATS, 1)]
    hub.leave(other)
    assert all(told)
    hub.unsubscribe(one, [STATS])
    assert told[-1] is False
    assert hub.watchers == 1
    hub.unsubscribe(one, ["m/*"])
    assert hub.watchers == 0
    hub.subscribe(other, [STATS], 10.0)
    flush(hub, 2.0)
    assert other.take() == [], "what was measured for somebody else a while ago is no news"
    hub.publish_stats(Number(2))
    flush(hub, 3.0)
    assert (other.take(), hub.watchers) == ([(STATS, 2)], 1)


def test_models_publish_only_while_somebody_may_want_it(hub: Hub, form: Lines) -> None:
    shown: list[str] = []

    def show(name: str) -> Iterator[None]:
        shown.append(name)
        yield

    hub.show_latest = show
    a, b = RecordingModel("a"), RecordingModel("b")
    for model in (a, b):
        hub.add_model(model)
    one, other = RecordingWatcher(form), RecordingWatcher(form)
    hub.subscribe(one, ["a/x", STATS], 10.0)
    hub.subscribe(other, ["a/*"], 10.0)
    flush(hub, 0.0)
    assert (a.hubs, b.hubs, shown) == ([hub], [], ["a"])
    hub.leave(one)
    assert a.hubs == [hub]
    successor = RecordingModel("a")
    hub.add_model(successor)
    assert successor.hubs == [hub]
    hub.leave(other)
    assert a.hubs == successor.hubs == [hub, None]


def test_a_topic_ends_with_its_last_stream_and_is_forgotten_later(hub: Hub, form: Lines) -> None:
    topic = hub.topic("m/a")
    assert hub.topic("m/a") is topic
    watcher = RecordingWatcher(form)
    hub.subscribe(watcher, ["m/*"], 10.0)
    topic.publish(Number(1))
    flush(hub, 0.0)
    topic.release()
    flush(hub, 1.0)
    assert [message["ended"] for message in watcher.messages] == [False]
    topic.release()
    flush(hub, 2.0)
    assert [message["ended"] for message in watcher.messages] == [False, True]
    assert hub.topic("m/a") is topic
    topic.publish(Number(2))
    flush(hub, 3.0)
    assert not watcher.messages[-1]["ended"]
    topic.release()
    flush(hub, 4.0)
    flush(hub, 4.0 + LINGER_SECONDS)
    assert hub.topic("m/a") is not topic


def test_topics_without_streams_are_bounded(hub: Hub, form: Lines) -> None:
    first = hub.topic("m/first")
    first.release()
    for n in range(MAX_LINGERING):
        hub.topic(f"m/{n}").release()
    assert hub.topic("m/first") is not first


def test_patterns_are_replaced_and_dropped_one_by_one(hub: Hub, form: Lines) -> None:
    a, b = held(hub, "m/a", "m/b")
    watcher = RecordingWatcher(form)
    hub.subscribe(watcher, ["m/a", "m/b"], 10.0)
    hub.subscribe(watcher, ["m/a"], 10.0, inputs=True)
    for topic in (a, b):
        topic.publish(Number(1))
    flush(hub, 0.0)
    assert {message["topic"]: message["inputs"] for message in watcher.messages} == {"m/a": True, "m/b": False}
    hub.unsubscribe(watcher, ["m/b"])
    watcher.take()
    for topic in (a, b):
        topic.publish(Number(2))
    flush(hub, 1.0)
    assert watcher.take() == [("m/a", 2)]


def test_wrong_subscriptions_change_nothing(hub: Hub, form: Lines) -> None:
    watcher = RecordingWatcher(form)
    hub.subscribe(watcher, ["m/a"], 10.0)
    with pytest.raises(InvalidMessage, match=r"topics\[0\]: 'm/b' is not subscribed"):
        hub.unsubscribe(watcher, ["m/b"])
    with pytest.raises(InvalidMessage, match="a watcher may have 64 patterns, it has 1 already"):
        hub.subscribe(watcher, [f"n/{n}" for n in range(MAX_PATTERNS)], 10.0)
    with pytest.raises(InvalidMessage, match=r"topics\[1\]"):
        hub.subscribe(watcher, ["m/a", "wrong"], 1.0)
    (topic,) = held(hub, "m/a")
    topic.publish(Number(1))
    flush(hub, 1.0)
    topic.publish(Number(2))
    flush(hub, 1.1)
    assert watcher.take() == [("m/a", 1), ("m/a", 2)]


def test_a_value_that_cannot_be_encoded_does_not_take_the_others_with_it(
    hub: Hub, form: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = held(hub, "m/a", "m/b")
    watcher = RecordingWatcher(form)
    hub.subscribe(watcher, ["m/*"], 10.0)
    a.publish(object())  # type: ignore[arg-type]
    b.publish(Number(1))
    flush(hub, 0.0)
    assert watcher.take() == [("m/b", 1)]
    assert "topic m/a could not be encoded" in caplog.text
    packed = form.packed
    a.publish(object())  # type: ignore[arg-type]
    flush(hub, 1.0)
    hub.subscribe(RecordingWatcher(form), ["m/a"], 10.0)
    flush(hub, 2.0)
    assert form.packed == packed


def test_those_who_leave_amid_a_flush_keep_nothing_from_others(hub: Hub, form: Lines) -> None:
    (topic,) = held(hub, "m/a")
    watchers = [RecordingWatcher(form) for _ in range(3)]
    for hz, watcher in enumerate(watchers, 1):
        hub.subscribe(watcher, ["m/*"], float(hz))
    flush(hub, 0.0)
    topic.publish(Number(1))
    steps = hub.flush(10.0)
    next(steps)
    (reached,) = [watcher for watcher in watchers if watcher.messages]
    leaver, stayer = [watcher for watcher in watchers if watcher is not reached]
    hub.leave(leaver)
    assert [None for _ in steps]
    assert (leaver.take(), stayer.take()) == ([], [("m/a", 1)])
