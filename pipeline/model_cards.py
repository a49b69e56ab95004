"""What workers say of themselves, and what gateways make of it: models as they travel, without their graphs."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.cluster_messages import ForeignEntry
from pipeline.graph_spec import ModelSpec
from pipeline.messages import StepInfo
from pipeline.model_config import ModelConfig
from pipeline.tensors import DTYPES, TensorSpec

FORMAT: Final = 1


class TensorCard(Struct):
    """One input or output of one row; `None` in `shape` is a dynamic dimension."""

    name: str
    dtype: str
    shape: list[int | None]
    optional: bool = False
    initializer: bool = False


class ModelCard(Struct):
    """A version that a worker runs: all that sessions need to know of it."""

    name: str
    version: str
    config: ModelConfig
    inputs: list[TensorCard]
    outputs: list[TensorCard]
    batched: bool
    leads: list[bool]
    stackable: bool
    max_batch_size: int
    max_queue_size: int
    labels: dict[str, list[str]]
    steps: list[StepInfo] | None = None


class Shelf(Struct):
    """What a worker's folder has of a model: its versions, what labels stand for, and why some cannot be served."""

    there: list[str] = []
    labels: dict[str, str] = {}
    reasons: dict[str, str] = {}


class WorkerCard(Struct):
    """A worker: the versions it runs, and what lies in its folder, by model."""

    format: int
    worker: str
    models: list[ModelCard]
    shelves: dict[str, Shelf] = {}


_decode = msgspec.msgpack.Decoder(WorkerCard).decode
encode_card = msgspec.msgpack.Encoder().encode


def decode_card(payload: bytes) -> WorkerCard:
    """Return a worker's card. Raises `ForeignEntry`."""
    try:
        card = _decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ForeignEntry(f"no worker: {error}") from error
    if card.format != FORMAT:
        raise ForeignEntry(f"format: expected {FORMAT}, got {card.format}")
    return card


def queue_of(name: str, version: str, shard: int) -> str:
    """Return the queue that rows of a model's version go to."""
    return f"{name}/{version}/{shard}"


def box_of(gateway: str, shard: int) -> str:
    """Return the box that a gateway's replies from the queues of a shard go to."""
    return f"{gateway}/{shard}"


def tensor_cards(specs: Iterable[TensorSpec]) -> list[TensorCard]:
    """Return tensors as they travel."""
    return [TensorCard(spec.name, spec.dtype.name, list(spec.shape), spec.optional, spec.initializer) for spec in specs]


def spec_of(card: ModelCard) -> ModelSpec:
    """Return the tensors of a model. Raises `ForeignEntry`."""
    if not card.version.isdecimal():
        raise ForeignEntry(f"{card.name}: {card.version!r} is no version")
    return ModelSpec(
        tuple(map(_tensor, card.inputs)),
        tuple(map(_tensor, card.outputs)),
        card.batched,
        tuple(card.leads),
        card.stackable,
    )


def offers(cards: Mapping[str, WorkerCard]) -> dict[str, dict[str, ModelCard]]:
    """Return what the workers run, by name and version; of several that differ the one of the first worker."""
    offered: dict[str, dict[str, ModelCard]] = {}
    for _, card in sorted(cards.items()):
        for model in card.models:
            offered.setdefault(model.name, {}).setdefault(model.version, model)
    return offered


def shelves(cards: Mapping[str, WorkerCard]) -> dict[str, Shelf]:
    """Return what the workers have, by model; where they differ the word of the first worker counts."""
    shared: dict[str, Shelf] = {}
    for _, card in sorted(cards.items()):
        for name, own in card.shelves.items():
            shelf = shared.setdefault(name, Shelf([], {}, {}))
            shelf.there += [version for version in own.there if version not in shelf.there]
            shelf.labels = own.labels | shelf.labels
            shelf.reasons = own.reasons | shelf.reasons
    return shared


def _tensor(card: TensorCard) -> TensorSpec:
    dtype = DTYPES.get(card.dtype)
    if dtype is None:
        raise ForeignEntry(f"{card.name}: there is no type {card.dtype!r}")
    return TensorSpec(card.name, dtype, tuple(card.shape), card.optional, card.initializer)
