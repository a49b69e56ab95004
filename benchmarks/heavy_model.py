"""A model that computes: 64 numbers, each spread over 256 units that are mixed over and over, to 8 scores.

Its weights fit into a core's cache, and a row is a matrix product of its own: rows of a batch save each other nothing,
so that a row costs the same CPU in every batch and on every core.
"""

import time
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.mlp import CLASSES, FEATURES, readings

NAME = "heavy"
UNITS = 256
GAIN = 0.9  # below 1, so that no layer makes a rounding error larger
TRIAL_LAYERS = 40
SPREAD = 0.25  # of the scores' weights: an answer in which one score is all would tell little of its row


class HeavyModel:
    """The model with as many layers as take `milliseconds` a row of one thread of this machine, now.

    `expected` is what it answers to the 256 rows of the load, float32[256, 8] as bytes.
    """

    def __init__(self, milliseconds: float) -> None:
        trial, _ = _try(TRIAL_LAYERS)
        self.layers = max(1, round(TRIAL_LAYERS * milliseconds / trial))
        self.milliseconds, self.expected = _try(self.layers)

    def write(self, folder: Path, max_batch_size: int) -> None:
        """Write the model into the repository `folder`."""
        version = folder / NAME / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(_serialized(self.layers))
        (folder / NAME / "config.toml").write_text(f"max_batch_size = {max_batch_size}\n")


def _try(layers: int) -> tuple[float, bytes]:
    """Return the median milliseconds of a row by itself, and what the model answers to all rows of the load."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_serialized(layers), options, providers=["CPUExecutionProvider"])
    answers, seconds = [], []
    for row in readings().astype(np.float32):
        started = time.thread_time()
        answers.append(session.run(None, {"x": row[None]})[0])
        seconds.append(time.thread_time() - started)
    return median(seconds) * 1e3, np.concatenate(answers).tobytes()


def _serialized(layers: int) -> bytes:
    """Return the ONNX model (opset 17): float32[N, 64] `x` to float32[N, 8] `y`."""
    random = np.random.default_rng(0)
    weights = {
        "spread": random.standard_normal((1, UNITS)),
        "place": random.standard_normal((FEATURES, UNITS)),
        "mix": GAIN * random.standard_normal((UNITS, UNITS)) / UNITS**0.5,
        "read": SPREAD * random.standard_normal((UNITS, CLASSES)),
    }
    tensors = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    tensors.append(numpy_helper.from_array(np.array([2]), "last"))
    nodes = [
        helper.make_node("Unsqueeze", ["x", "last"], ["column"]),
        helper.make_node("MatMul", ["column", "spread"], ["wide"]),
        helper.make_node("Add", ["wide", "place"], ["h0"]),
    ]
    for layer in range(layers):  # the row comes in at every layer, or the last would have forgotten it
        nodes += [
            helper.make_node("MatMul", [f"h{layer}", "mix"], [f"mixed{layer}"]),
            helper.make_node("Add", [f"mixed{layer}", "wide"], [f"sum{layer}"]),
            helper.make_node("Tanh", [f"sum{layer}"], [f"h{layer + 1}"]),
        ]
    nodes += [
        helper.make_node("ReduceMean", [f"h{layers}"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "read"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", CLASSES])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
