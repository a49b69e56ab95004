"""A model that is ready: its tensors, its configuration and its engine under one name."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection
from typing import Any, Protocol

from msgspec import UNSET

from pipeline.alert_desk import AlertDesk, Alerting
from pipeline.alerts import AlertRules
from pipeline.batching import NEVER, BatchPolicy
from pipeline.engine import Engine
from pipeline.errors import InvalidInput
from pipeline.graph_spec import ModelSpec, sample_spec
from pipeline.hub import Hub
from pipeline.loaded_model import LoadedModel
from pipeline.messages import BatchingInfo, ModelInfo, StepInfo, TensorInfo, WindowInfo
from pipeline.model_config import ModelConfig
from pipeline.observer import Observer
from pipeline.queue_memory import QueueMemory
from pipeline.stats import ModelStats
from pipeline.tensors import ABSENT, DTYPES, Cell, Entry, Row, Shapes, TensorSpec, bare_input, joined_entries
from pipeline.window import Window
from pipeline.workers import WorkerPool

log = logging.getLogger(__name__)


_serials = itertools.count(1)


class RowEngine(Protocol):
    """What runs a model's rows: an `Engine`, or the `Ensemble` of several models."""

    stats: ModelStats
    observer: Any

    @property
    def submit(self) -> Callable[[Any], Any]:
        """Queue a row; its owner gets exactly one `finish` or `fail`. Raises `Overloaded`."""

    @property
    def room(self) -> int:
        """How many rows can still be queued."""

    @property
    def is_busy(self) -> bool:
        """Whether anything waits or runs."""

    def admit(self, job: Any) -> None:
        """Queue a row that an ensemble has let in. Raises `ModelUnavailable`."""

    def is_waiting(self, job: Any) -> bool:
        """Return whether a row has not begun to run."""

    def cancel(self, job: Any) -> None:
        """Take a row out; its owner hears nothing more of it."""

    def room_for(self, source: Any) -> int:
        """Return how many rows a source can still queue."""

    def check_priority(self, priority: int) -> None:
        """Raise `InvalidInput` for a priority that the model does not have."""

    async def drained(self) -> None:
        """Wait until nothing waits and nothing runs."""

    def close(self) -> None:
        """Refuse further rows and fail those that wait."""


class ServedModel:
    """What sessions see of a model."""

    def __init__(
        self,
        name: str,
        version: str,
        config: ModelConfig,
        spec: ModelSpec,
        engine: RowEngine,
        *,
        max_batch_size: int,
        max_queue_size: int,
        labels: dict[str, list[str]],
        steps: list[StepInfo] | None = None,
    ) -> None:
        """`labels` name the classes of outputs; `steps` are what an ensemble is made of."""
        queue = config.dynamic_batching.default_queue_policy
        self.name = name
        self.version = version
        self.config = config
        self.spec = spec
        self.labels = labels
        self.steps = steps
        self.serial = next(_serials)  # tells this model from another that has its place later
        self.default_timeout = queue.default_timeout_microseconds / 1e6 or NEVER
        self.max_timeout = NEVER if queue.allow_timeout_override else self.default_timeout
        self.max_batch_size = max_batch_size
        self.max_queue_size = max_queue_size
        self.engine = engine
        self.observer: Observer | None = None
        self._hub: Hub | None = None
        self._alerting: Alerting | None = None
        self.submit = engine.submit
        self.admit = engine.admit
        self.cancel = engine.cancel
        self.is_waiting = engine.is_waiting
        self.room_for = engine.room_for
        self.check_priority = engine.check_priority
        self._window = config.window_spec
        self._sample = sample_spec(spec, config)
        self.window_layout: object = (self._window, self._sample)
        self._bare = bare_input(spec.inputs)
        only = self._only = spec.inputs[0] if len(spec.inputs) == 1 and not spec.inputs[0].initializer else None
        self.takes_numbers = only is not None and only.dtype.pack in ("f", "d") and not config.window
        self.row_bytes = only.nbytes if only is not None and only.dtype is not DTYPES["bool"] else -1
        self._holders = 0
        self._let_go: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"<ServedModel {self.name}/{self.version} {self.engine!r}>"

    @property
    def room(self) -> int:
        """How many rows can still be queued."""
        return self.engine.room

    def hold(self) -> None:
        """Keep the model open for an ensemble or for gateways that run it, until `release`."""
        self._holders += 1

    def release(self) -> None:
        """Undo one `hold`."""
        self._holders -= 1
        if not self._holders and self._let_go is not None:
            self._let_go.set()

    def observe(self, hub: Hub | None) -> None:
        """Publish each prediction there from now on; None: publish none."""
        self._hub = hub
        self._set_observer()

    def alert(self, desk: AlertDesk) -> None:
        """Take what the model's rules say there from now on."""
        if self.config.alert:
            rules = AlertRules(self.name, self.version, self.config.alert, self.spec.outputs)
            self._alerting = Alerting(rules, desk)
            self._set_observer()

    def _set_observer(self) -> None:
        observer = None
        if self._hub is not None or self._alerting is not None:
            spec = self.spec
            observer = Observer(self._hub, self.name, self.version, spec.inputs, spec.outputs, self._alerting)
        self.observer = self.engine.observer = observer

    async def retired(self) -> None:
        """Close the model once nobody holds it and all that it had is answered."""
        if self._holders:
            self._let_go = asyncio.Event()
            await self._let_go.wait()
        await self.engine.drained()
        self.engine.close()

    def parse(self, data: Any, is_numbers: bool = False) -> tuple[Row, Shapes | None]:
        """Return the row of an event's data; `is_numbers`: a list in it is flat and of floats.

        Raises `InvalidInput` that names the field.
        """
        only = self._only
        if is_numbers and only is not None and data.__class__ is list:
            packed = only.pack_numbers(data)
            if packed is not None:
                return (packed,), None
        if only is not None and not (
            data.__class__ is dict and (data.keys() == {only.name} or (only.optional and not data))
        ):
            if data is UNSET:
                raise InvalidInput(f"data: missing, expected {only}")
            cell, shape = only.parse(data, "data")
            return (cell,), None if shape is None else (shape,)
        return self._parse_map(data)

    def samples(self, data: Any) -> tuple[bytes, int]:
        """Return the samples of an event, and their number. Raises `InvalidInput` that names the field."""
        assert self._sample is not None
        if data is UNSET:
            raise InvalidInput(f"data: missing, expected a sample {self._sample} or a list of samples")
        if data.__class__ is dict and data.keys() == {self._sample.name}:
            data = data[self._sample.name]
        return self._sample.samples(data, "data")

    def new_window(self) -> Window | None:
        """Return an empty window, or None where the model has none."""
        if self._window is None or self._sample is None:
            return None
        return Window(self._window, self._sample.nbytes)

    def info(self) -> ModelInfo:
        """Return what clients must know."""
        batching = self.config.dynamic_batching
        return ModelInfo(
            name=self.name,
            version=self.version,
            state="ready",
            inputs=[_tensor_info(tensor) for tensor in self.spec.inputs],
            outputs=[_tensor_info(tensor) for tensor in self.spec.outputs],
            batching=BatchingInfo(
                self.max_batch_size,
                batching.default_queue_policy.max_queue_size,
                batching.max_queue_delay_microseconds,
            ),
            window=WindowInfo(self._window.length, self._window.hop) if self._window else None,
            labels=self.labels or None,
            steps=self.steps,
        )

    def _parse_map(self, data: Any) -> tuple[Row, Shapes | None]:
        names = [tensor.name for tensor in self.spec.inputs]
        if self._bare is not None and data is not UNSET and not _is_map(data, names):
            data = {self._bare.name: data}
        if data.__class__ is not dict:
            inputs = f"a map of the inputs {', '.join(names)}" if names else "an empty map, the model has no inputs"
            raise InvalidInput(f"data: expected {inputs}")
        if unknown := [name for name in data if name not in names]:
            raise InvalidInput(f"data.{str(unknown[0])[:100]}: no such input, expected {', '.join(names)}")
        row: list[Cell] = []
        entries: list[Entry] = []
        for tensor in self.spec.inputs:
            if tensor.optional and data.get(tensor.name) is None:
                row.append(b"")
                entries.append(ABSENT)
                continue
            if tensor.name not in data:
                raise InvalidInput(f"data.{tensor.name}: missing, expected {tensor}")
            cell, shape = tensor.parse(data[tensor.name], f"data.{tensor.name}")
            row.append(cell)
            entries.append(tensor.entry(cell, shape))
        return tuple(row), joined_entries(entries)


def serve_graph(
    name: str, version: str, loaded: LoadedModel, workers: WorkerPool, memory: QueueMemory | None = None
) -> ServedModel:
    """Return a graph as a model, with an engine of its own."""
    config, spec = loaded.config, loaded.model.spec
    batching = config.dynamic_batching
    max_queue_size = batching.default_queue_policy.max_queue_size
    policy = BatchPolicy(
        max_batch_size=loaded.max_batch_size,
        max_queue_size=max_queue_size,
        max_queue_delay=batching.max_queue_delay_microseconds / 1e6,
        grouped=not spec.is_static or spec.has_optional,
        preferred_batch_sizes=tuple(batching.preferred_batch_size),
        allowed_batch_sizes=tuple(config.allowed_batch_sizes),
        priority_levels=batching.priority_levels,
        default_priority_level=batching.default_priority_level,
    )
    engine = Engine(
        loaded.model,
        policy,
        workers,
        stackable=spec.stackable,
        slots=config.instance_group.count,
        inline_below=config.inline_below_microseconds / 1e6 if spec.is_static else 0.0,
        run_times=loaded.run_times,
        latency_slo=config.latency_slo_microseconds / 1e6 or NEVER,
        wall_times=loaded.wall_times,
        memory=memory,
    )
    return ServedModel(
        name,
        version,
        config,
        spec,
        engine,
        max_batch_size=loaded.max_batch_size,
        max_queue_size=max_queue_size,
        labels=config.labels,
    )


def _is_map(data: Any, names: Collection[str]) -> bool:
    """Return whether data is a map from input to tensor, and not a tensor with its shape."""
    return data.__class__ is dict and (data.keys() != {"shape", "data"} or "shape" in names)


def _tensor_info(tensor: TensorSpec) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.dtype.name, list(tensor.shape), tensor.optional)
