"""Repositories with ensembles, and clients of them."""

import asyncio
import time
from pathlib import Path
from typing import Any

from onnx import ModelProto

from pipeline.codec import JSON, Codec
from pipeline.interfaces import SessionOptions
from pipeline.messages import Failure, Prediction
from pipeline.repository import Repository
from tests import onnx_models as onnx
from tests.pipeline.session_parts import Client

SCALED = """
[[ensemble_scheduling.step]]
model_name = "scale"
input_map = { x = "raw" }
output_map = { scores = "scaled" }

[[ensemble_scheduling.step]]
model_name = "classify"
input_map = { x = "scaled" }
output_map = { class = "class" }
"""
"""`scale`, a product of 3 numbers with 3 columns, and the argmax of that."""


DIAMOND = """
[[input]]
name = "a"
data_type = "TYPE_FP32"
dims = [3]

[[output]]
name = "sum"
data_type = "float32"
dims = [3]
[[output]]
name = "left"
data_type = "float32"
dims = [3]

[[ensemble_scheduling.step]]
model_name = "add"
input_map = { a = "left", b = "right" }
output_map = { sum = "sum" }

[[ensemble_scheduling.step]]
model_name = "double"
input_map = { x = "a" }
output_map = { scores = "left" }

[[ensemble_scheduling.step]]
model_name = "negate"
input_map = { x = "a" }
output_map = { scores = "right" }
"""


def put_model(root: Path, name: str, proto: ModelProto, config: str | None = None, version: str = "1") -> Path:
    path = onnx.save(proto, root / name / version / "model.onnx")
    if config is not None:
        (root / name / "config.toml").write_text(config)
    return path


def put_ensemble(root: Path, config: str = SCALED, name: str = "whole") -> Path:
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "config.toml").write_text(config)
    return root / name / "config.toml"


def put_scaled(root: Path, config: str = SCALED, factors: tuple[float, float, float] = (1, 1, 1)) -> None:
    """Put the ensemble and its two models; `factors` are those of the columns."""
    weights = [[factors[0], 0, 0], [0, factors[1], 0], [0, 0, factors[2]]]
    put_model(root, "scale", onnx.gemm(weights, [0, 0, 0]))
    put_model(root, "classify", onnx.argmax())
    put_ensemble(root, config)


def diagonal(factor: float) -> list[list[float]]:
    return [[factor, 0, 0], [0, factor, 0], [0, 0, factor]]


def put_diamond(root: Path, config: str = DIAMOND) -> None:
    put_model(root, "add", onnx.add())
    put_model(root, "double", onnx.gemm(diagonal(2), [0, 0, 0]))
    put_model(root, "negate", onnx.gemm(diagonal(-1), [0, 0, 0]))
    put_ensemble(root, config)


async def ask(
    models: Repository,
    *events: Any,
    model: str = "whole",
    codec: Codec = JSON,
    options: SessionOptions | None = None,
    **fields: Any,
) -> list[Prediction | Failure]:
    """Send events of one client at once; return the answers in the order of the events."""
    client = Client(models.get(model), served=models, codec=codec, options=options)
    changed = asyncio.Event()
    client.outlet.on_send = changed.set
    for data in events:
        client.now = time.monotonic()
        client.send(data, **fields)
    while len(client.outlet.sent) < len(events):
        changed.clear()
        await changed.wait()
    in_order = sorted(client.outlet.sent, key=lambda sent: sent.seq or 0)
    return [sent.message for sent in in_order if isinstance(sent.message, Prediction | Failure)]


async def outputs(models: Repository, *events: Any, **options: Any) -> list[Any]:
    """Do the same and return outputs, or the messages of errors."""
    answers = await ask(models, *events, **options)
    return [answer.outputs if isinstance(answer, Prediction) else answer.error.message for answer in answers]
