"""A model that is ready: its graph, its configuration and its engine under one name."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import UNSET

from pipeline.batching import NEVER, BatchPolicy
from pipeline.engine import Engine
from pipeline.errors import ConfigError, InferenceFailed, InvalidInput
from pipeline.graph_spec import ModelSpec, check_declared
from pipeline.messages import BatchingInfo, ModelInfo, TensorInfo, WindowInfo
from pipeline.model_config import ModelConfig
from pipeline.model_files import MAX_FILE_BYTES, check_model_file
from pipeline.run_times import LinearRunTime, RunTimes
from pipeline.runtime import OnnxModel
from pipeline.tensors import DTYPES, STRING, Row, Shapes, TensorSpec
from pipeline.warmup import warmup_rows
from pipeline.window import Window
from pipeline.workers import WorkerPool

log = logging.getLogger(__name__)

AUTO_MAX_BATCH_SIZE = 256
UNMEASURED_MAX_BATCH_SIZE = 16  # where rows run one by one, or the cost of a row depends on its shape
AUTO_MAX_RUN_SECONDS = 0.02


class LoadedModel:
    """A graph that was loaded, checked against its configuration and warmed. Made in a worker thread."""

    def __init__(
        self, path: Path, config: ModelConfig, root: Path | None = None, max_file_bytes: int = MAX_FILE_BYTES
    ) -> None:
        """Check, load and warm. `root` is the folder that all files must lie in (None: that of `path`).

        Raises `ConfigError` that names the file, and the key where one is to blame.
        """
        self.config = config
        check_model_file(path, root, max_bytes=max_file_bytes, sha256=config.digests(path.parent.name))
        self.model = OnnxModel(
            path,
            batched=None if config.largest_batch is None else config.largest_batch > 0,
            intra_op_num_threads=config.intra_op_num_threads,
            providers=config.execution_providers,
            kind=config.instance_group.kind,
        )
        self.run_times = RunTimes(exact=bool(config.allowed_batch_sizes))
        self.wall_times = LinearRunTime()
        try:
            check_declared("input", config.input, self.model.spec.inputs)
            self.sample = _sample_spec(self.model.spec, config)
            if config.window is not None:
                self.model.pin_length(config.window.length)
            rows = warmup_rows(config.model_warmup, self.model.spec.inputs)
            self.model.probe(rows)
            check_declared("output", config.output, self.model.spec.outputs)
            self.model.set_labels(config.labels)
            self.max_batch_size = self._warm()
            self._warm_as_told(rows)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        except InferenceFailed as error:
            raise ConfigError(f"{path}: warming: {error}") from error

    def _warm(self) -> int:
        """Run every batch size that is a power of two, or allowed; return the largest batch to use.

        Without a configured `max_batch_size` that is the largest power of two that still runs within 20 ms.
        """
        configured = self.config.largest_batch
        if self.model.sample is None or not self.model.spec.stackable or self.model.sample[1] is not None:
            return configured or UNMEASURED_MAX_BATCH_SIZE
        row, _ = self.model.sample
        warmed = 1
        for size in self.config.allowed_batch_sizes or _powers_of_two(configured or AUTO_MAX_BATCH_SIZE):
            cpu_seconds, seconds = min(self._timed_run([row] * size) for _ in range(3))
            self.wall_times.observe(size, seconds)
            self.run_times.observe(size, cpu_seconds)
            if configured is None and seconds > AUTO_MAX_RUN_SECONDS:
                return warmed
            warmed = size
        return warmed

    def _warm_as_told(self, rows: list[tuple[Row, Shapes | None]]) -> None:
        """Run the rows of `model_warmup`. Raises `ConfigError` where the model fails on one."""
        for at, (warmup, (row, shapes)) in enumerate(zip(self.config.model_warmup, rows, strict=True)):
            together = warmup.batch_size if self.model.spec.stackable else 1
            try:
                for _ in range(warmup.count * warmup.batch_size // together):
                    self.model.run([row] * together, shapes)
            except InferenceFailed as error:
                raise ConfigError(f"model_warmup[{at}]: {error}") from error

    def _timed_run(self, rows: list[Row]) -> tuple[float, float]:
        """Return the CPU seconds of this thread and the seconds on the clock."""
        cpu_started, started = time.thread_time(), time.monotonic()
        self.model.run(rows)
        return time.thread_time() - cpu_started, time.monotonic() - started


class ServedModel:
    """What sessions see of a model."""

    def __init__(self, name: str, version: str, loaded: LoadedModel, workers: WorkerPool) -> None:
        config, spec = loaded.config, loaded.model.spec
        queue = config.dynamic_batching.default_queue_policy
        self.name = name
        self.version = version
        self.config = config
        self.spec = spec
        self.default_timeout = queue.default_timeout_microseconds / 1e6 or NEVER
        self.max_timeout = NEVER if queue.allow_timeout_override else self.default_timeout
        self.max_batch_size = loaded.max_batch_size
        self.max_queue_size = queue.max_queue_size
        is_static = all(tensor.is_static for tensor in spec.inputs)
        self.engine = Engine(
            loaded.model,
            BatchPolicy(
                max_batch_size=loaded.max_batch_size,
                max_queue_size=queue.max_queue_size,
                max_queue_delay=config.dynamic_batching.max_queue_delay_microseconds / 1e6,
                grouped=not is_static,
                preferred_batch_sizes=tuple(config.dynamic_batching.preferred_batch_size),
                allowed_batch_sizes=tuple(config.allowed_batch_sizes),
                priority_levels=config.dynamic_batching.priority_levels,
                default_priority_level=config.dynamic_batching.default_priority_level,
            ),
            workers,
            stackable=spec.stackable,
            slots=config.instance_group.count,
            inline_below=config.inline_below_microseconds / 1e6 if is_static else 0.0,
            run_times=loaded.run_times,
            latency_slo=config.latency_slo_microseconds / 1e6 or NEVER,
            wall_times=loaded.wall_times,
        )
        self.submit = self.engine.submit
        self.cancel = self.engine.cancel
        self.room_for = self.engine.room_for
        self.check_priority = self.engine.check_priority
        self.takes_numbers = len(spec.inputs) == 1 and spec.inputs[0].dtype.pack in ("f", "d") and not config.window
        self._window = config.window_spec
        self._sample = loaded.sample
        self.window_layout: object = (self._window, self._sample)
        self._only = spec.inputs[0] if len(spec.inputs) == 1 else None
        takes_any_bytes = self._only is not None and self._only.dtype is not DTYPES["bool"]
        self.row_bytes = spec.inputs[0].nbytes if takes_any_bytes else -1

    def __repr__(self) -> str:
        return f"<ServedModel {self.name}/{self.version} {self.engine!r}>"

    @property
    def room(self) -> int:
        """How many rows can still be queued."""
        return self.engine.room

    def parse(self, data: Any, is_numbers: bool = False) -> tuple[Row, Shapes | None]:
        """Return the row of an event's data; `is_numbers`: a list in it is flat and of floats.

        Raises `InvalidInput` that names the field.
        """
        only = self._only
        if is_numbers and only is not None and data.__class__ is list:
            packed = only.pack_numbers(data)
            if packed is not None:
                return (packed,), None
        if only is not None and not (data.__class__ is dict and data.keys() == {only.name}):
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
            labels=self.config.labels or None,
        )

    def _parse_map(self, data: Any) -> tuple[Row, Shapes | None]:
        names = [tensor.name for tensor in self.spec.inputs]
        if data.__class__ is not dict:
            inputs = f"a map of the inputs {', '.join(names)}" if names else "an empty map, the model has no inputs"
            raise InvalidInput(f"data: expected {inputs}")
        if unknown := [name for name in data if name not in names]:
            raise InvalidInput(f"data.{str(unknown[0])[:100]}: no such input, expected {', '.join(names)}")
        row, shapes = [], []
        for tensor in self.spec.inputs:
            if tensor.name not in data:
                raise InvalidInput(f"data.{tensor.name}: missing, expected {tensor}")
            cell, shape = tensor.parse(data[tensor.name], f"data.{tensor.name}")
            row.append(cell)
            shapes.append(shape)
        return tuple(row), tuple(shapes) if any(shape is not None for shape in shapes) else None


def _sample_spec(spec: ModelSpec, config: ModelConfig) -> TensorSpec | None:
    """Return the spec of one sample of a windowed model. Raises `ConfigError` where a window does not fit."""
    if config.window is None:
        return None
    if len(spec.inputs) != 1 or spec.inputs[0].dtype is STRING:
        raise ConfigError("window: needs a model with one numeric input")
    (tensor,) = spec.inputs
    if not tensor.shape or tensor.shape[0] not in (None, config.window.length):
        raise ConfigError(f"window.length: {config.window.length} does not fit the input {tensor.name} {tensor}")
    sample = TensorSpec(tensor.name, tensor.dtype, tensor.shape[1:])
    if sample.nbytes < 1:
        raise ConfigError(f"window: a sample of {tensor.name} must have a fixed, non-zero size, it is {sample}")
    return sample


def _tensor_info(tensor: TensorSpec) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.dtype.name, list(tensor.shape))


def _powers_of_two(largest: int) -> Iterator[int]:
    size = 1
    while size < largest:
        yield size
        size *= 2
    yield largest
