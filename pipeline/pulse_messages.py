"""The value of `$stats`: what the server does now (docs/protocol.md)."""

from msgspec import Struct


class Quantiles(Struct):
    """Of the last seconds, in milliseconds."""

    p50: float
    p90: float
    p99: float


class ModelPulse(Struct):
    """One version of a model. `batch_rows` counts batches by the upper bound of their rows, each in one of them.

    Quantiles are null where nothing ran.
    """

    name: str
    version: str
    state: str
    queue_depth: int
    predictions: int
    predictions_per_second: float
    batch_rows: dict[str, int]
    queue_ms: Quantiles | None
    run_ms: Quantiles | None
    total_ms: Quantiles | None


class Stats(Struct):
    """The whole server. Counts are since its start, but for those of a model, which are since it was loaded.

    `cpu` is in cores, and like `loop_lag_ms` of the time since the last beat.
    """

    uptime_seconds: float
    memory_bytes: int
    cpu: float
    loop_lag_ms: float
    sockets: int
    watchers: int
    keys: int
    events: int
    events_per_second: float
    predictions: int
    predictions_per_second: float
    errors: dict[str, int]
    models: list[ModelPulse]
