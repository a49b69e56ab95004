"""`models/<name>/config.toml`: what the graph itself does not tell. Names are Triton's where Triton has one."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from pipeline.errors import ConfigError
from pipeline.version_policy import Version, VersionPolicy
from pipeline.window import WindowSpec

Microseconds = Annotated[int, Meta(ge=0, le=60_000_000)]


class QueuePolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the queue; `default_timeout_microseconds` 0 means that events wait without a deadline."""

    max_queue_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 16384
    default_timeout_microseconds: Annotated[int, Meta(ge=0)] = 0


class DynamicBatching(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a batch may wait to fill, and how much may wait."""

    max_queue_delay_microseconds: Microseconds = 0
    default_queue_policy: QueuePolicy = field(default_factory=QueuePolicy)


class InstanceGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """How many batches of the model run at the same time."""

    count: Annotated[int, Meta(ge=1, le=256)] = 1


class WindowConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Sliding window by count of samples."""

    length: Annotated[int, Meta(ge=1, le=10_000_000)]
    hop: Annotated[int, Meta(ge=1, le=10_000_000)]


class ModelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `config.toml`; every key is optional.

    `max_batch_size`: 0 says that the model has no batch dimension; without the key it is found while warming.
    `inline_below_microseconds`: a run expected to be quicker than this does not pay for a thread hop.
    """

    max_batch_size: Annotated[int, Meta(ge=0, le=65536)] | None = None
    dynamic_batching: DynamicBatching = field(default_factory=DynamicBatching)
    instance_group: InstanceGroup = field(default_factory=InstanceGroup)
    intra_op_num_threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    inline_below_microseconds: Microseconds = 200
    window: WindowConfig | None = None
    labels: dict[str, list[str]] = {}
    version_policy: VersionPolicy = field(default_factory=VersionPolicy)
    version_labels: dict[str, Version] = {}

    @property
    def window_spec(self) -> WindowSpec | None:
        """The window as the pipeline wants it."""
        return WindowSpec(self.window.length, self.window.hop) if self.window else None


def read_config(path: Path) -> ModelConfig:
    """Read a config.toml; the defaults where there is none. Raises `ConfigError` with file, key and reason."""
    if not path.exists():
        return ModelConfig()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=ModelConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: {_describe(error)}") from error


def _describe(error: Any) -> str:
    text, _, where = str(error).partition(" - at `$")
    return f"{where.strip('.`')}: {text}" if where else text
