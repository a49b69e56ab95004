"""Watchers, models and values for the tests of the hub."""

from typing import Any

import msgspec

from pipeline.audience import Choice
from pipeline.codec import JSON
from pipeline.hub import Hub
from pipeline.topics import Topic


class Lines:
    """Messages as JSON, one a line."""

    codec = JSON
    lists = True

    def __init__(self) -> None:
        self.packed = 0

    def pack(self, messages: list[bytes], choice: Choice, position: int) -> bytes:
        """Return the messages after the position."""
        del choice
        self.packed += 1
        return b"\n".join([b"%d" % position, *messages])


class RecordingWatcher:
    """Keeps what it is sent."""

    def __init__(self, form: Lines) -> None:
        self.format = form
        self.messages: list[dict[str, Any]] = []
        self.told: list[Any] = []
        self.position = 0

    def deliver(self, payload: bytes) -> None:
        position, *messages = payload.split(b"\n")
        self.position = int(position)
        self.messages += [msgspec.json.decode(message) for message in messages]

    def tell(self, message: Any) -> None:
        self.told.append(message)

    def take(self) -> list[tuple[str, int]]:
        """Return topic and value of what has come since the last call."""
        taken, self.messages = self.messages, []
        return [(message["topic"], message["value"]) for message in taken]


class Shown(msgspec.Struct):
    """What watchers see of a `Number`."""

    topic: str
    value: int
    n: int
    inputs: bool
    ended: bool


class Number:
    """A value that counts how often it was encoded."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.ts = float(value)
        self.encoded = 0

    def message(self, topic: Topic, *, lists: bool, inputs: bool) -> Shown:
        assert lists
        self.encoded += 1
        return Shown(topic.name, self.value, topic.n, inputs, topic.ended)

    def relayed(self, topic: Topic, *, inputs: bool) -> None: ...


class RecordingModel:
    """Keeps whether its predictions are wanted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hubs: list[Hub | None] = []

    def observe(self, hub: Hub | None) -> None:
        self.hubs.append(hub)


def flush(hub: Hub, now: float) -> int:
    """Flush to the end; return in how many steps."""
    return sum(1 for _ in hub.flush(now))
