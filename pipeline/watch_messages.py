"""The vocabulary of `/v1/watch`: one struct per message, the same in JSON and MessagePack (docs/protocol.md)."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from pipeline.messages import Auth, Gap, Goaway, ModelInfo, Ping, Pong
from pipeline.pulse_messages import Stats

MAX_PATTERNS = 64  # of one watcher
MAX_PATTERN_LENGTH = 512
DEFAULT_HZ = 10.0

PatternText = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN_LENGTH)]
PatternTexts = Annotated[list[PatternText], Meta(min_length=1, max_length=MAX_PATTERNS)]
Hz = Annotated[float, Meta(ge=0.1, le=60)]


class Subscribe(Struct, tag_field="op", tag="subscribe", forbid_unknown_fields=True):
    """Send the latest of each topic that fits, at most `hz` times a second; `inputs`: with what the model got."""

    topics: PatternTexts
    hz: Hz = DEFAULT_HZ
    inputs: bool = False


class Unsubscribe(Struct, tag_field="op", tag="unsubscribe", forbid_unknown_fields=True):
    """Send no more of these patterns."""

    topics: PatternTexts


WatchOrder = Subscribe | Unsubscribe | Auth | Ping


class WatchLimits(Struct):
    """Bounds of one watcher."""

    max_message_bytes: int
    max_topics: int


class WatchWelcome(Struct, tag_field="op", tag="welcome"):
    """The first message on a socket with a subprotocol."""

    server: str
    session: str
    limits: WatchLimits
    models: list[ModelInfo]


class Subscribed(Struct, tag_field="op", tag="subscribed", omit_defaults=True):
    """What is subscribed from now on; the snapshot follows."""

    topics: list[str]
    hz: float
    inputs: bool = False


class Unsubscribed(Struct, tag_field="op", tag="unsubscribed"):
    """What is subscribed no more."""

    topics: list[str]


class Timings(Struct):
    """Microseconds from arrival to run, of the run, and from arrival to answer; rows of the batch."""

    queue: int
    run: int
    total: int
    batch: int


class Update(Struct, omit_defaults=True, gc=False):
    """The latest prediction of one topic, which is the `n`th while the topic was watched; `ts` is unix seconds."""

    topic: str
    n: int
    ts: float
    version: str
    id: int | str | None = None
    label: str | dict[str, str] | None = None
    outputs: dict[str, Any] | UnsetType = UNSET
    us: Timings | None = None
    inputs: dict[str, Any] | None = None
    ended: bool = False


class StatsUpdate(Struct):
    """The server's statistics at `ts`, unix seconds; as the value of a topic it is its own message."""

    topic: str
    ts: float
    stats: Stats

    def message(self, topic: object, *, lists: bool, inputs: bool) -> "StatsUpdate":
        """Return itself."""
        del topic, lists, inputs
        return self

    def relayed(self, topic: object, *, inputs: bool) -> None:
        """Return nothing: they are those of one process."""
        del topic, inputs


class AlertUpdate(Struct):
    """A rule of a model was met."""

    topic: str
    alert: Any


WatchMessage = WatchWelcome | Subscribed | Unsubscribed | Update | StatsUpdate | AlertUpdate | Gap | Goaway | Pong
