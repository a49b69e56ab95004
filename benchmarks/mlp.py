"""The benchmark's model: a 64 -> 128 -> 64 -> 8 perceptron with fixed random weights, and its input."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

FEATURES, CLASSES = 64, 8
SIZES = (FEATURES, 128, 64, CLASSES)
ROWS = 256


def layers() -> Iterator[tuple[Floats, Floats]]:
    """Yield each layer's weights float32[in, out] and biases float32[out]; the same ones in every process."""
    random = np.random.default_rng(0)
    for fan_in, fan_out in itertools.pairwise(SIZES):
        weights = random.standard_normal((fan_in, fan_out)) / fan_in**0.5
        yield weights.astype(np.float32), (random.standard_normal(fan_out) / 10).astype(np.float32)


def readings() -> npt.NDArray[np.float64]:
    """Return float64[256, 64] sensor-like readings, rounded to 6 decimals as a device would print them."""
    random = np.random.default_rng(1)
    level, phase = random.normal(0, 1, (ROWS, 1)), random.uniform(0, 2 * np.pi, (ROWS, 1))
    wave = np.sin(phase + np.linspace(0, 4 * np.pi, FEATURES)) + random.normal(0, 0.05, (ROWS, FEATURES))
    return np.asarray(np.round(level + wave, 6), np.float64)


def predict(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return float64[N, 8], the model's answers for float64[N, 64] worked out without ONNX Runtime."""
    hidden = np.asarray(rows, np.float32).astype(np.float64)
    *inner, (weights, biases) = layers()
    for inner_weights, inner_biases in inner:
        hidden = np.maximum(hidden @ inner_weights + inner_biases, 0)
    scores = hidden @ weights + biases
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def write(path: Path) -> None:
    """Write the model as ONNX (opset 17): float32[N, 64] `x` to float32[N, 8] `y`."""
    # Imported here because the load generator needs the numbers above, and onnx takes long to import.
    from onnx import TensorProto, helper, numpy_helper, save

    nodes, tensors, value = [], [], "x"
    for depth, (weights, biases) in enumerate(layers(), start=1):
        tensors += [
            numpy_helper.from_array(weights, f"w{depth}"),
            numpy_helper.from_array(biases, f"b{depth}"),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"w{depth}", f"b{depth}"], [f"z{depth}"]))
        last = depth == len(SIZES) - 1
        value = "y" if last else f"h{depth}"
        activation = helper.make_node("Softmax", [f"z{depth}"], [value], axis=-1)
        nodes.append(activation if last else helper.make_node("Relu", [f"z{depth}"], [value]))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", CLASSES])],
        tensors,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
