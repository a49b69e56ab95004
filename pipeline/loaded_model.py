"""A graph that was loaded, checked against its configuration and warmed."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.alert_config import check_alerts
from pipeline.errors import ConfigError, InferenceFailed
from pipeline.graph_spec import check_declared, sample_spec
from pipeline.model_config import ModelConfig
from pipeline.model_files import MAX_FILE_BYTES, check_model_file
from pipeline.run_times import LinearRunTime, RunTimes
from pipeline.runtime import OnnxModel
from pipeline.tensors import Row, Shapes
from pipeline.warmup import warmup_rows

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
            optional=config.optional_inputs,
        )
        self.run_times = RunTimes(exact=bool(config.allowed_batch_sizes))
        self.wall_times = LinearRunTime()
        try:
            check_declared("input", config.input, self.model.spec.inputs)
            sample_spec(self.model.spec, config)  # raises where a window does not fit
            if config.window is not None:
                self.model.pin_length(config.window.length)
            rows = warmup_rows(config.model_warmup, self.model.spec.inputs)
            self.model.probe(rows)
            check_declared("output", config.output, self.model.spec.outputs)
            self.model.set_labels(config.labels)
            check_alerts(config.alert, self.model.spec.outputs, config.labels)
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
        if self.model.sample is None or not self.model.spec.stackable or not self.model.spec.is_static:
            return configured or UNMEASURED_MAX_BATCH_SIZE
        row, shapes = self.model.sample
        warmed = 1
        for size in self.config.allowed_batch_sizes or _powers_of_two(configured or AUTO_MAX_BATCH_SIZE):
            cpu_seconds, seconds = min(self._timed_run([row] * size, shapes) for _ in range(3))
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

    def _timed_run(self, rows: list[Row], shapes: Shapes | None) -> tuple[float, float]:
        """Return the CPU seconds of this thread and the seconds on the clock."""
        cpu_started, started = time.thread_time(), time.monotonic()
        self.model.run(rows, shapes)
        return time.thread_time() - cpu_started, time.monotonic() - started


def _powers_of_two(largest: int) -> Iterator[int]:
    size = 1
    while size < largest:
        yield size
        size *= 2
    yield largest
