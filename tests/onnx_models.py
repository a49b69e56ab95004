"""Small ONNX models, built in memory: whatever a model folder may hold."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, external_data_helper, helper, numpy_helper

IR_VERSION = 10
OPSET = 21

Dims = Sequence[int | str] | None

DTYPES: Mapping[str, int] = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "float8e4m3fn": TensorProto.FLOAT8E4M3FN,
    "float8e4m3fnuz": TensorProto.FLOAT8E4M3FNUZ,
    "float8e5m2": TensorProto.FLOAT8E5M2,
    "float8e5m2fnuz": TensorProto.FLOAT8E5M2FNUZ,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
    "complex64": TensorProto.COMPLEX64,
}


def tensor(name: str, dtype: str = "float32", dims: Dims = ("N", 3)) -> ValueInfoProto:
    """Declare an input or output; a named dimension is dynamic, no `dims` at all leave even the rank open."""
    return helper.make_tensor_value_info(name, DTYPES[dtype], dims)


def optional_tensor(name: str, dtype: str = "float32", dims: Dims = ("N", 3)) -> ValueInfoProto:
    """Declare an input that may have no value."""
    kind = helper.make_tensor_type_proto(DTYPES[dtype], dims)
    return helper.make_value_info(name, helper.make_optional_type_proto(kind))


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Mapping[str, Any] | None = None,
) -> ModelProto:
    """Put a graph together."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def save(proto: ModelProto, path: Path) -> Path:
    """Write a model to `path`, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString())
    return path


def save_with_external_data(proto: ModelProto, path: Path) -> Path:
    """Write a model whose constants lie in `weights.bin` beside it; return the path of those."""
    path.parent.mkdir(parents=True, exist_ok=True)
    external_data_helper.convert_model_to_external_data(proto, location="weights.bin", size_threshold=0)
    external_data_helper.write_external_data_tensors(proto, str(path.parent))
    path.write_bytes(proto.SerializeToString())
    return path.parent / "weights.bin"


def identity(dtype: str = "float32", dims: Dims = ("N", 3), out_dims: Dims = ()) -> ModelProto:
    """Return `y = x`; `out_dims`, where given, are what the output claims to be."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return model([node], [tensor("x", dtype, dims)], [tensor("y", dtype, dims if out_dims == () else out_dims)])


def add(dtype: str = "float32", dims: Dims = ("N", 3)) -> ModelProto:
    """Return `sum = a + b`."""
    node = helper.make_node("Add", ["a", "b"], ["sum"])
    return model([node], [tensor("a", dtype, dims), tensor("b", dtype, dims)], [tensor("sum", dtype, dims)])


def gemm(weights: Any, bias: Any, dtype: str = "float32") -> ModelProto:
    """Return `scores = x @ weights + bias`."""
    weights, bias = np.asarray(weights, dtype), np.asarray(bias, dtype)
    width, classes = weights.shape
    node = helper.make_node("Gemm", ["x", "weights", "bias"], ["scores"])
    constants = {"weights": weights, "bias": bias}
    return model([node], [tensor("x", dtype, ("N", width))], [tensor("scores", dtype, ("N", classes))], constants)


def cast(source: str, target: str, dims: Dims = ("N", 3)) -> ModelProto:
    """Return `y = x` in another type."""
    node = helper.make_node("Cast", ["x"], ["y"], to=DTYPES[target])
    return model([node], [tensor("x", source, dims)], [tensor("y", target, dims)])


def constant(value: Sequence[float]) -> ModelProto:
    """Return `y = value`: a model without inputs."""
    node = helper.make_node("Identity", ["value"], ["y"])
    return model([node], [], [tensor("y", dims=[len(value)])], {"value": np.array(value, np.float32)})


def either(dtype: str = "float32", dims: Dims = ("N", 3)) -> ModelProto:
    """Return `y = b`, or `y = x` where `b` is left out."""
    nodes = _either("b", "x", "y", dtype)
    return model(nodes, [tensor("x", dtype, dims), optional_tensor("b", dtype, dims)], [tensor("y", dtype, dims)])


def scaled(scale: Sequence[float] = (1.0, 10.0, 100.0)) -> ModelProto:
    """Return `y = x * scale`, where `scale` is an initializer and an input too."""
    node = helper.make_node("Mul", ["x", "scale"], ["y"])
    constants = {"scale": np.array(scale, np.float32)}
    return model([node], [tensor("x"), tensor("scale", dims=[len(scale)])], [tensor("y")], constants)


def all_options() -> ModelProto:
    """Return `y = (b, or x where b is left out) * scale + shift`, where the last two have the values 2 and 1."""
    nodes = [
        *_either("b", "x", "e", "float32"),
        helper.make_node("Mul", ["e", "scale"], ["s"]),
        helper.make_node("Add", ["s", "shift"], ["y"]),
    ]
    inputs = [tensor("x"), optional_tensor("b"), tensor("scale", dims=[3]), tensor("shift", dims=[])]
    constants = {"scale": np.full(3, 2, np.float32), "shift": np.float32(1)}
    return model(nodes, inputs, [tensor("y")], constants)


def _either(first: str, second: str, target: str, dtype: str) -> list[NodeProto]:
    """Return nodes that give the optional `first`, or `second` where that has no value."""
    then, otherwise = (
        helper.make_graph([helper.make_node(kind, [source], [name])], name, [], [tensor(name, dtype, None)])
        for kind, source, name in (("OptionalGetElement", first, "given"), ("Identity", second, "default"))
    )
    has_value = helper.make_node("OptionalHasElement", [first], ["has_value"])
    return [has_value, helper.make_node("If", ["has_value"], [target], then_branch=then, else_branch=otherwise)]


def two_by_two() -> ModelProto:
    """Return `mask, count -> flipped = not mask, doubled = count + count`: a bool and an int64 scalar per row."""
    nodes = [helper.make_node("Not", ["mask"], ["flipped"]), helper.make_node("Add", ["count", "count"], ["doubled"])]
    inputs = [tensor("mask", "bool", ("N", 2)), tensor("count", "int64", ("N",))]
    return model(nodes, inputs, [tensor("flipped", "bool", ("N", 2)), tensor("doubled", "int64", ("N",))])


def concat_strings() -> ModelProto:
    """Return `joined = first + last`, strings `[N, 2]`."""
    node = helper.make_node("StringConcat", ["first", "last"], ["joined"])
    inputs = [tensor(name, "string", ("N", 2)) for name in ("first", "last")]
    return model([node], inputs, [tensor("joined", "string", ("N", 2))])


def mean_over_time(dims: Dims = ("N", "T", 2)) -> ModelProto:
    """Return `mean[N, 2]`, the mean over the second axis of `x`."""
    node = helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0)
    return model([node], [tensor("x", dims=dims)], [tensor("mean", dims=("N", 2))], {"axes": np.array([1], np.int64)})


def total(dims: Dims = ("N", 3)) -> ModelProto:
    """Return `total[]`, the sum over all elements of all rows: an output without a batch dimension."""
    node = helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)
    return model([node], [tensor("x", dims=dims)], [tensor("total", dims=[])])


def column_sums(width: int = 2) -> ModelProto:
    """Return `sums[width]`, the sums over all rows: its first dimension is not the batch's, however large that is."""
    node = helper.make_node("ReduceSum", ["x", "axes"], ["sums"], keepdims=0)
    constants = {"axes": np.array([0], np.int64)}
    return model([node], [tensor("x", dims=("N", width))], [tensor("sums", dims=("K",))], constants)


def undeclared_rank() -> ModelProto:
    """Return `y = x`, of whose shape not even the number of dimensions is known before it has run."""
    constants = {"keep": np.array([True, True])}
    return model(_same_at_run_time("x", "y"), [tensor("x")], [tensor("y", dims=None)], constants)


def undeclared_column_sums() -> ModelProto:
    """Return `sums[1, 2]`, the sums over all rows, which claims that its first dimension is dynamic."""
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["one"], keepdims=1), *_same_at_run_time("one", "sums")]
    constants = {"axes": np.array([0], np.int64), "keep": np.array([True, True])}
    return model(nodes, [tensor("x", dims=("N", 2))], [tensor("sums", dims=("K", 2))], constants)


def _same_at_run_time(source: str, target: str) -> list[NodeProto]:
    """Return nodes that copy a tensor of two dimensions in a way that shape inference cannot follow."""
    return [
        helper.make_node("Shape", [source], ["shape"]),
        helper.make_node("Compress", ["shape", "keep"], ["same"], axis=0),
        helper.make_node("Reshape", [source, "same"], [target]),
    ]


def lookup(table: Sequence[float]) -> ModelProto:
    """Return `value = table[index]`, which fails at run time where a row's index is out of range."""
    node = helper.make_node("Gather", ["table", "index"], ["value"])
    constants = {"table": np.array(table, np.float32)}
    return model([node], [tensor("index", "int64", ("N",))], [tensor("value", dims=("N",))], constants)


def argmax(width: int = 3) -> ModelProto:
    """Return `class`, the int64 position of each row's largest number."""
    node = helper.make_node("ArgMax", ["x"], ["class"], axis=1, keepdims=0)
    return model([node], [tensor("x", dims=("N", width))], [tensor("class", "int64", ("N",))])


def undeclared_classes(bias: Sequence[float], out_dims: Dims = ("N", "K")) -> ModelProto:
    """Return `scores = x + bias`, whose shape is known only once it has run; `out_dims` is what it claims."""
    nodes = [
        helper.make_node("Add", ["x", "bias"], ["sum"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Reshape", ["sum", "shape"], ["scores"]),
    ]
    outputs = [tensor("scores", dims=out_dims)]
    return model(nodes, [tensor("x", dims=("N", len(bias)))], outputs, {"bias": np.array(bias, np.float32)})


def one_row_only(width: int = 3) -> ModelProto:
    """Return `y = x`, which claims to take any number of rows and fails on more than one."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    shape = np.array([1, width], np.int64)
    return model([node], [tensor("x", dims=("N", width))], [tensor("y", dims=("M", width))], {"shape": shape})


def pairs() -> ModelProto:
    """Return `y[N, T / 2, 2] = x[N, T]`, which fails where T is odd."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    shape = np.array([0, -1, 2], np.int64)
    return model([node], [tensor("x", dims=("N", "T"))], [tensor("y", dims=("N", "P", 2))], {"shape": shape})


def without_negatives() -> ModelProto:
    """Return `y = x` without the rows that are negative: fewer rows come out than went in."""
    nodes = [
        helper.make_node("GreaterOrEqual", ["x", "zero"], ["keep"]),
        helper.make_node("Compress", ["x", "keep"], ["y"], axis=0),
    ]
    constants = {"zero": np.float32(0)}
    return model(nodes, [tensor("x", dims=("N",))], [tensor("y", dims=("M",))], constants)


def never_runs(dims: Dims = ("N", 3)) -> ModelProto:
    """Return a model that loads and fails on every input: it looks up index 7 of a table of one."""
    nodes = [helper.make_node("Gather", ["table", "at"], ["g"]), helper.make_node("Add", ["x", "g"], ["y"])]
    constants = {"table": np.zeros(1, np.float32), "at": np.array([7], np.int64)}
    return model(nodes, [tensor("x", dims=dims)], [tensor("y", dims=dims)], constants)


def sequence() -> ModelProto:
    """Return a model whose output is a sequence of tensors."""
    node = helper.make_node("SequenceConstruct", ["x"], ["pieces"])
    output = helper.make_tensor_sequence_value_info("pieces", TensorProto.FLOAT, None)
    return model([node], [tensor("x")], [output])


def zipmap() -> ModelProto:
    """Return what scikit-learn's exporter makes by default: a list of maps from class to probability."""
    node = helper.make_node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"])
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    of_maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, value))
    return model([node], [tensor("x")], [helper.make_value_info("maps", of_maps)])


def slow(width: int = 1024, layers: int = 12) -> ModelProto:
    """Return a model of `layers` square matrix products: a row costs `2 * layers * width**2` operations."""
    names = ["x", *(f"h{layer}" for layer in range(1, layers)), "y"]
    nodes = [helper.make_node("MatMul", [a, "weights"], [b]) for a, b in itertools.pairwise(names)]
    constants = {"weights": np.eye(width, dtype=np.float32)}
    return model(nodes, [tensor("x", dims=("N", width))], [tensor("y", dims=("N", width))], constants)
