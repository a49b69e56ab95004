"""Shows the predictions of one model to those who watch, and to its alert rules."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from pipeline.alert_desk import Alerting
from pipeline.alerts import Verdict
from pipeline.errors import InvalidInput
from pipeline.hub import Hub
from pipeline.results import BatchResult
from pipeline.tensors import ABSENT, STRING, Cell, Row, Shape, Shapes, Shared, TensorSpec, to_wire
from pipeline.topics import Topic
from pipeline.watch_messages import Timings, Update

if TYPE_CHECKING:
    from pipeline.messages import Prediction
    from pipeline.stream import Stream, StreamJob

_monotonic: Final = time.monotonic
_unix: Final = time.time


class Observer:
    """What a model's predictions pass while somebody watches, or where it has alert rules.

    `hub` is None while nobody watches, `inputs` and `outputs` are those of one row.
    """

    def __init__(
        self,
        hub: Hub | None,
        model: str,
        version: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        alerting: Alerting | None = None,
    ) -> None:
        self._hub = hub
        self._alerting = alerting
        self.model = model
        self.version = version
        self.inputs = inputs
        self.outputs = {spec.name: spec for spec in outputs}

    def __repr__(self) -> str:
        return f"<Observer {self.model}/{self.version}>"

    def glimpse(self, result: BatchResult, row: int) -> "Glimpse":
        """Return what is known of a prediction besides its answer, before its turn to be answered has come."""
        verdict = None if self._alerting is None else self._alerting.verdict(result, row)
        return Glimpse(self, result.started_at, result.run_seconds, result.size, verdict)

    def show_latest(self, stream: "Stream") -> None:
        """Show what a stream answered last, before anybody watched."""
        answer = stream.latest
        if answer is None or self._hub is None:
            return
        topic = self._topic_of(stream, self._hub)
        known = topic.latest
        if not isinstance(known, Sighting) or known.answer is not answer:
            ts = _unix() - (_monotonic() - stream.latest_at)
            topic.show(Sighting(self, answer, ts, None, None, None))

    def forget(self, key: str) -> None:
        """Take note that a stream whose key nobody else has is gone."""
        if self._alerting is not None:
            self._alerting.forget(key)

    def _topic_of(self, stream: "Stream", hub: Hub) -> Topic:
        topic: Topic | None = stream.topic
        if topic is None:
            topic = stream.topic = hub.topic(f"{self.model}/{stream.topic_key}")
        return topic


class Glimpse:
    """One prediction between its run and its answer."""

    __slots__ = ("_observer", "_run_seconds", "_size", "_started_at", "_verdict")

    def __init__(self, observer: Observer, started_at: float, run_seconds: float, size: int, verdict: Verdict) -> None:
        self._observer = observer
        self._started_at = started_at
        self._run_seconds = run_seconds
        self._size = size
        self._verdict = verdict

    def publish(self, stream: "Stream", job: "StreamJob", answer: "Prediction") -> None:
        """Show the prediction, whose turn has come."""
        observer = self._observer
        if observer._alerting is not None:
            observer._alerting.note(stream.topic_key, self._verdict, answer.id)
        if observer._hub is None:
            return
        timings = Timings(
            queue=round((self._started_at - job.enqueued_at) * 1e6),
            run=round(self._run_seconds * 1e6),
            total=round((_monotonic() - job.enqueued_at) * 1e6),
            batch=self._size,
        )
        topic = observer._topic_of(stream, observer._hub)
        topic.publish(Sighting(observer, answer, _unix(), timings, job.row, job.shapes))


class Sighting:
    """A prediction as watchers see it (a `topics.Value`)."""

    __slots__ = ("_observer", "_row", "_shapes", "_timings", "_ts", "answer")

    def __init__(
        self,
        observer: Observer,
        answer: "Prediction",
        ts: float,
        timings: Timings | None,
        row: Row | None,
        shapes: Shapes | None,
    ) -> None:
        self._observer = observer
        self.answer = answer
        self._ts = ts
        self._timings = timings
        self._row = row
        self._shapes = shapes

    def message(self, topic: Topic, *, lists: bool, inputs: bool) -> Update:
        """Return the update about it."""
        observer, answer = self._observer, self.answer
        outputs: Any = UNSET
        if answer.outputs is not UNSET:
            outputs = {
                name: _in_form(observer.outputs[name], value, lists=lists) for name, value in answer.outputs.items()
            }
        return Update(
            topic.name,
            topic.n,
            round(self._ts, 6),
            observer.version,
            answer.id,
            answer.label,
            outputs,
            self._timings,
            self._inputs(lists=lists) if inputs and self._row is not None else None,
            topic.ended,
        )

    def _inputs(self, *, lists: bool) -> dict[str, Any]:
        assert self._row is not None
        shown = {}
        for at, (spec, cell) in enumerate(zip(self._observer.inputs, self._row, strict=True)):
            entry = None if self._shapes is None else self._shapes[at]
            if entry is ABSENT:
                continue
            shape = entry.shape if isinstance(entry, Shared) else entry
            shown[spec.name] = _show(spec, cell, shape, lists=lists)
        return shown


def _in_form(spec: TensorSpec, value: Any, *, lists: bool) -> Any:
    """Return a tensor of an answer as lists, or as bytes where it may be; answers have it in one of these forms."""
    if value.__class__ is bytes:
        return _show(spec, value, None, lists=True) if lists else value
    if value.__class__ is dict:
        return _show(spec, value["data"], tuple(value["shape"]), lists=True) if lists else value
    if lists or spec.dtype is STRING:
        return value
    try:
        cell, shape = spec.parse(value, spec.name)
    except InvalidInput:  # a list without elements does not tell its shape
        return value
    return _show(spec, cell, shape, lists=False)


def _show(spec: TensorSpec, cell: Cell, shape: Shape | None, *, lists: bool) -> Any:
    """Return a tensor as nested lists, or as bytes, with their shape where that is not declared."""
    if not lists and spec.dtype is not STRING:
        return cell if shape is None or spec.is_static else {"shape": list(shape), "data": cell}
    actual = shape if shape is not None else spec.shape
    return to_wire(spec.stack([cell], actual), spec.dtype)[0]  # type: ignore[arg-type]
