"""Models in the words of the Open Inference Protocol: metadata, configuration, statistics, the repository's index."""

from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from pipeline.messages import ModelInfo
from pipeline.served_model import ServedModel
from pipeline.stats import ModelStats
from pipeline.tensors import TensorSpec
from pipeline.v2_messages import IndexEntry
from pipeline.v2_metadata import (
    BatchingConfig,
    BatchStatistics,
    Duration,
    EnsembleConfig,
    InferenceStatistics,
    InstanceGroupConfig,
    ModelConfiguration,
    ModelMetadata,
    ModelStatistics,
    QueuePolicyConfig,
    StepConfig,
    TensorConfig,
    TensorMetadata,
)
from pipeline.v2_tensors import DATATYPES, wire_shape

PLATFORM: Final = "onnxruntime_onnx"
ENSEMBLE: Final = "ensemble"

_NEVER: Final = Duration(0, 0)


def metadata(model: ServedModel, versions: Sequence[str]) -> ModelMetadata:
    """Return what a client must know of a model; `versions` are those that are ready."""
    spec = model.spec
    return ModelMetadata(
        model.name,
        list(versions),
        _platform(model),
        _tensors(spec.inputs, spec.batched),
        _tensors(spec.outputs, spec.batched),
    )


def configuration(model: ServedModel) -> ModelConfiguration:
    """Return a model's configuration, with what was found out while loading filled in."""
    config, spec = model.config, model.spec
    batching = config.dynamic_batching
    queue = batching.default_queue_policy
    if model.steps is not None:
        return _ensemble(model)
    return ModelConfiguration(
        model.name,
        PLATFORM,
        "onnxruntime",
        model.max_batch_size if spec.batched else 0,
        _tensor_configs(spec.inputs),
        _tensor_configs(spec.outputs),
        [InstanceGroupConfig(model.name, "KIND_CPU", config.instance_group.count)],
        "model.onnx",
        BatchingConfig(
            batching.max_queue_delay_microseconds,
            QueuePolicyConfig(queue.default_timeout_microseconds, queue.max_queue_size),
        )
        if spec.batched
        else UNSET,
    )


def statistics(model: ServedModel, now: float, epoch: float) -> ModelStatistics:
    """Return a model's counters; `now` is monotonic seconds, `epoch` the same moment in unix seconds."""
    stats = model.engine.stats
    last = epoch - (now - stats.last_done_at) if stats.last_done_at else 0.0
    return ModelStatistics(
        model.name,
        model.version,
        max(0, round(last * 1000)),
        stats.predictions,
        sum(round(count) for count, _ in stats.runs.values()),
        _inference_statistics(stats),
        [
            BatchStatistics(
                size, Duration(round(count), 0), _duration(round(count), seconds), Duration(round(count), 0)
            )
            for size, (count, seconds) in sorted(stats.runs.items())
        ],
    )


def index_entry(info: ModelInfo) -> IndexEntry:
    """Return a model's line in the repository's index."""
    return IndexEntry(info.name, info.version, info.state.upper(), info.reason or "")


def _platform(model: ServedModel) -> str:
    return PLATFORM if model.steps is None else ENSEMBLE


def _ensemble(model: ServedModel) -> ModelConfiguration:
    scheduling, spec = model.config.ensemble_scheduling, model.spec
    assert scheduling is not None
    steps = [
        StepConfig(
            step.model_name,
            step.model_version if isinstance(step.model_version, int) else int(served.version),
            step.input_map,
            step.output_map,
        )
        for step, served in zip(scheduling.step, model.steps or (), strict=True)
    ]
    return ModelConfiguration(
        model.name,
        ENSEMBLE,
        "",
        model.config.max_batch_size or (model.max_batch_size if spec.batched else 0),
        _tensor_configs(spec.inputs),
        _tensor_configs(spec.outputs),
        [],
        "",
        ensemble_scheduling=EnsembleConfig(steps),
    )


def _inference_statistics(stats: ModelStats) -> InferenceStatistics:
    """Return where the time went; the parts are sums over rows, and requests of many rows count once."""
    requests = stats.predictions - stats.shared_rows
    total, queued, run = stats.end_to_end_seconds.total, stats.queue_seconds.total, stats.row_run_seconds
    return InferenceStatistics(
        success=_duration(requests, total),
        fail=_duration(stats.failed_requests, stats.failed_seconds),
        queue=_duration(requests, queued),
        compute_input=Duration(requests, 0),
        compute_infer=_duration(requests, run),
        compute_output=_duration(requests, total - queued - run),
        cache_hit=_NEVER,
        cache_miss=_NEVER,
    )


def _duration(count: int, seconds: float) -> Duration:
    return Duration(max(0, count), max(0, round(seconds * 1e9)))


def _tensors(specs: Sequence[TensorSpec], batched: bool) -> list[TensorMetadata]:
    return [TensorMetadata(spec.name, DATATYPES[spec.dtype.name], wire_shape(spec, batched)) for spec in specs]


def _tensor_configs(specs: Sequence[TensorSpec]) -> list[TensorConfig]:
    return [TensorConfig(spec.name, _data_type(spec), wire_shape(spec, False), spec.optional) for spec in specs]


def _data_type(spec: TensorSpec) -> str:
    """Return Triton's name of a type in configurations."""
    name = DATATYPES[spec.dtype.name]
    return "TYPE_STRING" if name == "BYTES" else f"TYPE_{name}"
