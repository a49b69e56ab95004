"""A session with everything around it in the test's hands: its models, its outlet, its clock."""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from pipeline.codec import JSON, Codec
from pipeline.errors import DecodedForAnother, InvalidInput, Overloaded, UnknownModel, WaterspoutError
from pipeline.interfaces import KeyBudget, Models, Overflow, ServingModel, SessionOptions
from pipeline.messages import Failure, Gap, Prediction, ServerMessage
from pipeline.results import BatchResult
from pipeline.routes import Route, Routes
from pipeline.session import Session
from pipeline.stream import StreamJob
from pipeline.tensors import DTYPES, Row, Shapes, TensorSpec
from pipeline.window import Window, WindowSpec

NUMBER = TensorSpec("y", DTYPES["float64"], ())
ROOMY = 1_000_000

T = TypeVar("T")


def result_of(rows: Sequence[Row], labels: dict[str, list[str]] | None = None) -> BatchResult:
    """Return what a model gives that answers each row with the sum of its numbers."""
    sums = [float(np.frombuffer(row[0], np.float64).sum()) for row in rows if isinstance(row[0], bytes)]
    return BatchResult([NUMBER], [np.array(sums)], labels or {})


class FakeModel:
    """A model of one number (or a window of numbers) whose runs begin and end when the test says so."""

    def __init__(self, name: str = "sum", *, room: int = ROOMY, window: tuple[int, int] | None = None) -> None:
        self.name = name
        self.default_timeout = math.inf
        self.max_timeout = math.inf
        self.takes_numbers = False
        self.observer: Any = None
        self.max_queue_size = room
        self.row_bytes = NUMBER.nbytes
        self.limit = room
        self.waiting: list[StreamJob] = []
        self.running: list[StreamJob] = []
        self.cancelled: list[StreamJob] = []
        self._window = WindowSpec(*window) if window else None
        self.window_layout: object = self._window

    @property
    def room(self) -> int:
        return self.limit - len(self.waiting)

    def room_for(self, source: Any) -> int:
        return self.room

    def check_priority(self, priority: int) -> None: ...

    def parse(self, data: Any, is_numbers: bool = False) -> tuple[Row, Shapes | None]:
        cell, _ = NUMBER.parse(data, "data")
        return (cell,), None

    def samples(self, data: Any) -> tuple[bytes, int]:
        if not isinstance(data, list) or not data:
            raise InvalidInput("data: expected samples")
        return struct.pack(f"<{len(data)}d", *data), len(data)

    def new_window(self) -> Window | None:
        return Window(self._window, 8) if self._window else None

    def submit(self, job: StreamJob) -> None:
        if self.room <= 0:
            raise Overloaded("the model's queue is full")
        self.waiting.append(job)

    def is_waiting(self, job: StreamJob) -> bool:
        return job.queued

    def cancel(self, job: StreamJob) -> None:
        self.cancelled.append(job)
        if job.queued:
            job.queued = False
            self.waiting.remove(job)

    def start(self, count: int | None = None) -> list[StreamJob]:
        """Begin to run the oldest `count` rows; return them."""
        jobs, self.waiting = self.waiting[:count], self.waiting[len(self.waiting) if count is None else count :]
        for job in jobs:
            job.queued = False
        self.running += jobs
        return jobs

    def finish(self, *jobs: StreamJob, labels: dict[str, list[str]] | None = None, run: float = 0.0) -> None:
        """End the run of a batch (without `jobs`: of all rows there are) with its predictions."""
        batch = list(jobs) or [*self.running, *self.start()]
        result = result_of([job.row for job in batch], labels)
        result.started_at, result.run_seconds = run, 0.002
        for row, job in enumerate(batch):
            self.running.remove(job)
            job.owner.finish(job, result, row)

    def fail(self, job: StreamJob, error: WaterspoutError) -> None:
        """End one row, running or waiting, with an error."""
        (self.waiting if job.queued else self.running).remove(job)
        job.queued = False
        job.owner.fail(job, error)


class FakeModels:
    """Models by name; each is served in version 1 until `swap` puts another in its place."""

    def __init__(self, *models: ServingModel) -> None:
        self._models = {model.name: model for model in models}
        self._routes: dict[str, Routes] = {}

    def get(self, name: str, version: str | None = None) -> ServingModel:
        if name not in self._models or version not in (None, "1"):
            raise UnknownModel(f"model: {name!r} is not served")
        return self._models[name]

    def route(self, name: str, version: str | None = None) -> Route:
        return self._routes.setdefault(name, Routes(name)).to(version, self.get(name, version))

    def swap(self, name: str, model: ServingModel | None) -> None:
        """Serve another model, or none, under a name."""
        if model is None:
            del self._models[name]
        else:
            self._models[name] = model
        if name in self._routes:
            self._routes[name].update(lambda version: model)


class Sent(NamedTuple):
    message: ServerMessage
    codec: Codec
    seq: int | None


class RecordingOutlet:
    """Keeps what a session sends; `on_send` may react to it."""

    name = "recording"

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.closed: list[int] = []
        self.tokens: list[str] = []
        self.on_send: Callable[[], object] = lambda: None

    def send_message(self, message: ServerMessage, codec: Codec, seq: int | None = None) -> None:
        self.sent.append(Sent(message, codec, seq))
        self.on_send()

    def cork(self) -> None: ...

    def uncork(self) -> None: ...

    def authenticate(self, token: str) -> None:
        self.tokens.append(token)

    def close(self, code: int, reason: str = "") -> None:
        assert reason
        self.closed.append(code)


class Client:
    """One connection: sends events, and reads what came back since it last looked."""

    def __init__(
        self,
        *models: ServingModel,
        options: SessionOptions | None = None,
        budget: KeyBudget | None = None,
        single: bool = True,
        codec: Codec = JSON,
        served: Models | None = None,
        version: str | None = None,
    ) -> None:
        self.outlet = RecordingOutlet()
        self.codec = codec
        self.now = 100.0
        self.budget = budget or KeyBudget(ROOMY)
        model = models[0].name if single else None
        served = served or FakeModels(*models)
        self.session = Session(served, self.outlet, options or SessionOptions(), self.budget, model, version)

    def send(self, data: Any = 1, **fields: Any) -> None:
        """Send one event."""
        self.send_message({"data": data, **fields})

    def send_message(self, message: Any) -> None:
        """Send anything that can be encoded, in a frame of its own."""
        encode: Callable[[Any], bytes] = (msgspec.json if self.codec is JSON else msgspec.msgpack).encode
        self.send_bytes(encode(message))

    def send_bytes(self, payload: bytes) -> None:
        """Send a frame's payload: a lone event takes the short way, as it does on a socket."""
        session, codec = self.session, self.codec
        try:
            event = codec.decode_numbers(payload) if session.takes_numbers else codec.decode_event(payload)
        except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
            session.receive(payload, codec, self.now)
            return
        if event.op is not None:
            session.receive(payload, codec, self.now)
            return
        try:
            session.accept(event, codec, self.now)
        except DecodedForAnother:
            session.receive(payload, codec, self.now)

    def read(self) -> list[ServerMessage]:
        """Return the messages that came since the last call."""
        sent, self.outlet.sent = self.outlet.sent, []
        return [message for message, _, _ in sent]

    def read_all(self, kind: type[T]) -> list[T]:
        """Return the messages that came since the last call; all must be of one kind."""
        messages = self.read()
        assert all(isinstance(message, kind) for message in messages), messages
        return [message for message in messages if isinstance(message, kind)]

    def predictions(self) -> list[Prediction]:
        return self.read_all(Prediction)

    def values(self) -> list[Any]:
        """Return the outputs that came since the last call."""
        return [value_of(prediction) for prediction in self.predictions()]

    def error(self) -> Failure:
        """Return the one message that came since the last call: an error."""
        (message,) = self.read_all(Failure)
        return message

    def error_codes(self) -> list[str]:
        return [failure.error.code for failure in self.read_all(Failure)]

    def gaps(self) -> list[Gap]:
        return self.read_all(Gap)

    def told(self) -> list[float | int | str]:
        """Return what came since the last call, in short: predicted values, error codes, counts of overflow gaps."""
        return [_shortened(message) for message in self.read()]


def value_of(message: ServerMessage) -> Any:
    """Return the output of a prediction."""
    assert isinstance(message, Prediction)
    assert isinstance(message.outputs, dict)
    return message.outputs["y"]


def _shortened(message: ServerMessage) -> float | int | str:
    if isinstance(message, Gap):
        assert message.why == "overflow"
        return message.count
    return message.error.code if isinstance(message, Failure) else float(value_of(message))


def limited(max_in_flight: int, overflow: str = "reject", **options: Any) -> SessionOptions:
    """Return options with a small window of events in flight."""
    return SessionOptions(max_in_flight=max_in_flight, overflow=Overflow(overflow), **options)


class Served:
    """A client of one model, which `swap` replaces."""

    def __init__(self, model: FakeModel, **options: Any) -> None:
        self.models = FakeModels(model)
        self.client = Client(model, served=self.models, **options)

    def swap(self, model: FakeModel | None) -> None:
        self.models.swap("sum", model)
