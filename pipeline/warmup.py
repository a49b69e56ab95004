"""Rows that `model_warmup` describes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, InvalidInput
from pipeline.model_config import Warmup, WarmupInput
from pipeline.tensors import ABSENT, STRING, Cell, Entry, Row, Shape, Shapes, TensorSpec, joined_entries

MAX_DATA_BYTES = 2**31
_SEED = 0  # the same rows at every start
_ZEROS = WarmupInput(zero_data=True)


def warmup_rows(warmups: Sequence[Warmup], inputs: Sequence[TensorSpec]) -> list[tuple[Row, Shapes | None]]:
    """Return the row of each warm-up, and its shapes where dynamic. Raises `ConfigError` that names the key."""
    return [_row(warmup, inputs, f"model_warmup[{at}].inputs") for at, warmup in enumerate(warmups)]


def _row(warmup: Warmup, inputs: Sequence[TensorSpec], path: str) -> tuple[Row, Shapes | None]:
    names = [spec.name for spec in inputs]
    if unknown := [name for name in warmup.inputs if name not in names]:
        raise ConfigError(f"{path}.{unknown[0]}: no such input, expected one of {names}")
    cells: list[Cell] = []
    entries: list[Entry] = []
    for spec in inputs:
        if spec.optional and spec.name not in warmup.inputs:
            cells.append(b"")
            entries.append(ABSENT)
            continue
        cell, shape = _cell(warmup.inputs.get(spec.name, _ZEROS), spec, f"{path}.{spec.name}")
        cells.append(cell)
        entries.append(spec.entry(cell, shape))
    return tuple(cells), joined_entries(entries)


def _cell(told: WarmupInput, spec: TensorSpec, path: str) -> tuple[Cell, Shape | None]:
    if told.data_type is not None and told.data_type != spec.dtype.name:
        raise ConfigError(f"{path}.data_type: the graph has {spec.dtype.name}, found {told.data_type}")
    data = told.values
    if data is None:
        shape = tuple(told.dims) if told.dims is not None else tuple(1 if n is None else n for n in spec.shape)
        data = {"shape": list(shape), "data": _made_up(told.random_data, spec, shape, path)}
    elif told.dims is not None:
        data = {"shape": told.dims, "data": data}
    try:
        return spec.parse(data, path)
    except InvalidInput as error:
        raise ConfigError(str(error)) from error


def _made_up(random: bool, spec: TensorSpec, shape: Shape, path: str) -> Any:
    """Return random numbers (floats in [0, 1), integers and booleans 0 or 1, strings of such), or zeros."""
    size = math.prod(shape)
    if size * max(spec.dtype.numpy.itemsize, 1) > MAX_DATA_BYTES:
        raise ConfigError(f"{path}.dims: {list(shape)} is more than {MAX_DATA_BYTES} bytes")
    generator = np.random.default_rng(_SEED)
    if spec.dtype is STRING:
        return [str(n) for n in generator.integers(0, 2, size).tolist()] if random else [""] * size
    if not random:
        return bytes(size * spec.dtype.numpy.itemsize)
    is_float = spec.dtype.numpy.kind in "fV"
    numbers = generator.random(size) if is_float else generator.integers(0, 2, size)
    return numbers.astype(spec.dtype.numpy).tobytes()
