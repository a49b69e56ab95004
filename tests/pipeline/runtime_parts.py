"""Graphs that are loaded, rows that are cut from batches, and what plain ONNX Runtime makes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from pipeline.runtime import OnnxModel
from pipeline.tensors import DTYPES, Array, Row, Shapes
from tests import onnx_models as onnx


def load(proto: ModelProto, folder: Path, batched: bool | None = None) -> OnnxModel:
    """Load and probe a model."""
    model = OnnxModel(onnx.save(proto, folder / "model.onnx"), batched=batched)
    model.probe()
    return model


def rows_of(*arrays: Array) -> list[Row]:
    """Cut batches, one for each input, into rows."""
    cells = [
        [tuple(row.ravel().tolist()) if array.dtype == object else row.tobytes() for row in array] for array in arrays
    ]
    return list(zip(*cells, strict=True))


def outputs_of(model: OnnxModel, rows: Sequence[Row], shapes: Shapes | None = None) -> list[dict[str, Any]]:
    return model.run(rows, shapes).rows(lists=True)


def reference(proto: ModelProto, **feeds: Array) -> list[Array]:
    """Return what plain ONNX Runtime makes of a batch."""
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays: list[Array] = session.run(None, feeds)
    return arrays


def samples(dtype: str, shape: tuple[int, ...]) -> Array:
    """Return numbers that the type holds exactly."""
    small = np.arange(np.prod(shape)).reshape(shape) % 5
    return small.astype(DTYPES[dtype].numpy)
