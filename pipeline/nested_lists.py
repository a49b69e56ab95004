"""Nested lists, as clients send tensors."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.errors import InvalidInput


def flatten(data: Any, path: str) -> tuple[list[Any], tuple[int, ...] | None]:
    """Return the leaves of a nested list and its shape; `None` for the shape of a flat list or a single value.

    Raises `InvalidInput` that begins with `path`, the name of the field, where lists have different lengths or depths.
    """
    if data.__class__ is not list:
        return [data], None
    if list not in map(type, data):
        return data, None
    shape: list[int] = []
    level: list[Any] = data
    where = path
    while level and level[0].__class__ is list:
        shape.append(len(level) if not shape else len(level) // math.prod(shape))
        width = len(level[0])
        for at, item in enumerate(level):
            if item.__class__ is not list or len(item) != width:
                got = len(item) if item.__class__ is list else describe(item)
                raise InvalidInput(f"{where}[{_position(at, shape)}]: expected a list of {width}, got {got}")
        level = [value for item in level for value in item]
    if list in map(type, level):
        raise InvalidInput(f"{path}: lists of different depths")
    shape.append(len(level) // math.prod(shape) if math.prod(shape) else 0)
    return level, tuple(shape)


def _position(at: int, shape: Sequence[int]) -> str:
    return "][".join(str(n) for n in _unravel(at, shape))


def _unravel(at: int, shape: Sequence[int]) -> Iterator[int]:
    for below in (math.prod(shape[i + 1 :]) for i in range(len(shape))):
        index, at = divmod(at, below)
        yield index


def describe(value: Any) -> str:
    """Return what kind of value a client sent, in words."""
    names = {
        dict: "a map",
        list: "a list",
        str: "a string",
        bytes: "bytes",
        bool: "a boolean",
        type(None): "null",
    }
    return names.get(type(value), "an integer" if type(value) is int else f"a {type(value).__name__}")
