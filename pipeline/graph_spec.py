"""What a graph says of its inputs and outputs, as the pipeline wants it."""

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import ConfigError
from pipeline.model_config import DeclaredTensor, ModelConfig
from pipeline.tensors import DTYPES, STRING, TensorSpec

TRITON_TYPES = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_UINT16": "uint16",
    "TYPE_UINT32": "uint32",
    "TYPE_UINT64": "uint64",
    "TYPE_INT8": "int8",
    "TYPE_INT16": "int16",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
    "TYPE_STRING": "string",
    "TYPE_BF16": "bfloat16",
}


MAX_ROW_BYTES = 2**31


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Inputs and outputs of one row.

    `batched`: the graph has a batch dimension. `leads`: for each output, whether it has it too. `stackable`: many rows
    may share a run; else they run one by one.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool
    leads: tuple[bool, ...]
    stackable: bool

    @property
    def is_static(self) -> bool:
        """Whether every row has the same shapes."""
        return all(tensor.is_static for tensor in self.inputs)

    @property
    def has_optional(self) -> bool:
        """Whether rows may leave inputs out."""
        return any(tensor.optional for tensor in self.inputs)


def read_spec(
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    batched: bool | None,
    overridable: Sequence[Any] = (),
    optional: Collection[str] = (),
) -> ModelSpec:
    """Return the spec of ONNX Runtime's `NodeArg`s; `batched` None means: find out.

    Of the `overridable` initializers those named in `optional` become inputs. Raises `ConfigError`.
    """
    leading = [_is_dynamic(node) for node in inputs]
    if batched is None:
        batched = bool(inputs) and all(leading)
    elif batched and not (inputs and all(leading)):
        names = [node.name for node, dynamic in zip(inputs, leading, strict=True) if not dynamic]
        raise ConfigError(f"max_batch_size: the inputs {names} have no dynamic first dimension; use 0")
    leads = tuple(batched and _is_dynamic(node) for node in outputs)
    _check_optional(optional, inputs, overridable)
    return ModelSpec(
        (
            *(_read_tensor(node, batched, optional=_is_optional(node)) for node in inputs),
            *(
                _read_tensor(node, False, optional=True, initializer=True)
                for node in overridable
                if node.name in optional
            ),
        ),
        tuple(_read_tensor(node, lead) for node, lead in zip(outputs, leads, strict=True)),
        batched,
        leads,
        batched and all(leads),
    )


def settle_output(spec: TensorSpec, declared: bool, leads: bool, rank: int) -> TensorSpec:
    """Return the spec of an output whose rank and batch dimension are now known."""
    shape = spec.shape
    if declared and not leads:
        shape = (None, *shape)
    elif leads and not declared:
        shape = shape[1:]
    return TensorSpec(spec.name, spec.dtype, shape if len(shape) == rank else (None,) * rank)


def check_declared(key: str, declared: Sequence[DeclaredTensor], tensors: Sequence[TensorSpec]) -> None:
    """Compare what a configuration says of the inputs or outputs with the graph.

    The graph's fixed sizes must be repeated, its dynamic ones may be narrowed. Raises `ConfigError` with tensor,
    expected and found.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    for said in declared:
        tensor = by_name.get(said.name)
        if tensor is None:
            raise ConfigError(f"{key}.{said.name}: the graph has no such {key}, expected one of {list(by_name)}")
        if TRITON_TYPES.get(said.data_type, said.data_type) != tensor.dtype.name:
            raise ConfigError(f"{key}.{said.name}.data_type: the graph has {tensor.dtype.name}, found {said.data_type}")
        fits = len(said.dims) == len(tensor.shape) and all(
            size is None or size == dim for size, dim in zip(tensor.shape, said.dims, strict=True)
        )
        if not fits:
            expected = [-1 if size is None else size for size in tensor.shape]
            raise ConfigError(f"{key}.{said.name}.dims: the graph has {expected} for a row, found {said.dims}")


def check_class_names(labels: Mapping[str, Sequence[str]], tensors: Sequence[TensorSpec]) -> None:
    """Raise `ConfigError` for names of classes of an unknown output, or a wrong number of names."""
    outputs = {tensor.name: tensor for tensor in tensors}
    for name, names in labels.items():
        if name not in outputs:
            raise ConfigError(f"labels.{name}: the model has no such output, expected one of {list(outputs)}")
        size, dtype = outputs[name].size, outputs[name].dtype
        if dtype is STRING:
            raise ConfigError(f"labels.{name}: the output is strings already")
        is_class = size == 1 and dtype.numpy.kind in "iu"
        if not names or (size >= 0 and size != len(names) and not is_class):
            raise ConfigError(f"labels.{name}: expected {max(size, 1)} names, got {len(names)}")


def pin_length(spec: ModelSpec, length: int) -> ModelSpec:
    """Return a spec in which the first dimension of the only input's rows, which may be open, is `length`."""
    (tensor,) = spec.inputs
    return replace(spec, inputs=(TensorSpec(tensor.name, tensor.dtype, (length, *tensor.shape[1:])),))


def sample_spec(spec: ModelSpec, config: ModelConfig) -> TensorSpec | None:
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


def _check_optional(optional: Collection[str], inputs: Sequence[Any], overridable: Sequence[Any]) -> None:
    possible = [*(node.name for node in inputs if _is_optional(node)), *(node.name for node in overridable)]
    for name in optional:
        if name not in possible:
            raise ConfigError(
                f"input.{name}.optional: only optional(tensor) inputs and initializers that are inputs too can be left "
                f"out, the graph has {possible or 'none'}"
            )


def _is_dynamic(node: Any) -> bool:
    return bool(node.shape) and not isinstance(node.shape[0], int)


def _is_optional(node: Any) -> bool:
    return str(node.type).startswith("optional(tensor(")


def _read_tensor(node: Any, skip_batch: bool, *, optional: bool = False, initializer: bool = False) -> TensorSpec:
    kind = str(node.type)
    inner = kind.removeprefix("optional(").removesuffix(")") if _is_optional(node) else kind
    name = inner.removeprefix("tensor(").removesuffix(")") if inner.startswith("tensor(") else ""
    dtype = DTYPES.get({"float": "float32", "double": "float64"}.get(name, name))
    if dtype is None:
        hint = " (export scikit-learn models with zipmap=False)" if kind.startswith(("seq", "map")) else ""
        raise ConfigError(f"{node.name}: type {kind} cannot be served{hint}")
    shape = tuple(n if isinstance(n, int) and n >= 0 else None for n in node.shape)
    try:
        spec = TensorSpec(node.name, dtype, shape[1:] if skip_batch else shape, optional, initializer)
    except (struct.error, OverflowError, MemoryError) as error:
        raise ConfigError(f"{node.name}: a row of shape {list(node.shape)} is too large") from error
    if spec.size * max(dtype.numpy.itemsize, 1) > MAX_ROW_BYTES:
        raise ConfigError(f"{node.name}: a row of shape {list(node.shape)} is too large, at most {MAX_ROW_BYTES} bytes")
    return spec
