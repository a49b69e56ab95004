"""The walker through ONNX files finds what points to other files, and takes any bytes without harm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from pipeline.onnx_wire import read_header
from tests import onnx_models as onnx


def external(location: str, name: str = "w") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def everywhere() -> ModelProto:
    """Return a model (of no sense) with external data in each place that may hold a tensor."""
    inner = helper.make_graph([], "inner", [], [], [external("subgraph")])
    attributes = [
        helper.make_attribute("t", external("attribute")),
        helper.make_attribute("ts", [external("attributes")]),
        helper.make_attribute("g", inner),
        helper.make_attribute("gs", [helper.make_graph([], "i", [], [], [external("subgraphs")])]),
    ]
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.extend(attributes)
    sparse = helper.make_sparse_tensor(external("values"), external("indices"), [1])
    graph = helper.make_graph([node], "outer", [], [], [external("initializer")], sparse_initializer=[sparse])
    proto = helper.make_model(graph)
    body = helper.make_node("Constant", [], ["d"])
    body.attribute.append(helper.make_attribute("t", external("function")))
    proto.functions.append(helper.make_function("d", "f", [], ["d"], [body], [helper.make_opsetid("", 21)]))
    proto.training_info.add().algorithm.CopyFrom(helper.make_graph([], "t", [], [], [external("training")]))
    return proto


def test_external_data_is_found_wherever_a_tensor_may_be() -> None:
    assert read_header(everywhere().SerializeToString()).locations == {
        "subgraph",
        "attribute",
        "attributes",
        "subgraphs",
        "values",
        "indices",
        "initializer",
        "function",
        "training",
    }


def test_opsets_are_read_by_domain() -> None:
    assert read_header(onnx.identity().SerializeToString()).opsets == {"": onnx.OPSET, "ai.onnx.ml": 3}


def test_weights_are_not_looked_at() -> None:
    large = onnx.gemm(np.ones((512, 512)), np.ones(512)).SerializeToString()
    assert read_header(large).locations == set()


WRONG = {
    b"": "no graph",
    b"\x08\x0a": "no graph",
    b"\x08": "does not end",
    b"\x08" + b"\xff" * 11: "does not end",
    b"\x3a\x05": "does not end where its message does",
    b"\x0b": "wire type 3",
    b"\x00\x00": "field 0",
    b"\x38\x01": "is no message",
    b"\x3a\x02\x08": "does not end where its message does",
    b"\x42\x03\x0a\x01\xff\x3a\x00": "not UTF-8",
}


@pytest.mark.parametrize(("data", "reason"), WRONG.items(), ids=repr)
def test_what_is_no_onnx_file_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_header(data)


def test_endless_nesting_is_refused() -> None:
    proto = helper.make_graph([], "g", [], [])
    for _ in range(30):
        node = helper.make_node("If", [], [])
        node.attribute.append(helper.make_attribute("g", proto))
        proto = helper.make_graph([node], "g", [], [])
    assert read_header(helper.make_model(proto).SerializeToString()).has_graph
    data = b""
    for _ in range(200):  # by hand: graph { node { attribute { graph ...
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            data = tag + _varint(len(data)) + data
    with pytest.raises(ValueError, match="nested too deeply"):
        read_header(b"\x3a" + _varint(len(data)) + data)


def _varint(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F)
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def is_read_or_refused(data: bytes) -> bool:
    """Whether a file is either read or refused with a reason; anything else raises."""
    try:
        return read_header(data).has_graph
    except ValueError as error:
        return bool(str(error))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert is_read_or_refused(data)


SEEDS = [proto.SerializeToString() for proto in (everywhere(), onnx.identity(), onnx.zipmap(), onnx.lookup([1, 2]))]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5),
    st.integers(0, 10**6),
)
def test_a_spoilt_file_is_read_or_refused(seed: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(seed)
    for at, byte in changes:
        data[at % len(data)] = byte
    assert is_read_or_refused(bytes(data))
    assert is_read_or_refused(bytes(data[: cut % (len(data) + 1)]))


@given(st.text(min_size=1, max_size=100), st.integers(1, 30))
def test_every_location_is_found_whatever_it_is_called(location: str, opset: int) -> None:
    graph = helper.make_graph([], "g", [], [], [external(location)])
    header = read_header(helper.make_model(graph, opset_imports=[helper.make_opsetid("d", opset)]).SerializeToString())
    assert (header.locations, header.opsets) == ({location}, {"d": opset})
