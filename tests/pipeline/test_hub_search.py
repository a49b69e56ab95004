"""What a watcher begins to watch is found a little at a time: others wait neither for that nor for their updates."""

from collections.abc import Iterator, Mapping

from pipeline.audience import COMPARISONS_PER_TURN, Audience, Choice
from pipeline.hub import NEVER, STEPS_BETWEEN_UPDATES, Hub
from pipeline.topics import STATS, Topic, read_patterns
from pipeline.watch_messages import MAX_PATTERNS

from .hub_parts import Lines, Number, RecordingModel, RecordingWatcher, flush

FORM = Lines()
WIDE = [f"m/*x*{n}*" for n in range(MAX_PATTERNS - 1)]  # which no topic of these tests fits
TOPICS = 1000


def crowded(topics: int = TOPICS) -> tuple[Hub, list[Topic]]:
    """Return a hub with so many topics, each of which shows its number."""
    hub = Hub()
    held = [hub.topic(f"m/{n}") for n in range(topics)]
    for n, topic in enumerate(held):
        topic.publish(Number(n))
    return hub, held


def test_patterns_are_compared_a_little_in_each_step() -> None:
    hub, topics = crowded()
    watcher = RecordingWatcher(FORM)
    hub.subscribe(watcher, [*WIDE, "m/9*"], 10.0)
    assert not any(topic.audiences for topic in topics), "not as it is ordered"
    assert flush(hub, 0.0) >= TOPICS * MAX_PATTERNS // COMPARISONS_PER_TURN
    assert len(watcher.take()) == 111


def test_what_is_there_by_its_name_is_not_searched() -> None:
    class Names(dict[str, Topic]):
        def __iter__(self) -> Iterator[str]:
            raise AssertionError("all topics are looked at")

        values = items = keys = __iter__  # type: ignore[assignment]

    hub = Hub()
    known: Mapping[str, Topic] = Names({name: Topic(name, hub) for name in ("m/1", "m/2", STATS)})
    texts = ("m/1", "m/3", STATS)
    audience = Audience(Choice(texts, 10.0, False), read_patterns(texts), FORM)
    audience.start(RecordingWatcher(FORM), 0)
    audience.look_up(known)
    assert list(audience.search(known)) == []
    assert {topic.name for topic in audience.topics} == {"m/1", STATS}


def test_topics_that_come_and_go_amid_a_search_are_known() -> None:
    hub, topics = crowded()
    watcher = RecordingWatcher(FORM)
    hub.subscribe(watcher, [*WIDE, "*/*"], 10.0)
    steps = hub.flush(0.0)
    next(steps)
    hub.admit("m/guest")
    gone = [topics[0], topics[-1]]  # one that was found, one that was not
    for topic in gone:
        hub.admit(topic.name)
        topic.release()
        hub.dismiss(topic, is_over=False)
    topics[1].publish(Number(5001))
    topics[-2].publish(Number(5998))
    new = hub.topic("m/new")
    new.publish(Number(6000))
    list(steps)
    flush(hub, 1.0)
    latest = dict(watcher.take())
    assert latest == {f"m/{n}": n for n in range(1, TOPICS - 1)} | {"m/1": 5001, "m/998": 5998, "m/new": 6000}
    assert not any(topic.audiences for topic in gone)
    new.publish(Number(6001))
    flush(hub, 2.0)
    assert watcher.take() == [("m/new", 6001)]


def test_a_search_for_nobody_ends() -> None:
    hub, topics = crowded()
    watcher = RecordingWatcher(FORM)
    hub.subscribe(watcher, WIDE, 10.0)
    steps = hub.flush(0.0)
    next(steps)
    hub.leave(watcher)
    assert list(steps) == []
    for hz in range(1, 60):
        hub.subscribe(watcher, WIDE, float(hz))
    assert flush(hub, 1.0) <= TOPICS * MAX_PATTERNS // COMPARISONS_PER_TURN + 1, "only the last is searched for"
    hub.leave(watcher)
    assert not any(topic.audiences for topic in topics)


def test_updates_do_not_wait_for_those_who_begin_to_watch() -> None:
    hub, topics = crowded()
    quick = RecordingWatcher(FORM)
    hub.subscribe(quick, ["m/0"], 60.0)
    flush(hub, 0.0)
    quick.take()
    late = [RecordingWatcher(FORM) for _ in range(20)]
    for n, watcher in enumerate(late):
        hub.subscribe(watcher, [*WIDE, "*/*"], 1.0 + n)
    flushes = 0
    while hub.next_flush() < NEVER:
        flushes += 1
        topics[0].publish(Number(flushes))
        assert flush(hub, float(flushes)) <= STEPS_BETWEEN_UPDATES + len(late) + 1
        assert quick.take() == [("m/0", flushes)]
        if flushes == 100:
            break
    assert 5 < flushes < 100
    flush(hub, 200.0)
    assert all(len(dict(watcher.take())) == TOPICS for watcher in late)


def test_models_are_not_asked_again_for_a_pattern_that_is_subscribed_again() -> None:
    hub, _ = crowded(1)
    shown: list[str] = []

    def show(name: str) -> Iterator[None]:
        shown.append(name)
        yield

    hub.show_latest = show
    model = RecordingModel("m")
    hub.add_model(model)
    watcher = RecordingWatcher(FORM)
    for hz in (10.0, 10.0, 20.0):
        hub.subscribe(watcher, ["m/*"], hz)
        flush(hub, 0.0)
        assert watcher.take() == [("m/0", 0)]
    assert (model.hubs, shown) == ([hub], ["m"])
    for _ in range(100):  # before anything is shown
        hub.unsubscribe(watcher, ["m/*"])
        hub.subscribe(watcher, ["m/*"], 10.0)
    flush(hub, 1.0)
    assert shown == ["m"] * 2
