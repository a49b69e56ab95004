"""A model that takes milliseconds: 64 to 2048 six times to 8, float32, with fixed random weights.

One row reads 85 MB of weights; more rows read them once, so that a run takes a fixed time and something for each row.
"""

import itertools
from pathlib import Path

import numpy as np

from benchmarks.mlp import CLASSES, FEATURES

NAME = "slow"
WIDTH = 2048
HIDDEN = 6
SIZES = (FEATURES, *[WIDTH] * HIDDEN, CLASSES)


def write(folder: Path, **config: int) -> None:
    """Write the model and a `config.toml` of these keys into the repository `folder`."""
    from onnx import TensorProto, helper, numpy_helper, save  # takes long to import, and the load does without

    random = np.random.default_rng(0)
    nodes, tensors, value = [], [], "x"
    for depth, (fan_in, fan_out) in enumerate(itertools.pairwise(SIZES)):
        weights = (random.standard_normal((fan_in, fan_out)) / fan_in**0.5).astype(np.float32)
        tensors.append(numpy_helper.from_array(weights, f"w{depth}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{depth}"], [f"z{depth}"]))
        value = "y" if fan_out == CLASSES else f"h{depth}"
        nodes.append(helper.make_node("Tanh", [f"z{depth}"], [value]))
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", CLASSES])],
        tensors,
    )
    version = folder / NAME / "1"
    version.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(model, str(version / "model.onnx"))
    lines = [f"{key} = {value}" for key, value in sorted(config.items())]
    (folder / NAME / "config.toml").write_text("\n".join([*lines, ""]))
