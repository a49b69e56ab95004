"""One key of one connection: its window, and its answers in the order of its events."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from pipeline.batching import Job
from pipeline.codec import Codec
from pipeline.errors import InferenceFailed, WaterspoutError
from pipeline.interfaces import ServingModel
from pipeline.messages import ErrorBody, Event, Failure, Gap, Prediction, ServerMessage
from pipeline.results import BatchResult
from pipeline.routes import Route
from pipeline.tensors import Row, Shapes
from pipeline.usage import Tally
from pipeline.window import Window

MAX_ERROR_LENGTH: Final = 500

if TYPE_CHECKING:
    from pipeline.session import Session


@mypyc_attr(acyclic=True)
class StreamJob(Job):
    """A row of a stream, with what its answer needs."""

    __slots__ = ("codec", "event", "seq", "sighting")

    def __init__(
        self,
        owner: "Stream",
        number: int,
        row: Row,
        enqueued_at: float,
        shapes: Shapes | None,
        deadline: float,
        event: Event,
        seq: int,
        codec: Codec,
    ) -> None:
        super().__init__(owner, number, row, enqueued_at, shapes, deadline, True)
        self.event = event
        self.seq = seq
        self.codec = codec
        self.sighting: Any = None  # an `observer.Sighting` where somebody watches


class Stream:
    """The events of one key that are under way.

    Jobs are numbered as they are accepted and stay `pending` until they are answered, dropped or cancelled. Outcomes
    may come in any order; an answer that is ahead of its turn waits for those before it. `model` is where new events
    go; where `route` leads to another by now, `follow` it first.
    """

    __slots__ = (
        "_former",
        "_head",
        "_settled",
        "_submit",
        "_tail",
        "codec",
        "default_timeout",
        "dropped",
        "key",
        "latest",
        "latest_at",
        "max_timeout",
        "model",
        "outlet",
        "pending",
        "route",
        "row_bytes",
        "session",
        "source",
        "tally",
        "topic",
        "used_at",
        "window",
    )

    def __init__(
        self, session: "Session", route: Route, model: ServingModel, key: str | None, codec: Codec, now: float
    ) -> None:
        self.session = session
        self.outlet = self.source = session.outlet
        self.route = route
        account = session.account
        self.tally: Tally | None = None if account is None else account.tally(route.name)
        self._use(model)
        self._former: dict[int, ServingModel] = {}  # of pending jobs that an earlier model has, by number
        self.key = key
        self.codec = codec  # of the event that made the stream
        self.window: Window | None = model.new_window()
        self.pending: dict[int, StreamJob] = {}
        self.dropped = 0  # events dropped by policy and not yet told
        self.used_at = now
        self.latest: Prediction | None = None  # the last one, and when it was made
        self.latest_at = 0.0
        self.topic: Any = None  # a `topics.Topic`, once somebody has watched
        self._head = 0  # number of the oldest pending job; may lag behind after a drop
        self._tail = 0  # number of the next job to accept
        self._settled: dict[int, Prediction | Failure] = {}  # answers of pending jobs that wait for their turn

    def __repr__(self) -> str:
        return f"<Stream {self.route.name}/{self.key} pending={len(self.pending)} dropped={self.dropped}>"

    @property
    def topic_key(self) -> str:
        """How watchers know this stream among those of its model."""
        return self.key if self.key is not None else f"~{self.outlet.name}"

    @property
    def is_disposable(self) -> bool:
        """Whether forgetting this stream would lose nothing."""
        return not self.pending and (self.window is None or self.window.is_blank)

    @property
    def is_unused(self) -> bool:
        """Whether nothing has been accepted so far."""
        return not self._tail and self.is_disposable

    def waiting(self, *, own: bool = False) -> list[StreamJob]:
        """Return the jobs that are not running yet, oldest first; `own`: only those in the queue of `model`."""
        former = self._former
        return [
            job
            for number, job in self.pending.items()
            if former.get(number, self.model).is_waiting(job) and not (own and number in former)
        ]

    def follow(self, model: ServingModel) -> int:
        """Give what comes from now on to another model; return how many samples of the window that has cost.

        What the model so far has taken it finishes itself.
        """
        former = self._former
        self._former = {number: former.get(number, self.model) for number in self.pending}
        lost = 0
        if model.window_layout != self.model.window_layout:
            lost = 0 if self.window is None else len(self.window)
            self.window = model.new_window()
        self._use(model)
        return lost

    def _use(self, model: ServingModel) -> None:
        self.model = model
        self.default_timeout = model.default_timeout  # this and the next three are the model's, kept at hand
        self.max_timeout = model.max_timeout
        self.row_bytes = model.row_bytes
        self._submit: Callable[[StreamJob], Any] = model.submit

    def let_go(self) -> None:
        """Keep no former model in memory for jobs that are done."""
        if self._former:
            self._former = {number: model for number, model in self._former.items() if number in self.pending}

    def submit(
        self,
        row: Row,
        shapes: Shapes | None,
        event: Event,
        seq: int,
        codec: Codec,
        now: float,
        deadline: float,
    ) -> None:
        """Give a row to the model. Raises `Overloaded` and has then changed nothing."""
        number = self._tail
        job = StreamJob(self, number, row, now, shapes, deadline, event, seq, codec)
        if event.priority:
            job.priority = event.priority
        self._submit(job)
        self._tail = number + 1
        self.pending[number] = job
        self.session.in_flight += 1

    def drop(self, job: StreamJob) -> None:
        """Take a waiting job out by policy: it is counted in the next gap instead of being answered."""
        self._former.get(job.number, self.model).cancel(job)
        del self.pending[job.number]
        self.session.in_flight -= 1
        self.dropped += 1
        self._emit_settled()

    def finish(self, job: StreamJob, result: BatchResult, row: int) -> None:
        """Answer a job with row `row` of a run's result."""
        session, event, codec = self.session, job.event, job.codec
        tally = self.tally
        if tally is not None:
            tally.predictions += 1
            tally.compute_seconds += result.run_seconds / result.size
        if codec is session.bytes_codec:
            rows = result.byte_rows or result.rows(lists=False)
        else:
            rows = result.list_rows or result.rows(lists=True)
        event_id = event.id
        answer = Prediction(event_id, job.seq if event_id is None else None, event.key, rows[row])
        if result.labels is not None:
            answer.label = result.labels[row]
        if session.timings:
            answer.us = {
                "queue": round((result.started_at - job.enqueued_at) * 1e6),
                "run": round(result.run_seconds * 1e6),
                "batch": result.size,
            }
        self.latest = answer
        self.latest_at = result.started_at + result.run_seconds
        number = job.number
        if result.observer is not None:
            job.sighting = result.observer.sight(result, row)
        if number != self._head or self.dropped or self._settled:
            self._settle(job, answer)
        elif self.pending.pop(number, None) is not None:  # else cancelled: its socket is gone
            self._head = number + 1
            session.in_flight -= 1
            if not session.silent:
                self.outlet.send_message(answer, codec, job.seq)
            if job.sighting is not None:
                job.sighting.publish(self, job, answer)

    def fail(self, job: StreamJob, error: WaterspoutError) -> None:
        """Answer a job with an error."""
        if self.tally is not None:
            self.tally.errors += 1
        self._settle(job, failure(error, job.event.id, job.seq, job.event.key))

    def cancel(self) -> None:
        """Forget all jobs: there is nobody left to answer."""
        for job in self.pending.values():
            self._former.get(job.number, self.model).cancel(job)
        self.session.in_flight -= len(self.pending)
        self.pending.clear()
        self._settled.clear()
        self.end()

    def end(self) -> None:
        """Tell those who watch that nothing more will come."""
        if self.topic is not None:
            self.topic.release()
            self.topic = None
        observer = self.model.observer
        if observer is not None and self.key is None:
            observer.forget(self.topic_key)

    def _settle(self, job: StreamJob, answer: Prediction | Failure) -> None:
        """Send an answer in its turn."""
        if job.number in self.pending:  # else cancelled: its socket is gone
            self._settled[job.number] = answer
            self._emit_settled()

    def _emit_settled(self) -> None:
        """Send the answers that nothing stands before any more."""
        pending, session = self.pending, self.session
        while pending:
            number = self._head = next(iter(pending))
            answer = self._settled.pop(number, None)
            if answer is None:
                return
            job = pending.pop(number)
            session.in_flight -= 1
            if self.dropped:
                gap = Gap(self.dropped, "overflow", self.key, session.model_of(self))
                self.dropped = 0
                session.outlet.send_message(gap, job.codec)
            if not (session.silent and isinstance(answer, Prediction)):
                session.outlet.send_message(answer, job.codec, job.seq)
            if job.sighting is not None and isinstance(answer, Prediction):
                job.sighting.publish(self, job, answer)
        self._head = self._tail


def error_body(error: WaterspoutError) -> ErrorBody:
    """Return what a client is told of `error`; what it sent may be long, what it is told is not."""
    return ErrorBody(error.code, str(error)[:MAX_ERROR_LENGTH], error.retryable, error.retry_after_ms)


def failure(error: WaterspoutError, event_id: int | str | None, seq: int, key: str | None) -> Failure:
    """Return the message that tells a client of `error`."""
    body = error_body(error)
    return Failure(id=event_id, seq=seq if event_id is None else None, key=key, error=body)


def encode_unencodable(message: ServerMessage, codec: Codec, error: Exception) -> bytes:
    """Return the bytes of an `inference_failed` in the place of a prediction whose outputs cannot be encoded."""
    foreign = InferenceFailed(f"the outputs cannot be encoded as {codec.name}: {error}")
    if isinstance(message, Prediction):
        return codec.encode(failure(foreign, message.id, message.seq or 0, message.key))
    foreign.__cause__ = error  # mypyc compiles no `raise ... from`
    raise foreign
