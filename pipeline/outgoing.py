"""What a process sends of its predictions and alerts, to those of the others who watch them."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from pipeline.alert_messages import Alert
from pipeline.alerts import MAX_RECENT
from pipeline.audience import Choice
from pipeline.codec import RELAY
from pipeline.fanout_messages import Card, Complete, Ended, Raised, encode
from pipeline.hub import Hub
from pipeline.messages import Gap
from pipeline.outbox import Outbox
from pipeline.topics import Topic
from pipeline.wants import Wanted, unite

log: Final = logging.getLogger(__name__)

TOPICS_PER_TURN: Final = 1024

_NOTHING: Final = RELAY.encode(None)  # type: ignore[arg-type]
_split: Final = msgspec.msgpack.Decoder(list[bytes]).decode
_join: Final = msgspec.msgpack.Encoder().encode


class RelayFormat:
    """Messages in a list (an `audience.Format`), which is for one relay."""

    codec = RELAY
    lists = False

    def __init__(self, since: int) -> None:
        self.position = since  # up to which its relay has everything

    def pack(self, messages: list[bytes], choice: Choice, position: int) -> bytes:
        """Return the list."""
        del choice
        self.position = position
        return _join(messages)


class Relay:
    """Puts updates into the outbox (an `audience.Watcher`); while that is full it is one that does not read."""

    def __init__(self, hub: Hub, outbox: Outbox, wake: Callable[[], None], since: int) -> None:
        self.format = RelayFormat(since)
        self.is_paused = False
        self._hub = hub
        self._outbox = outbox
        self._wake = wake

    def deliver(self, payload: bytes) -> None:
        """Send updates."""
        for body in _split(payload):
            if body != _NOTHING:
                self._outbox.add(body)
        self._wake()
        self.pause_if_full()

    def tell(self, message: Any) -> None:
        """Count what was missed while the outbox was full."""
        if isinstance(message, Gap):
            self._outbox.pass_over(message.count)

    def pause_if_full(self) -> None:
        """Take no more than is sent."""
        if self._outbox.is_full and not self.is_paused:
            self.is_paused = True
            self._hub.pause(self)

    def go_on(self) -> None:
        """Take more."""
        if self.is_paused and not self._outbox.is_full:
            self.is_paused = False
            self._hub.resume(self)


class Outgoing:
    """One relay for all that other processes want, and the answers to their questions."""

    def __init__(self, hub: Hub, outbox: Outbox, name: str, wake: Callable[[], None]) -> None:
        """`wake` is called when there is something to send."""
        self._hub = hub
        self._outbox = outbox
        self._name = name
        self._wake = wake
        self._relay: Relay | None = None
        self._choice: Choice | None = None
        self._wanted = Wanted()
        self._answered: dict[str, int] = {}  # by reader: the last question
        self._answers: deque[Iterator[bytes | None]] = deque()
        self._alerts: deque[Raised] = deque(maxlen=MAX_RECENT)
        self._raised = 0
        self._is_alone = False

    def __repr__(self) -> str:
        return f"<Outgoing {self._wanted!r} readers={len(self._answered)} answers={len(self._answers)}>"

    def take_cards(self, cards: Mapping[str, Card]) -> None:
        """Relay what the others want now, and answer what they ask."""
        self._choose(unite(Choice(tuple(card.wants), card.hz, card.inputs) for card in cards.values()))
        self._is_alone = not cards
        asked: set[str] = set()
        whole: list[Complete] = []
        for reader, card in cards.items():
            last = self._answered.get(reader, 0)
            if card.number <= last:
                continue
            if (number := card.again.get(self._name, 0)) > last:
                asked |= card.wants.keys()
                whole.append(Complete(reader, number))
            else:
                asked |= {text for text, number in card.wants.items() if number > last}
        self._answered = {reader: card.number for reader, card in cards.items()}
        if asked or whole:
            self._answers.append(self._answer(Wanted(asked), whole))
            self._wake()

    def tell(self, alert: Alert) -> None:
        """Send an alert that was raised here, unless nobody is there."""
        if self._is_alone:
            return
        self._raised += 1
        raised = Raised(self._raised, alert)
        self._alerts.append(raised)
        self._outbox.raise_alert(raised)
        self._wake()

    def leave(self, topic: Topic) -> None:
        """Say that nothing is published to a topic here any more, while others do."""
        if self._wanted.fits(topic.name):
            self._outbox.add(encode(Ended(topic.name)))
            self._wake()

    def fill(self) -> bool:
        """Put into the outbox what it has room for, a little at a time; return whether there is more."""
        if self._relay is not None:
            self._relay.go_on()
        turn = TOPICS_PER_TURN
        while self._answers and turn and not self._outbox.is_full:
            turn -= 1
            try:
                body = next(self._answers[0])
            except StopIteration:
                self._answers.popleft()
            else:
                if body is not None:
                    self._outbox.add(body)
        return bool(self._answers)

    def close(self) -> None:
        """Relay nothing more."""
        self._choose((set(), 0.0, False))
        self._answers.clear()
        self._answered.clear()

    def _choose(self, united: tuple[set[str], float, bool]) -> None:
        patterns, hz, inputs = united
        choice = Choice(tuple(sorted(patterns)), hz, inputs) if patterns else None
        if choice == self._choice:
            return
        former, self._relay, self._choice, self._wanted = self._relay, None, choice, Wanted(patterns)
        if choice is not None:
            since = self._hub.position if former is None else former.format.position
            relay = self._relay = Relay(self._hub, self._outbox, self._wake, since)
            self._hub.relay(relay, choice, since)
            relay.pause_if_full()
        if former is not None:  # now, so that models which are wanted both times notice nothing
            self._hub.leave(former)

    def _answer(self, wanted: Wanted, whole: list[Complete]) -> Iterator[bytes | None]:
        """Yield what there is now, with None where a topic is passed over."""
        if whole:
            yield from (encode(raised) for raised in list(self._alerts))
        topics: Iterable[Topic | None] = list(self._hub.topics.values())
        if wanted.is_exact:
            topics = map(self._hub.topics.get, wanted.texts)
        for topic in topics:
            yield None if topic is None or not wanted.fits(topic.name) else self._encoded(topic)
        yield from map(encode, whole)

    def _encoded(self, topic: Topic) -> bytes | None:
        if topic.latest is None:
            return None
        inputs = self._choice is not None and self._choice.inputs
        try:
            body = topic.encoded(RELAY, lists=False, inputs=inputs)
        except Exception:  # a prediction that cannot be told is not worth the others
            log.exception("topic %s could not be encoded", topic.name)
            return None
        return None if body == _NOTHING else body
