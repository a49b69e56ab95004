"""Whatever happens in whatever order, watchers see the latest, and not too often."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.hub import NEVER, Hub

from .hub_parts import Lines, Number, RecordingWatcher, flush


class Histories(RuleBasedStateMachine):
    """A watcher that reads ends with the latest of each topic that fits."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        self.now = 0.0
        self.form = Lines()
        self.topics = {name: self.hub.topic(name) for name in ("m/a", "m/b", "n/a")}
        self.watchers = [RecordingWatcher(self.form) for _ in range(3)]
        self.wanted: list[set[str]] = [set() for _ in self.watchers]
        self.paused = [False] * 3
        self.values: dict[str, int] = {}
        self.seen: list[dict[str, int]] = [{} for _ in self.watchers]

    @rule(name=st.sampled_from(["m/a", "m/b", "n/a"]))
    def publish(self, name: str) -> None:
        self.values[name] = self.values.get(name, 0) + 1
        self.topics[name].publish(Number(self.values[name]))

    @rule(
        who=st.integers(0, 2),
        texts=st.sets(st.sampled_from(["m/*", "*/a", "n/a", "*/*"]), min_size=1),
        hz=st.sampled_from([1.0, 10.0]),
    )
    def subscribe(self, who: int, texts: set[str], hz: float) -> None:
        self.hub.subscribe(self.watchers[who], sorted(texts), hz)
        self.wanted[who] |= texts

    @rule(who=st.integers(0, 2), data=st.data())
    def unsubscribe(self, who: int, data: st.DataObject) -> None:
        if self.wanted[who]:
            text = data.draw(st.sampled_from(sorted(self.wanted[who])))
            self.hub.unsubscribe(self.watchers[who], [text])
            self.wanted[who].remove(text)

    @rule(who=st.integers(0, 2))
    def pause_or_resume(self, who: int) -> None:
        self.paused[who] = not self.paused[who]
        (self.hub.pause if self.paused[who] else self.hub.resume)(self.watchers[who])

    @rule(who=st.integers(0, 2))
    def leave(self, who: int) -> None:
        self.hub.leave(self.watchers[who])
        self.wanted[who].clear()
        self.paused[who] = False

    @rule(steps=st.integers(0, 3))
    def flush_in_part_then_whole(self, steps: int) -> None:
        self.now += 0.05
        running = self.hub.flush(self.now)
        for _ in range(steps):
            next(running, None)
        self.publish("m/a")
        list(running)

    @invariant()
    def nothing_comes_to_those_who_do_not_read_and_no_value_goes_back(self) -> None:
        for watcher, seen in zip(self.watchers, self.seen, strict=True):
            for topic, value in watcher.take():
                assert value >= seen.get(topic, 0)
                seen[topic] = value

    def teardown(self) -> None:
        for who, watcher in enumerate(self.watchers):
            if self.paused[who]:
                self.hub.resume(watcher)
        for _ in range(3):
            self.now += 2.0
            flush(self.hub, self.now)
        assert self.hub.next_flush() == NEVER
        self.nothing_comes_to_those_who_do_not_read_and_no_value_goes_back()
        for wanted, seen in zip(self.wanted, self.seen, strict=True):
            fitting = {
                name
                for name in self.values
                for text in wanted
                if text in ("*/*", name) or (text == "m/*" and name[0] == "m") or (text == "*/a" and name[2] == "a")
            }
            assert {name: seen.get(name) for name in fitting} == {name: self.values[name] for name in fitting}


TestHistories = Histories.TestCase


@given(st.lists(st.sampled_from([0.01, 0.05, 0.2]), max_size=40), st.sampled_from([1.0, 7.0, 10.0, 60.0]))
def test_no_watcher_is_told_more_often_than_it_asked_for(waits: list[float], hz: float) -> None:
    hub = Hub()
    topic = hub.topic("m/a")
    watcher = RecordingWatcher(Lines())
    hub.subscribe(watcher, ["m/a"], hz)
    flush(hub, 0.0)
    now, times = 0.0, []
    for at, wait in enumerate(waits):
        now += wait
        topic.publish(Number(at))
        flush(hub, now)
        if watcher.take():
            times.append(now)
    assert all(later - earlier >= 1 / hz - 1e-9 for earlier, later in pairwise(times))
