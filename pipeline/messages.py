"""The wire's vocabulary: one struct per message, the same in JSON and MessagePack (docs/protocol.md)."""

from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

EventId = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[str, Meta(max_length=256)]
Key = Annotated[str, Meta(max_length=256)]


class Event(Struct, forbid_unknown_fields=True, gc=False):
    """One row for a model, or one sample (or chunk of samples) for a windowed model.

    A message with an `op` is not an event: it is decoded again as one of the `Control` messages.
    """

    data: Any = UNSET
    id: EventId | None = None
    key: Key | None = None
    ts: float | None = None
    timeout_ms: Annotated[float, Meta(gt=0, le=86_400_000)] | None = None
    priority: Annotated[int, Meta(ge=0, le=255)] | None = None
    model: str | None = None
    version: int | str | None = None
    op: str | None = None


class NumbersEvent(Event, gc=False):
    """An event whose data is a flat list of numbers, which the decoder has checked in the same pass."""

    data: list[float] | float | UnsetType = UNSET


class BinaryNumbersEvent(Event, gc=False):
    """The same where the encoding has bytes (in JSON, msgspec would take base64 for them)."""

    data: bytes | list[float] | float | UnsetType = UNSET


class Salvage(Struct, gc=False):
    """What can be saved of a message that failed to decode: enough to address the error."""

    id: Any = None
    op: Any = None

    @property
    def event_id(self) -> int | str | None:
        """The id, if it may be one."""
        is_id = (type(self.id) is int and -(2**63) <= self.id < 2**63) or (type(self.id) is str and len(self.id) <= 256)
        return self.id if is_id else None


class Auth(Struct, tag_field="op", tag="auth", forbid_unknown_fields=True):
    """Credentials as a message. Accepted and ignored while no credentials are configured."""

    token: str


class Reset(Struct, tag_field="op", tag="reset", forbid_unknown_fields=True):
    """Forget the window of a key (without one: of the socket's own stream)."""

    key: Key | None = None
    model: str | None = None


class Ping(Struct, tag_field="op", tag="ping", forbid_unknown_fields=True):
    """Ask for a `pong` that carries `t` back."""

    t: Any = None


Control = Auth | Reset | Ping


class Prediction(Struct, omit_defaults=True, gc=False):
    """The answer to one event. `us` is there with `?timings=1` only."""

    id: int | str | None = None
    seq: int | None = None
    key: str | None = None
    outputs: dict[str, Any] | UnsetType = UNSET
    label: str | dict[str, str] | None = None
    us: dict[str, int] | None = None


class ErrorBody(Struct, omit_defaults=True):
    """Why an event was not answered by a prediction."""

    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None = None


class Failure(Struct, omit_defaults=True, kw_only=True):
    """The answer to an event that was refused or that failed."""

    id: int | str | None = None
    seq: int | None = None
    key: str | None = None
    error: ErrorBody


class TensorInfo(Struct, omit_defaults=True):
    """A tensor of one row: no batch dimension; `None` is a dynamic dimension. `optional`: events may leave it out."""

    name: str
    dtype: str
    shape: list[int | None]
    optional: bool = False


class WindowInfo(Struct):
    """Sliding window in samples; an event carries samples, a row is `length` of them."""

    length: int
    hop: int


class BatchingInfo(Struct):
    """How rows of many sockets are put together."""

    max_batch_size: int
    max_queue_size: int
    max_queue_delay_microseconds: int


class StepInfo(Struct):
    """The model of one step of an ensemble."""

    model: str
    version: str


class VersionInfo(Struct, omit_defaults=True):
    """One of several versions."""

    version: str
    state: str
    labels: list[str] | None = None
    reason: str | None = None


class ModelInfo(Struct, omit_defaults=True):
    """What a client must know of a model.

    `versions` are there where there are several, or labels; `steps` where it is an ensemble.
    """

    name: str
    version: str
    state: str
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    batching: BatchingInfo | None = None
    window: WindowInfo | None = None
    labels: dict[str, list[str]] | None = None
    reason: str | None = None
    versions: list[VersionInfo] | None = None
    steps: list[StepInfo] | None = None


class Limits(Struct):
    """Bounds of one socket."""

    max_message_bytes: int
    max_in_flight: int


class Welcome(Struct, tag_field="op", tag="welcome", omit_defaults=True):
    """The first message on a socket with a subprotocol."""

    server: str
    session: str
    limits: Limits
    model: ModelInfo | None = None
    models: list[ModelInfo] | None = None


class Pong(Struct, tag_field="op", tag="pong"):
    """The answer to `ping`."""

    t: Any = None


class Authenticated(Struct, tag_field="op", tag="authenticated"):
    """A credential that came as a message was accepted: whose it is."""

    name: str


class Gap(Struct, tag_field="op", tag="gap", omit_defaults=True):
    """Events (or samples of a window) of a key that were dropped by policy."""

    count: int
    why: str
    key: str | None = None
    model: str | None = None


class Goaway(Struct, tag_field="op", tag="goaway"):
    """The server will close this socket; new events are refused."""

    reason: str
    reconnect_in_ms: int


ServerMessage = Prediction | Failure | Welcome | Pong | Gap | Goaway


class Subprotocol:
    """Names a client offers in `Sec-WebSocket-Protocol`."""

    JSON: ClassVar[str] = "waterspout.v1.json"
    MSGPACK: ClassVar[str] = "waterspout.v1.msgpack"
