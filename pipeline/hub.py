"""From predictions to watchers: topics, subscriptions and conflation.

What is published costs the same whoever watches: the topic is noted as changed. `flush`, at most 60 times a second,
tells each audience that is due about the topics that have changed since it was told last, the latest value of each.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from pipeline.audience import Audience, Choice, Format, Watcher
from pipeline.errors import InvalidMessage
from pipeline.messages import Gap
from pipeline.topic_table import TopicTable
from pipeline.topics import ALERTS, STATS, Observed, Pattern, Topic, Value, read_patterns
from pipeline.watch_messages import MAX_PATTERNS

NEVER: Final = float("inf")
AT_ONCE_HZ: Final = 60.0
RECENT_ALERTS: Final = 256
TOPICS_PER_TURN: Final = 256
STEPS_BETWEEN_UPDATES: Final = 256  # of those who begin to watch, while the others wait


def _do_nothing(*arguments: object) -> None:
    del arguments


def _show_nothing(model: str) -> Iterator[None]:
    del model
    return iter(())


class Hub:
    """All topics and those who watch them. Not thread-safe; all times are monotonic seconds."""

    def __init__(self) -> None:
        #: Asks for a `flush`.
        self.wake: Callable[[], None] = _do_nothing
        #: Has the live streams of a model show what they answered last, a little in each step.
        self.show_latest: Callable[[str], Iterator[None]] = _show_nothing
        #: Told when `$stats` begins to be watched, and when it ends.
        self.on_stats: Callable[[bool], None] = _do_nothing
        #: Told when others' choices than before are watched.
        self.on_choices: Callable[[], None] = _do_nothing
        #: Told of a topic whose last stream here has gone, and to which other processes still publish.
        self.on_left: Callable[[Topic], None] = _do_nothing
        self._position = 0
        self._alerts: deque[Topic] = deque(maxlen=RECENT_ALERTS)
        self._audiences: dict[tuple[Choice, Format], Audience] = {}
        self._topics = TopicTable(self, self._audiences)
        self._topics.renew(STATS)
        self._subscriptions: dict[Watcher, list[Audience]] = {}
        self._relays: set[Watcher] = set()
        self._paused: set[Watcher] = set()
        self._dirty: list[Topic] = []
        self._waiting: dict[Audience, None] = {}  # those with something pending
        self._catching_up: deque[Iterator[None]] = deque()  # each goes on once those before it are done
        self._unshown: set[str] = set()  # models whose `show_latest` is among them, not begun
        self._models: dict[Observed, bool] = {}  # and whether each publishes

    def __repr__(self) -> str:
        return f"<Hub topics={len(self._topics)} audiences={len(self._audiences)} watchers={len(self._subscriptions)}>"

    @property
    def watchers(self) -> int:
        """How many watchers there are that have subscribed to anything."""
        return len(self._subscriptions) - len(self._relays)

    @property
    def choices(self) -> list[Choice]:
        """What is watched here."""
        relays = {relay.format for relay in self._relays}
        return [choice for choice, form in self._audiences if form not in relays]

    @property
    def topics(self) -> Mapping[str, Topic]:
        """All that can be watched, and what has ended lately, by name."""
        return self._topics.by_name

    @property
    def position(self) -> int:
        """How many changes there were."""
        return self._position

    def topic(self, name: str) -> Topic:
        """Return the topic of a stream, which holds it until `release`."""
        topic = self._topics.begin(name)
        topic.holders += 1
        return topic

    def admit(self, name: str) -> Topic:
        """Return the topic of another process, which publishes here until `dismiss`."""
        topic = self._topics.begin(name)
        topic.guests += 1
        return topic

    def release(self, topic: Topic) -> None:
        """Let go of a topic; the last one to do so ends it."""
        topic.holders -= 1
        if topic.holders:
            return
        if topic.guests:
            self.on_left(topic)
        else:
            self._topics.end(topic)

    def dismiss(self, topic: Topic, *, is_over: bool) -> None:
        """Let another process go. `is_over`: it has nothing more to show; else nobody here wants to see it."""
        topic.guests -= 1
        if not topic.guests and not topic.holders:
            (self._topics.end if is_over else self._topics.forget)(topic)

    def note(self, topic: Topic) -> int:
        """Take note that a topic has changed, for the next flush; return the position of that."""
        if topic.audiences and not topic.is_dirty:
            topic.is_dirty = True
            self._dirty.append(topic)
            if len(self._dirty) == 1:
                self.wake()
        return self.step()

    def step(self) -> int:
        """Return the next position, for a change of its own."""
        self._position += 1
        return self._position

    def publish_stats(self, value: Value) -> None:
        """Show the server's statistics."""
        self._topics.by_name[STATS].publish(value)

    def announce(self, value: Value) -> None:
        """Tell all who watch alerts at once of one more, past any conflation."""
        topic = Topic(ALERTS, self)
        topic.publish(value)
        self._alerts.append(topic)
        for audience in self._audiences.values():
            if audience.log_of is self._alerts:
                audience.pending[topic] = None
                for _ in audience.send(self._position):
                    pass

    def add_model(self, model: Observed) -> None:
        """Let a model's predictions be watched."""
        self._models[model] = False
        self._observe([model], self._audiences.values())
        if self._catching_up:
            self.wake()

    def remove_model(self, model: Observed) -> None:
        """Forget a model that serves no more; what it still answers is published if it was before."""
        self._models.pop(model, None)

    def subscribe(self, watcher: Watcher, texts: list[str], hz: float, *, inputs: bool = False, since: int = 0) -> None:
        """Send a watcher all that fits: what has changed after position `since`, and from then on each change.

        A pattern that it had before gets the new `hz` and `inputs`. Raises `InvalidMessage`, and has then changed
        nothing.
        """
        patterns = {pattern.text: pattern for pattern in read_patterns(texts)}
        had = self.patterns_of(watcher)
        if len(had | patterns.keys()) > MAX_PATTERNS:
            raise InvalidMessage(f"topics: a watcher may have {MAX_PATTERNS} patterns, it has {len(had)} already")
        left = self._drop(watcher, patterns.keys())
        for own in (STATS, ALERTS):
            if pattern := patterns.pop(own, None):
                self._join(watcher, [pattern], Choice((own,), AT_ONCE_HZ, False), since or self._since(own))
        if patterns:
            self._join(watcher, list(patterns.values()), Choice(tuple(sorted(patterns)), hz, inputs), since)
        for audience in left:  # now, so that what is watched again goes on
            self._close_if_empty(audience)
        self.wake()

    def patterns_of(self, watcher: Watcher) -> set[str]:
        """Return what a watcher has subscribed to."""
        return {text for audience in self._subscriptions.get(watcher, ()) for text in audience.choice.patterns}

    def relay(self, watcher: Watcher, choice: Choice, since: int) -> None:
        """Send what has changed after `since` to a watcher that passes it on to other processes.

        It counts as none that watches here, and may have any number of patterns. Raises `InvalidMessage`.
        """
        patterns = read_patterns(choice.patterns)
        self._relays.add(watcher)
        self._join(watcher, patterns, choice, since)
        self.wake()

    def unsubscribe(self, watcher: Watcher, texts: list[str]) -> None:
        """Send no more of these patterns. Raises `InvalidMessage` for one that the watcher does not have."""
        had = self.patterns_of(watcher)
        for at, text in enumerate(texts):
            if text not in had:
                raise InvalidMessage(f"topics[{at}]: {text[:100]!r} is not subscribed")
        for audience in self._drop(watcher, set(texts)):
            self._close_if_empty(audience)
        if not self._subscriptions[watcher]:
            del self._subscriptions[watcher]
        self.wake()

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        for audience in self._subscriptions.pop(watcher, []):
            audience.leave(watcher)
            self._close_if_empty(audience)
        self._paused.discard(watcher)
        self._relays.discard(watcher)

    def tell(self, gap: Gap) -> None:
        """Tell all who watch more than the server's statistics that something is missing."""
        for watcher, audiences in self._subscriptions.items():
            if watcher not in self._relays and any(audience.choice.patterns != (STATS,) for audience in audiences):
                watcher.tell(gap)

    def pause(self, watcher: Watcher) -> None:
        """Send nothing to a watcher that does not read."""
        self._paused.add(watcher)
        for audience in self._subscriptions.get(watcher, ()):
            audience.pause(watcher)

    def resume(self, watcher: Watcher) -> None:
        """Tell a watcher that reads again what it has missed, the latest of each topic, and go on."""
        self._paused.discard(watcher)
        for audience in self._subscriptions.get(watcher, ()):
            audience.stalled.discard(watcher)
            self._catching_up.append(audience.catch_up(watcher))
        self.wake()

    def flush(self, now: float) -> Iterator[None]:
        """Send what is due, a little in each step, so that others have their turn in between."""
        position = self._position
        dirty, self._dirty = self._dirty, []
        for at, topic in enumerate(dirty):
            topic.is_dirty = False
            for audience in topic.audiences:
                audience.pending[topic] = None
                self._waiting[audience] = None
            if at % TOPICS_PER_TURN == TOPICS_PER_TURN - 1:
                yield
        for audience in [audience for audience in self._waiting if audience.due_at <= now]:
            if audience not in self._waiting:  # all have left while others were sent theirs
                continue
            del self._waiting[audience]
            audience.due_at = now + audience.interval
            yield from audience.send(position)
        steps = 0
        while self._catching_up and steps < STEPS_BETWEEN_UPDATES:
            if next(self._catching_up[0], True):
                self._catching_up.popleft()
            else:
                steps += 1
                yield
        self._topics.forget_ended(now)

    def next_flush(self) -> float:
        """Return when the next flush has something to do; infinity: when `wake` says so."""
        if self._dirty or self._catching_up:
            return 0.0
        return min((audience.due_at for audience in self._waiting), default=NEVER)

    def _since(self, own: str) -> int:
        """Return from where on a new watcher is told: `$stats` are shown as they are, alerts as they come."""
        return self._position if own == ALERTS else 0

    def _join(self, watcher: Watcher, patterns: list[Pattern], choice: Choice, since: int) -> None:
        form = watcher.format
        audience = self._audiences.get((choice, form))
        if audience is None:
            audience = self._open(choice, patterns, form)
        self._subscriptions.setdefault(watcher, []).append(audience)
        audience.start(watcher, since)
        if watcher in self._paused:
            audience.pause(watcher)
        else:
            self._catching_up.append(audience.catch_up(watcher))

    def _open(self, choice: Choice, patterns: list[Pattern], form: Format) -> Audience:
        is_log = choice.patterns == (ALERTS,)
        audience = Audience(choice, patterns, form, self._alerts if is_log else None)
        audience.position = self._position
        self._audiences[choice, form] = audience
        self._observe([model for model, is_observed in self._models.items() if not is_observed], [audience])
        if not is_log:
            audience.look_up(self._topics.by_name)
            self._catching_up.append(audience.search(self._topics.by_name))
        if choice.patterns == (STATS,):
            self.on_stats(True)
        self.on_choices()
        return audience

    def _drop(self, watcher: Watcher, texts: Iterable[str]) -> list[Audience]:
        """Take patterns from a watcher; what it has besides them goes on where it is. Return what it has left."""
        gone = set(texts)
        left = []
        for audience in self._subscriptions.get(watcher, [])[:]:
            kept = [pattern for pattern in audience.patterns if pattern.text not in gone]
            if len(kept) < len(audience.patterns):
                self._subscriptions[watcher].remove(audience)
                position = audience.leave(watcher)
                if kept:
                    choice = audience.choice._replace(patterns=tuple(sorted(pattern.text for pattern in kept)))
                    self._join(watcher, kept, choice, position)
                left.append(audience)
        return left

    def _close_if_empty(self, audience: Audience) -> None:
        if not audience.is_empty:
            return
        del self._audiences[audience.choice, audience.format]
        self._waiting.pop(audience, None)
        audience.close()
        if audience.choice.patterns == (STATS,) and not self._topics.by_name[STATS].audiences:
            self.on_stats(False)
            self._topics.renew(STATS)
        for model in [model for model, is_observed in self._models.items() if is_observed]:
            if audience.fits_model(model.name) and not self._is_wanted(model):
                self._models[model] = False
                model.observe(None)
        self.on_choices()

    def _observe(self, models: Iterable[Observed], audiences: Iterable[Audience]) -> None:
        """Have those models publish that the audiences watch, beginning with what their streams answered last."""
        for model in models:
            if any(audience.fits_model(model.name) for audience in audiences):
                self._models[model] = True
                model.observe(self)
                if model.name not in self._unshown:
                    self._unshown.add(model.name)
                    self._catching_up.append(self._show(model.name))

    def _show(self, model: str) -> Iterator[None]:
        self._unshown.discard(model)
        yield from self.show_latest(model)

    def _is_wanted(self, model: Observed) -> bool:
        return any(audience.fits_model(model.name) for audience in self._audiences.values())
