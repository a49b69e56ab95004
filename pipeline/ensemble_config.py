"""`ensemble_scheduling` of a configuration: the steps of an ensemble, in Triton's words."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

NEWEST: Final = -1

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Map = dict[Name, Name]

_LEFT_TO_STEPS: Final = (
    "allowed_batch_sizes",
    "latency_slo_microseconds",
    "instance_group",
    "execution_providers",
    "intra_op_num_threads",
    "inline_below_microseconds",
    "model_warmup",
    "sha256",
)
_BATCHING_LEFT_TO_STEPS: Final = (
    "max_queue_delay_microseconds",
    "preferred_batch_size",
    "priority_levels",
    "default_priority_level",
)


class EnsembleStep(Struct, frozen=True, forbid_unknown_fields=True):
    """One model of an ensemble. The maps lead from names of its tensors to names of the ensemble's.

    `model_version`: a number, a label, or -1 for whatever is newest.
    """

    model_name: Name
    output_map: Annotated[Map, Meta(min_length=1)]
    input_map: Map = {}
    model_version: Annotated[int, Meta(ge=NEWEST, lt=10**18)] | Name = NEWEST

    def __post_init__(self) -> None:
        if self.model_version == 0:
            raise ValueError("model_version: expected a number from 1, a label, or -1 for the newest")

    @property
    def version(self) -> str | None:
        """The version to ask a repository for."""
        return None if self.model_version == NEWEST else str(self.model_version)

    def __str__(self) -> str:
        return self.model_name if self.version is None else f"{self.model_name}/{self.version}"


class EnsembleScheduling(Struct, frozen=True, forbid_unknown_fields=True):
    """The steps, in any order: one begins when the tensors that it takes are there."""

    step: Annotated[list[EnsembleStep], Meta(min_length=1, max_length=256)]


def check_ensemble(config: Any, defaults: Any) -> None:
    """Raise `ValueError` for a key of a `ModelConfig` that an ensemble leaves to the models of its steps."""
    batching, plain = config.dynamic_batching, defaults.dynamic_batching
    found = [key for key in _LEFT_TO_STEPS if getattr(config, key) != getattr(defaults, key)]
    found += [f"dynamic_batching.{k}" for k in _BATCHING_LEFT_TO_STEPS if getattr(batching, k) != getattr(plain, k)]
    if batching.default_queue_policy.max_queue_size != plain.default_queue_policy.max_queue_size:
        found.append("dynamic_batching.default_queue_policy.max_queue_size")
    if found:
        raise ValueError(f"{found[0]}: not of an ensemble, but of the models of its steps")
