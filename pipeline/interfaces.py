"""What a session needs of its neighbours, and the options it is made with."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.codec import Codec
from pipeline.messages import ServerMessage
from pipeline.tensors import Row, Shapes
from pipeline.window import Window

if TYPE_CHECKING:
    from pipeline.routes import Route
    from pipeline.stream import StreamJob


class Overflow(StrEnum):
    """What happens to an event for which there is no room."""

    REJECT = "reject"
    DROP_OLDEST = "drop_oldest"
    LATEST = "latest"


class ServingModel(Protocol):
    """What a session needs of a model."""

    name: str
    default_timeout: float  # seconds; infinity: none
    max_timeout: float  # what an event may ask for at most

    def room_for(self, source: Any) -> int:
        """Return how many rows can still be queued whose answers go to the outlet `source`."""

    def check_priority(self, priority: int) -> None:
        """Raise `InvalidInput` for a priority that the model does not have."""

    max_queue_size: int
    row_bytes: int  # the length of bytes that are a row as they are; -1: none is
    takes_numbers: bool  # one float input and no window: events may be decoded as `NumbersEvent`
    observer: Any  # an `observer.Observer` where predictions are watched or rules are about them
    window_layout: object  # windows fit another model whose layout is equal

    def parse(self, data: Any, is_numbers: bool = False) -> tuple[Row, Shapes | None]:
        """Return the row of an event's data; `is_numbers`: a list in it is flat and of floats.

        Raises `InvalidInput`.
        """

    def samples(self, data: Any) -> tuple[bytes, int]:
        """Return the samples of an event for a windowed model, and their number. Raises `InvalidInput`."""

    def new_window(self) -> Window | None:
        """Return an empty window, or None where the model has none."""

    def submit(self, job: "StreamJob") -> None:
        """Queue a row. Raises `Overloaded`, or `InvalidInput` for a priority that the model does not have."""

    def is_waiting(self, job: "StreamJob") -> bool:
        """Return whether a row has not begun to run."""

    def cancel(self, job: "StreamJob") -> None:
        """Take a row out if it still waits."""


class Models(Protocol):
    """Where a session finds models."""

    def get(self, name: str, version: str | None = None) -> ServingModel:
        """Return the model. Raises `UnknownModel` or `ModelUnavailable`."""

    def route(self, name: str, version: str | None = None) -> "Route":
        """Return the way to the model, now and after swaps. Raises as `get` does."""


class Outlet(Protocol):
    """Where a session's messages go."""

    @property
    def name(self) -> str:
        """What watchers call the stream of events without a key, after a `~`."""

    def send_message(self, message: ServerMessage, codec: Codec, seq: int | None = None) -> None:
        """Send one message; `seq` numbers the event it answers."""

    def cork(self) -> None:
        """Hold what is sent back."""

    def uncork(self) -> None:
        """Send what was held back, at once."""

    def close(self, code: int, reason: str = "") -> None:
        """Close the connection."""

    def authenticate(self, token: str) -> None:
        """Take a credential that came as a message."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a client chose in the URL, and the server's bounds."""

    max_in_flight: int = 256
    max_malformed: int = 100  # in a row; then the connection is closed
    max_keys: int = 1024
    key_idle_seconds: float = 300.0
    overflow: Overflow = Overflow.REJECT
    silent: bool = False  # reply=none: no predictions, errors only
    timings: bool = False
    lists: bool = False  # tensors=list: no bytes, in MessagePack either
    default_key: str | None = None


class KeyBudget:
    """How many keys the whole server holds."""

    __slots__ = ("count", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
