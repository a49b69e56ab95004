"""What can be watched: topics, each with its latest value, and the patterns that choose among them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from pipeline.codec import RELAY, Codec
from pipeline.errors import InvalidMessage

if TYPE_CHECKING:
    from pipeline.audience import Audience

STATS: Final = "$stats"
ALERTS: Final = "$alerts"


class Pattern:
    """`{model}/{key}`, in which `*` stands for any run of characters; or the name of one of the server's own topics."""

    __slots__ = ("_is_own", "_key", "_model", "is_name", "text")

    def __init__(self, text: str) -> None:
        """Read it. Raises `InvalidMessage`."""
        model, slash, key = text.partition("/")
        self._is_own = text in (STATS, ALERTS)
        if not self._is_own and (not slash or not model or not key or model.startswith("$")):
            raise InvalidMessage(f"expected {{model}}/{{key}}, {STATS} or {ALERTS}, got {text[:100]!r}")
        self.text = text
        self.is_name = "*" not in text  # of the only topic that fits
        self._model = model.split("*")
        self._key = key.split("*")

    def __repr__(self) -> str:
        return f"<Pattern {self.text}>"

    def fits(self, topic: str) -> bool:
        """Return whether a topic is one of those that are meant."""
        if self._is_own:
            return topic == self.text
        model, slash, key = topic.partition("/")
        return bool(slash) and matches(self._model, model) and matches(self._key, key)

    def fits_model(self, model: str) -> bool:
        """Return whether any topic of a model can be meant."""
        return not self._is_own and matches(self._model, model)


def read_patterns(texts: Iterable[str]) -> list[Pattern]:
    """Return the patterns of a message. Raises `InvalidMessage` that names the one that is wrong."""
    patterns = []
    for at, text in enumerate(texts):
        try:
            patterns.append(Pattern(text))
        except InvalidMessage as error:
            raise InvalidMessage(f"topics[{at}]: {error}") from error
    return patterns


class Value(Protocol):
    """What a topic shows."""

    @property
    def ts(self) -> float:
        """When it was made, unix seconds."""

    def message(self, topic: "Topic", *, lists: bool, inputs: bool) -> Any:
        """Return the message that tells it; `lists`: tensors as lists and not as bytes."""

    def relayed(self, topic: "Topic", *, inputs: bool) -> Any:
        """Return what tells it to other processes; None: it came from one of them, or stays here."""


class Observed(Protocol):
    """A model whose predictions can be watched."""

    name: str

    def observe(self, hub: Any) -> None:
        """Publish each prediction to a `Hub` from now on; None: publish none."""


class Keeper(Protocol):
    """Who keeps topics."""

    def step(self) -> int:
        """Return the position of a change that nobody need be told of."""

    def note(self, topic: "Topic") -> int:
        """Take note of a change and return its position."""

    def release(self, topic: "Topic") -> None:
        """Take note that one of those who hold a topic has let go of it."""


class Topic:
    """A name, its latest value and who wants to know.

    `n` counts the values, `changed` is the hub's position at the last change, `holders` are the streams that publish
    here, and `guests` the other processes that do; once there is neither the topic has `ended`.
    """

    __slots__ = (
        "_encoded",
        "_keeper",
        "audiences",
        "changed",
        "ended",
        "guests",
        "holders",
        "is_dirty",
        "latest",
        "n",
        "name",
    )

    def __init__(self, name: str, keeper: Keeper) -> None:
        self.name = name
        self.latest: Value | None = None
        self.n = 0
        self.changed = 0
        self.audiences: dict[Audience, None] = {}
        self.is_dirty = False  # and noted as that
        self.holders = 0
        self.guests = 0
        self.ended = False
        self._keeper = keeper
        self._encoded: dict[tuple[str, bool, bool], bytes] = {}

    def __repr__(self) -> str:
        return f"<Topic {self.name} n={self.n} audiences={len(self.audiences)}>"

    def publish(self, value: Value) -> None:
        """Take a new value."""
        self.n += 1
        self.latest = value
        self.touch()

    def touch(self) -> None:
        """Tell everybody again."""
        self._encoded.clear()
        self.changed = self._keeper.note(self)

    def show(self, value: Value) -> None:
        """Take a value that is not new; it is told to those who begin to watch."""
        self.latest = value
        self._encoded.clear()
        self.changed = self._keeper.step()

    def release(self) -> None:
        """Publish here no more."""
        self._keeper.release(self)

    def encoded(self, codec: Codec, *, lists: bool, inputs: bool) -> bytes:
        """Return the message about the latest value, encoded once for all that want it in this form."""
        form = codec.name, lists, inputs
        encoded = self._encoded.get(form)
        if encoded is None:
            value = self.latest
            assert value is not None
            if codec is RELAY:
                encoded = codec.encode(value.relayed(self, inputs=inputs))
            else:
                encoded = codec.encode(value.message(self, lists=lists, inputs=inputs))
            self._encoded[form] = encoded
        return encoded


def matches(parts: list[str], text: str) -> bool:
    """Return whether `text` is the parts of a pattern with anything between them."""
    first, *middle = parts
    if not middle:
        return text == first
    last = middle.pop()
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
