"""`models/<name>/config.toml`: what the graph itself does not tell. Names are Triton's where Triton has one."""

import itertools
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from pipeline.alert_config import MAX_RULES, AlertRule, check_names
from pipeline.ensemble_config import EnsembleScheduling, check_ensemble
from pipeline.version_policy import Version, VersionName, VersionPolicy
from pipeline.window import WindowSpec

Microseconds = Annotated[int, Meta(ge=0, le=60_000_000)]
BatchSize = Annotated[int, Meta(ge=1, le=65536)]
Dims = Annotated[list[Annotated[int, Meta(ge=-1)]], Meta(max_length=64)]
Digest = Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")]

Digests = dict[Annotated[str, Meta(min_length=1)], Digest]  # by path below the folder of model.onnx

MAX_WARMUP_RUNS = 10_000
MODEL_FILE = "model.onnx"


class QueuePolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the queue; `default_timeout_microseconds` 0 means that events wait without a deadline.

    Without `allow_timeout_override` an event's own timeout may shorten the default one and not exceed it.
    """

    max_queue_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 16384
    default_timeout_microseconds: Annotated[int, Meta(ge=0, le=2**53)] = 0
    allow_timeout_override: bool = True
    timeout_action: Literal["REJECT", "DELAY"] = "REJECT"

    def __post_init__(self) -> None:
        if self.timeout_action == "DELAY":
            raise ValueError("timeout_action: DELAY is not served, what has waited too long is refused: use REJECT")


class DynamicBatching(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a batch may wait to fill, how large it should be, and who goes first.

    `priority_levels` 0: all events are equal; else 1 is the most urgent, and events that name no level have
    `default_priority_level`.
    """

    max_queue_delay_microseconds: Microseconds = 0
    default_queue_policy: QueuePolicy = field(default_factory=QueuePolicy)
    preferred_batch_size: list[BatchSize] = []
    priority_levels: Annotated[int, Meta(ge=0, le=64)] = 0
    default_priority_level: Annotated[int, Meta(ge=0, le=64)] = 0

    def __post_init__(self) -> None:
        if self.priority_levels and not 1 <= self.default_priority_level <= self.priority_levels:
            raise ValueError(
                f"default_priority_level: expected 1 to {self.priority_levels}, got {self.default_priority_level}"
            )
        if self.default_priority_level and not self.priority_levels:
            raise ValueError("default_priority_level: needs priority_levels beside it")


class InstanceGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """How many batches of the model run at the same time, and on what."""

    count: Annotated[int, Meta(ge=1, le=256)] = 1
    kind: Literal["KIND_AUTO", "KIND_CPU", "KIND_GPU"] = "KIND_AUTO"


class WindowConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Sliding window by count of samples."""

    length: Annotated[int, Meta(ge=1, le=10_000_000)]
    hop: Annotated[int, Meta(ge=1, le=10_000_000)]


class DeclaredTensor(Struct, frozen=True, forbid_unknown_fields=True):
    """What an input or output is said to be: `dims` without the batch dimension, -1 for a dynamic one."""

    name: str
    data_type: str
    dims: Dims


class DeclaredInput(DeclaredTensor, frozen=True, forbid_unknown_fields=True):
    """The same of an input; `optional`: an initializer that is an input too may be given, instead of being constant."""

    optional: bool = False


class WarmupInput(Struct, frozen=True, forbid_unknown_fields=True):
    """The data of one input of a warm-up row: `values` in the form clients send, random numbers, or zeros.

    `dims` is the shape of the row where the graph leaves it open; `data_type`, where given, must be the graph's.
    """

    values: Any = None
    random_data: bool = False
    zero_data: bool = False
    dims: Annotated[list[Annotated[int, Meta(ge=0, le=2**31)]], Meta(max_length=64)] | None = None
    data_type: str | None = None

    def __post_init__(self) -> None:
        if (self.values is not None) + self.random_data + self.zero_data > 1:
            raise ValueError("values: expected only one of values, random_data and zero_data")
        if isinstance(self.values, dict) and self.dims is not None:
            raise ValueError("dims: the values have a shape of their own")


class Warmup(Struct, frozen=True, forbid_unknown_fields=True):
    """A batch of `batch_size` equal rows that is run `count` times at load.

    Inputs that are not named are zeros, optional ones left out.
    """

    name: str = ""
    batch_size: BatchSize = 1
    count: Annotated[int, Meta(ge=1, le=MAX_WARMUP_RUNS)] = 1
    inputs: dict[str, WarmupInput] = {}


class ModelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `config.toml`; every key is optional.

    `max_batch_size`: 0 says that the model has no batch dimension; without the key it is found while warming.
    `allowed_batch_sizes`: batches are padded to one of these. `latency_slo_microseconds`: an event should be answered
    within this; 0: no objective. `inline_below_microseconds`: a run expected to be quicker than this does not pay for a
    thread hop. `sha256`: of `model.onnx`, or by version; there of `model.onnx`, or of each file. `ensemble_scheduling`:
    the model is made of others. `alert`: rules about its predictions.
    """

    max_batch_size: Annotated[int, Meta(ge=0, le=65536)] | None = None
    allowed_batch_sizes: list[BatchSize] = []
    latency_slo_microseconds: Microseconds = 0
    dynamic_batching: DynamicBatching = field(default_factory=DynamicBatching)
    instance_group: InstanceGroup = field(default_factory=InstanceGroup)
    execution_providers: Annotated[list[str], Meta(min_length=1)] = field(default_factory=lambda: ["auto"])
    intra_op_num_threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    inline_below_microseconds: Microseconds = 200
    window: WindowConfig | None = None
    labels: dict[str, list[str]] = {}
    version_policy: VersionPolicy = field(default_factory=VersionPolicy)
    version_labels: dict[str, Version] = {}
    input: list[DeclaredInput] = []
    output: list[DeclaredTensor] = []
    model_warmup: list[Warmup] = []
    sha256: Digest | dict[VersionName, Digest | Digests] | None = None
    ensemble_scheduling: EnsembleScheduling | None = None
    alert: Annotated[list[AlertRule], Meta(max_length=MAX_RULES)] = []

    def __post_init__(self) -> None:
        check_names(self.alert)
        if self.ensemble_scheduling is not None:
            check_ensemble(self, ModelConfig())
            return
        _check_batch_sizes(self)
        delay, slo = self.dynamic_batching.max_queue_delay_microseconds, self.latency_slo_microseconds
        if slo and delay >= slo:
            raise ValueError(
                f"dynamic_batching.max_queue_delay_microseconds: {delay} leaves nothing of latency_slo_microseconds"
            )
        if self.window and self.optional_inputs:
            raise ValueError(f"window: events are samples, the input {self.optional_inputs[0]!r} cannot be optional")
        most = self.largest_batch
        for at, warmup in enumerate(self.model_warmup):
            if most is not None and warmup.batch_size > max(most, 1):
                raise ValueError(f"model_warmup[{at}].batch_size: {warmup.batch_size} is above max_batch_size")

    @property
    def window_spec(self) -> WindowSpec | None:
        """The window as the pipeline wants it."""
        return WindowSpec(self.window.length, self.window.hop) if self.window else None

    @property
    def uses(self) -> frozenset[str]:
        """Names of the models of an ensemble's steps; empty where the model is none."""
        scheduling = self.ensemble_scheduling
        return frozenset(step.model_name for step in scheduling.step) if scheduling else frozenset()

    @property
    def optional_inputs(self) -> list[str]:
        """The names of the inputs that are said to be optional."""
        return [tensor.name for tensor in self.input if tensor.optional]

    @property
    def largest_batch(self) -> int | None:
        """The largest batch that was asked for; 0: no batch dimension; None: to be found while warming."""
        return self.allowed_batch_sizes[-1] if self.allowed_batch_sizes else self.max_batch_size

    def digests(self, version: str) -> dict[str, str] | None:
        """Return the SHA-256 that each file of a version must have, or None where nothing is said of it."""
        told = self.sha256.get(version) if isinstance(self.sha256, dict) else self.sha256
        return {MODEL_FILE: told} if isinstance(told, str) else told


def _check_batch_sizes(config: ModelConfig) -> None:
    allowed, most = config.allowed_batch_sizes, config.max_batch_size
    preferred = config.dynamic_batching.preferred_batch_size
    for key, sizes in (("allowed_batch_sizes", allowed), ("dynamic_batching.preferred_batch_size", preferred)):
        if any(size >= after for size, after in itertools.pairwise(sizes)):
            raise ValueError(f"{key}: expected ascending sizes, got {sizes}")
    if allowed and most not in (None, allowed[-1]):
        raise ValueError(f"allowed_batch_sizes: the largest must be max_batch_size {most}, it is {allowed[-1]}")
    largest = config.largest_batch
    if preferred and (largest is None or preferred[-1] > largest):
        bound = "needs max_batch_size" if largest is None else f"above max_batch_size {largest}"
        raise ValueError(f"dynamic_batching.preferred_batch_size: {preferred[-1]} {bound}")


def to_config(table: dict[str, Any]) -> ModelConfig:
    """Return the configuration of a decoded file. Raises `ValueError` that begins with the key."""
    try:
        return msgspec.convert(table, ModelConfig)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `")
        where = where.removeprefix("key` in `").strip("`").lstrip("$.")
        if not where:
            raise ValueError(text) from error
        own = text[:1].islower()  # a rule of this module: it begins with a key below `where`
        raise ValueError(f"{where}{'.' if own else ': '}{text}") from error
