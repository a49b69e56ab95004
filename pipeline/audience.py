"""Those who watch the same topics at the same rate in the same form: what is sent to them is made once."""

import logging
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from pipeline.codec import Codec
from pipeline.messages import Gap
from pipeline.topics import Pattern, Topic

log: Final = logging.getLogger(__name__)

MESSAGES_PER_PAYLOAD: Final = 64
PAYLOAD_BYTES: Final = 65536  # a payload is full once it has as many
WATCHERS_PER_TURN: Final = 64
COMPARISONS_PER_TURN: Final = 512  # of a topic with a pattern


class Format(Protocol):
    """How messages travel to a watcher. Watchers with the same format share payloads."""

    @property
    def codec(self) -> Codec:
        """The encoding of each message."""

    @property
    def lists(self) -> bool:
        """Whether tensors are lists in MessagePack too."""

    def pack(self, messages: list[bytes], choice: "Choice", position: int) -> bytes:
        """Return encoded messages as they leave; with them a watcher has all of its choice up to `position`."""


class Watcher(Protocol):
    """Who gets messages."""

    @property
    def format(self) -> Format:
        """How they travel."""

    def deliver(self, payload: bytes) -> None:
        """Send what a `Format` has packed."""

    def tell(self, message: Any) -> None:
        """Send one message that is for this watcher alone."""


class Choice(NamedTuple):
    """What a watcher wants: the topics that fit any of the patterns, `hz` times a second at most."""

    patterns: tuple[str, ...]
    hz: float
    inputs: bool


class Lag(NamedTuple):
    """How far a watcher is behind: the position it has all up to, and what its audience had been sent until then."""

    position: int
    sent: int | None  # None: it is new, and has missed nothing


class Audience:
    """The watchers of one choice in one format. All times are monotonic seconds.

    `members` get what is sent; who is `behind` has yet to be told what it has missed, and those `stalled` do not read.
    What waits is one entry per topic, whoever reads or not: a watcher that stalls costs nothing until it reads again.
    """

    def __init__(
        self, choice: Choice, patterns: list[Pattern], form: Format, log_of: Collection[Topic] | None = None
    ) -> None:
        """`log_of`: what is sent is no changing value, but each entry of this log, at once."""
        self.choice = choice
        self.patterns = patterns
        self.format = form
        self.interval = 1 / choice.hz
        self.due_at = 0.0
        self.members: dict[Watcher, None] = {}
        self.behind: dict[Watcher, Lag] = {}
        self.stalled: set[Watcher] = set()
        self.topics: dict[Topic, None] = {}  # that fit, the other way round than `Topic.audiences`
        self.log_of = log_of
        self._names = {pattern.text for pattern in patterns if pattern.is_name}
        self._wide = [pattern for pattern in patterns if not pattern.is_name]
        self.pending: dict[Topic, None] = {}
        self.position = 0  # members have all that changed up to here
        self.sent = 0  # messages

    def __repr__(self) -> str:
        members = f"members={len(self.members)} behind={len(self.behind)}"
        return f"<Audience {' '.join(self.choice.patterns)} {members} pending={len(self.pending)}>"

    @property
    def is_empty(self) -> bool:
        """Whether nobody is left."""
        return not self.members and not self.behind

    def fits(self, topic: str) -> bool:
        """Return whether a topic is to be sent."""
        return topic in self._names or any(pattern.fits(topic) for pattern in self._wide)

    def fits_model(self, model: str) -> bool:
        """Return whether any topic of a model can be one to send."""
        return any(pattern.fits_model(model) for pattern in self.patterns)

    def look_up(self, known: Mapping[str, Topic]) -> None:
        """Watch the topics that are meant by their names."""
        for name in self._names:
            if (topic := known.get(name)) is not None:
                self.add(topic)

    def search(self, known: Mapping[str, Topic]) -> Iterator[None]:
        """Watch all other topics that fit, a little in each step. Those that are new meanwhile are to be `add`ed."""
        if not self._wide:
            return
        turn = max(COMPARISONS_PER_TURN // len(self._wide), 1)
        for at, topic in enumerate([] if self.is_empty else list(known.values()), 1):
            if topic not in self.topics and self.fits(topic.name) and known.get(topic.name) is topic:
                self.add(topic)
            if at % turn == 0:
                yield
                if self.is_empty:  # it is closed
                    return

    def add(self, topic: Topic) -> None:
        """Watch one more topic."""
        self.topics[topic] = None
        topic.audiences[self] = None

    def forget(self, topic: Topic) -> None:
        """Watch a topic no more that nobody publishes to."""
        self.topics.pop(topic, None)
        self.pending.pop(topic, None)

    def close(self) -> None:
        """Watch no topic any more."""
        for topic in self.topics:
            del topic.audiences[self]
        self.topics.clear()

    def start(self, watcher: Watcher, since: int) -> None:
        """Take a watcher that has everything up to a position; it is to `catch_up` once it reads."""
        self.behind[watcher] = Lag(since, None)

    def leave(self, watcher: Watcher) -> int:
        """Let a watcher go; return the position up to which it has everything."""
        self.members.pop(watcher, None)
        self.stalled.discard(watcher)
        lag = self.behind.pop(watcher, None)
        return self.position if lag is None else lag.position

    def pause(self, watcher: Watcher) -> None:
        """Send nothing to a watcher that does not read."""
        self.stalled.add(watcher)
        if watcher in self.members:
            del self.members[watcher]
            self.behind[watcher] = Lag(self.position, self.sent)

    def send(self, position: int) -> Iterator[None]:
        """Send what is pending to all members, a little in each step."""
        pending, self.pending = deque(self.pending), {}
        while pending and self.members:
            waiting = len(pending)
            messages = self._encode_some(pending)
            self.sent += waiting - len(pending)  # now, for those who stall over it
            if not messages:
                continue
            payload = self.format.pack(messages, self.choice, self.position if pending else position)
            members = iter(list(self.members))
            while turn := list(islice(members, WATCHERS_PER_TURN)):
                for member in turn:
                    if member in self.members:
                        member.deliver(payload)
                yield
        self.sent += len(pending)
        self.position = position

    def catch_up(self, watcher: Watcher) -> Iterator[None]:
        """Tell a watcher what has changed since it fell behind, a little in each step; then it is a member."""
        lag = self.behind.get(watcher)
        if lag is None or watcher in self.members:
            return
        missed = self._changed_after(lag.position)
        if lag.sent is not None and (lost := self.sent - lag.sent - len(missed)) > 0:
            watcher.tell(Gap(lost, "slow_consumer"))
        topics = deque([topic for _, topic in missed])
        while topics:
            messages = self._encode_some(topics)
            position = missed[-1 - len(topics)][0]
            if messages:
                watcher.deliver(self.format.pack(messages, self.choice, position))
            self.behind[watcher] = Lag(position, self.sent)
            yield
            if watcher in self.stalled or watcher not in self.behind:
                return  # it has stalled again, or left
            if not topics and self.position > position:
                missed = self._changed_after(position)
                topics.extend([topic for _, topic in missed])
        del self.behind[watcher]
        self.members[watcher] = None

    def _changed_after(self, position: int) -> list[tuple[int, Topic]]:
        """Return what has changed, and when, in the order of that."""
        topics = self.topics if self.log_of is None else self.log_of
        changed = [(topic.changed, topic) for topic in topics if topic.changed > position and topic.latest is not None]
        changed.sort(key=lambda item: item[0])
        return changed

    def _encode_some(self, topics: deque[Topic]) -> list[bytes]:
        """Take as many topics as make a payload; return their messages."""
        messages: list[bytes] = []
        room = PAYLOAD_BYTES
        while topics and room > 0 and len(messages) < MESSAGES_PER_PAYLOAD:
            topic = topics.popleft()
            try:
                message = topic.encoded(self.format.codec, lists=self.format.lists, inputs=self.choice.inputs)
            except Exception:  # a prediction that this encoding does not have is not worth the others
                log.exception("topic %s could not be encoded", topic.name)
            else:
                messages.append(message)
                room -= len(message)
        return messages
