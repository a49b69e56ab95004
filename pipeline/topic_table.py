"""Which topics there are: from when somebody publishes to one until a while after the last who did has gone."""

from collections.abc import Mapping
from typing import Any, Final

from pipeline.audience import Audience
from pipeline.topics import Keeper, Topic

LINGER_SECONDS: Final = 60.0  # that a topic is known after its last stream has gone
MAX_LINGERING: Final = 10_000


class TopicTable:
    """Topics by name, each known to the audiences that it fits. All times are monotonic seconds."""

    def __init__(self, keeper: Keeper, audiences: Mapping[Any, Audience]) -> None:
        """`audiences` are those of the keeper, now and later."""
        self._keeper = keeper
        self._audiences = audiences
        self._topics: dict[str, Topic] = {}
        self._lingering: dict[Topic, float | None] = {}  # those that have ended, and until when

    def __len__(self) -> int:
        """Return the number of topics, those that have ended lately included."""
        return len(self._topics)

    def __repr__(self) -> str:
        return f"<TopicTable {len(self)} ended={len(self._lingering)}>"

    @property
    def by_name(self) -> Mapping[str, Topic]:
        """All of them."""
        return self._topics

    def begin(self, name: str) -> Topic:
        """Return a topic to which somebody begins to publish."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self.renew(name)
            for audience in self._audiences.values():
                if audience.fits(name):
                    audience.add(topic)
        if topic.ended:
            topic.ended = False
            self._lingering.pop(topic, None)
        return topic

    def renew(self, name: str) -> Topic:
        """Return a topic that remembers nothing, in the place of what had its name."""
        topic = self._topics[name] = Topic(name, self._keeper)
        return topic

    def end(self, topic: Topic) -> None:
        """Take note that nobody publishes to a topic any more."""
        topic.ended = True
        self._lingering[topic] = None  # which `forget_ended` knows
        if topic.latest is not None:
            topic.touch()
        if len(self._lingering) > MAX_LINGERING:
            self.forget(next(iter(self._lingering)))

    def forget_ended(self, now: float) -> None:
        """Forget the topics that have ended a while ago."""
        for topic, until in list(self._lingering.items()):
            if until is None:
                self._lingering[topic] = now + LINGER_SECONDS
            elif until <= now:
                self.forget(topic)

    def forget(self, topic: Topic) -> None:
        """Know a topic no more, nor have its audiences wait for anything of it."""
        self._lingering.pop(topic, None)
        del self._topics[topic.name]
        for audience in topic.audiences:
            audience.forget(topic)
        topic.audiences.clear()
