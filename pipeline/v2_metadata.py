"""What the Open Inference Protocol tells of a server and its models, one struct per message.

Shapes have the batch dimension first where the model has one; -1 is a dynamic dimension. Times are nanoseconds.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0)]


class ServerLive(Struct):
    """The process answers."""

    live: bool


class ServerReady(Struct):
    """Whether requests are welcome."""

    ready: bool


class ServerMetadata(Struct):
    """What this server is, and which extensions of the protocol it has."""

    name: str
    version: str
    extensions: list[str]


class ModelList(Struct):
    """The names of all models."""

    models: list[str]


class ModelReady(Struct):
    """A model that answers."""

    name: str
    ready: bool


class TensorMetadata(Struct):
    """A tensor as requests and answers have it."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct):
    """What a client must know of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorConfig(Struct, omit_defaults=True):
    """A tensor in a model's configuration: without the batch dimension. `optional`: requests may leave it out."""

    name: str
    data_type: str
    dims: list[int]
    optional: bool = False


class QueuePolicyConfig(Struct):
    """The bounds of a model's queue."""

    default_timeout_microseconds: Count
    max_queue_size: Count


class BatchingConfig(Struct):
    """How requests are put together."""

    max_queue_delay_microseconds: Count
    default_queue_policy: QueuePolicyConfig


class InstanceGroupConfig(Struct):
    """How many batches run at the same time, and where."""

    name: str
    kind: str
    count: Count


class StepConfig(Struct):
    """One model of an ensemble; the maps lead from its tensors to those of the ensemble, version -1 is the newest."""

    model_name: str
    model_version: int
    input_map: dict[str, str]
    output_map: dict[str, str]


class EnsembleConfig(Struct):
    """What an ensemble is made of."""

    step: list[StepConfig]


class ModelConfiguration(Struct, omit_defaults=True):
    """A model's configuration in Triton's words. `max_batch_size` 0: it has no batch dimension."""

    name: str
    platform: str
    backend: str
    max_batch_size: Count
    input: list[TensorConfig]
    output: list[TensorConfig]
    instance_group: list[InstanceGroupConfig]
    default_model_filename: str
    dynamic_batching: BatchingConfig | UnsetType = UNSET
    ensemble_scheduling: EnsembleConfig | UnsetType = UNSET


class Duration(Struct):
    """How often something happened and how long it took in sum."""

    count: Count
    ns: Count


class InferenceStatistics(Struct):
    """Where the time of a version's requests went."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class BatchStatistics(Struct):
    """The runs of one batch size."""

    batch_size: Count
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(Struct):
    """The counters of one version since it was loaded; `last_inference` is milliseconds since the epoch, 0: never."""

    name: str
    version: str
    last_inference: Count
    inference_count: Count
    execution_count: Count
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class Statistics(Struct):
    """The counters of one model, or of all."""

    model_stats: list[ModelStatistics]
