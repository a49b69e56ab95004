"""The models that the Open Inference Protocol's tests ask, one per kind of tensor."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from onnx import ModelProto

from tests import onnx_models as onnx

LABELS: Final = ["cat", "dog", "emu"]

MODELS: Final[dict[str, ModelProto]] = {
    "add": onnx.add(),
    "strings": onnx.concat_strings(),
    "mixed": onnx.two_by_two(),
    "half": onnx.identity("float16"),
    "brain": onnx.identity("bfloat16"),
    "double": onnx.identity("float64"),
    "tiny": onnx.identity("float8e4m3fn"),
    "fixed": onnx.identity(dims=(2, 3)),
    "scalar": onnx.identity("int64", dims=()),
    "classes": onnx.identity(),
    "several": onnx.mean_over_time(),
    "lookup": onnx.lookup([0.0, 10.0, 20.0]),
    "tight": onnx.identity(),
    "options": onnx.all_options(),
    "none": onnx.constant([1.0, 2.0]),
    **{f"{sign}int{bits}": onnx.identity(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
CONFIGS: Final[dict[str, str]] = {
    "classes": f"[labels]\ny = {LABELS}\n",
    "options": """
        max_batch_size = 64
        [[input]]
        name = "scale"
        data_type = "TYPE_FP32"
        dims = [3]
        optional = true
    """,
    "tight": """
        max_batch_size = 64
        inline_below_microseconds = 0
        [dynamic_batching]
        max_queue_delay_microseconds = 10_000_000
        [dynamic_batching.default_queue_policy]
        max_queue_size = 4
    """,
}


def write_models(root: Path, names: Collection[str] = tuple(MODELS)) -> None:
    """Put models into a repository."""
    for name in names:
        onnx.save(MODELS[name], root / name / "1" / "model.onnx")
        if name in CONFIGS:
            (root / name / "config.toml").write_text(CONFIGS[name])


def write_broken_model(root: Path) -> None:
    """Put a model into a repository that cannot be loaded: `broken`, version 3."""
    (root / "broken" / "3").mkdir(parents=True)
    (root / "broken" / "3" / "model.onnx").write_bytes(b"no model")


def tensor(name: str, shape: list[int], datatype: str, data: Any) -> dict[str, Any]:
    """Return an input in JSON."""
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}
