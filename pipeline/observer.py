"""Shows the predictions of one model to those who watch, and to its alert rules."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from pipeline.alert_desk import Alerting
from pipeline.alerts import Verdict
from pipeline.errors import InvalidInput
from pipeline.hub import Hub
from pipeline.relayed import Packed, Relayed, pack_cell, pack_value
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

    def sight(self, result: BatchResult, row: int) -> "Sighting":
        """Return what is known of a prediction besides its answer, before its turn to be answered has come."""
        sighting = Sighting(self)
        sighting.started_at = result.started_at
        sighting.run_seconds = result.run_seconds
        sighting.size = result.size
        if self._alerting is not None:
            sighting.verdict = self._alerting.verdict(result, row)
        return sighting

    def publish(self, sighting: "Sighting", stream: "Stream") -> None:
        """Show a prediction, whose turn has come."""
        if self._alerting is not None:
            self._alerting.note(stream.topic_key, sighting.verdict, sighting.answer.id)
        if self._hub is not None:
            topic = stream.topic
            if topic is None:
                topic = self._topic_of(stream, self._hub)
            topic.publish(sighting)

    def show_latest(self, stream: "Stream") -> None:
        """Show what a stream answered last, before anybody watched."""
        answer = stream.latest
        if answer is None or self._hub is None:
            return
        topic = self._topic_of(stream, self._hub)
        known = topic.latest
        if isinstance(known, Sighting) and known.answer is answer:
            return
        sighting = Sighting(self)
        sighting.answer = answer
        sighting.at = stream.latest_at
        if known is None or known.ts <= sighting.ts:
            topic.show(sighting)

    def forget(self, key: str) -> None:
        """Take note that a stream whose key nobody else has is gone."""
        if self._alerting is not None:
            self._alerting.forget(key)

    def _topic_of(self, stream: "Stream", hub: Hub) -> Topic:
        topic: Topic | None = stream.topic
        if topic is None:
            topic = stream.topic = hub.topic(f"{self.model}/{stream.topic_key}")
        return topic


class Sighting:
    """A prediction as watchers see it (a `topics.Value`). Times are monotonic seconds."""

    __slots__ = (
        "_observer",
        "answer",
        "at",
        "enqueued_at",
        "row",
        "run_seconds",
        "shapes",
        "size",
        "started_at",
        "verdict",
    )

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.answer: Prediction
        self.row: Row | None = None  # None: not known any more
        self.shapes: Shapes | None = None
        self.at = 0.0  # when it was answered
        self.enqueued_at = 0.0
        self.started_at = 0.0
        self.run_seconds = 0.0
        self.size = 0  # of the batch; 0: not known any more
        self.verdict: Verdict = None

    def publish(self, stream: "Stream", job: "StreamJob", answer: "Prediction") -> None:
        """Show the prediction, whose turn has come."""
        self.at = _monotonic()
        self.answer = answer
        self.enqueued_at = job.enqueued_at
        self.row = job.row
        self.shapes = job.shapes
        self._observer.publish(self, stream)

    @property
    def ts(self) -> float:
        """When it was answered, unix seconds."""
        return round(_unix() - (_monotonic() - self.at), 6)

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
            self.ts,
            observer.version,
            answer.id,
            answer.label,
            outputs,
            self._timings() if self.size else None,
            self._inputs(self.row, lists=lists) if inputs and self.row is not None else None,
            topic.ended,
        )

    def relayed(self, topic: Topic, *, inputs: bool) -> Relayed:
        """Return the same for processes that do not know the model."""
        observer, answer = self._observer, self.answer
        outputs = None
        if answer.outputs is not UNSET:
            outputs = {name: pack_value(observer.outputs[name], value) for name, value in answer.outputs.items()}
        return Relayed(
            topic.name,
            topic.changed,
            topic.n,
            not topic.holders,
            self.ts,
            observer.version,
            answer.id,
            answer.label,
            outputs,
            self._packed_inputs(self.row) if inputs and self.row is not None else None,
            self._timings() if self.size else None,
        )

    def _timings(self) -> Timings:
        return Timings(
            queue=round((self.started_at - self.enqueued_at) * 1e6),
            run=round(self.run_seconds * 1e6),
            total=round((self.at - self.enqueued_at) * 1e6),
            batch=self.size,
        )

    def _inputs(self, row: Row, *, lists: bool) -> dict[str, Any]:
        return {spec.name: _show(spec, cell, shape, lists=lists) for spec, cell, shape in self._given(row)}

    def _packed_inputs(self, row: Row) -> dict[str, Packed]:
        return {spec.name: pack_cell(spec, cell, shape) for spec, cell, shape in self._given(row)}

    def _given(self, row: Row) -> list[tuple[TensorSpec, Cell, Shape | None]]:
        """Return the inputs that were not left out."""
        given = []
        for at, (spec, cell) in enumerate(zip(self._observer.inputs, row, strict=True)):
            entry = None if self.shapes is None else self.shapes[at]
            if entry is not ABSENT:
                given.append((spec, cell, entry.shape if isinstance(entry, Shared) else entry))
        return given


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
