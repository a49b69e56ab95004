"""Inputs that clients leave out, at every door: `y = (b, or x where b is left out) * scale + 1`, where scale is 2."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from pipeline.tensors import Array

from .client import ENCODINGS, get, open_stream, post
from .process import Server

X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
B = np.array([[10, 20, 30], [40, 50, 60]], np.float32)
SCALE = np.array([1, 0, -1], np.float32)
STREAM = "/v1/models/options/stream?tensors=list"

each_encoding = pytest.mark.parametrize("encoding", ENCODINGS)
each_form = pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])


@pytest.fixture
def client(tensors: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"{tensors.address[0]}:{tensors.address[1]}") as made:
        yield made


def sent(name: str, array: Array, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def test_info_names_what_is_optional(tensors: Server) -> None:
    assert get(tensors, "/v1/models/options").json["inputs"] == [
        {"name": "x", "dtype": "float32", "shape": [3]},
        {"name": "b", "dtype": "float32", "shape": [3], "optional": True},
        {"name": "scale", "dtype": "float32", "shape": [3], "optional": True},
    ]


@each_encoding
def test_events_give_what_they_want_to_give(tensors: Server, encoding: str) -> None:
    x, b, scale = X[0].tolist(), B[0].tolist(), SCALE.tolist()
    with open_stream(tensors, STREAM, encoding) as stream:
        for data, expected in (
            ({"x": x}, 2 * X[0] + 1),
            (x, 2 * X[0] + 1),
            ({"x": x, "b": b}, 2 * B[0] + 1),
            ({"x": x, "scale": scale, "b": None}, SCALE * X[0] + 1),
            ({"scale": scale, "x": x, "b": b}, SCALE * B[0] + 1),
        ):
            assert stream.ask({"data": data})["outputs"] == {"y": expected.tolist()}
        assert stream.refusal({"data": {"b": b}})["message"] == "data.x: missing, expected float32[3]"
        unknown = stream.refusal({"data": {"x": x, "shift": 1}})["message"]
        assert unknown == "data.shift: no such input, expected x, b, scale"


def test_rows_that_agree_share_a_run_and_others_do_not(tensors: Server) -> None:
    x = X[0].tolist()
    data: list[Any] = [
        {"x": x},
        {"x": x, "scale": [3, 3, 3]},
        {"x": x, "b": B[0].tolist()},
        {"x": x, "scale": [3, 3, 3]},
        {"x": x, "scale": [4, 4, 4]},
        {"x": x, "scale": [3.0, 3.0, 3.0]},
        {"x": x, "scale": None},
    ]
    with open_stream(tensors, STREAM + "&timings=1") as stream:
        stream.send([{"id": number, "data": each} for number, each in enumerate(data)])
        answers = [stream.receive() for _ in data]
    assert [answer["us"]["batch"] for answer in answers] == [2, 3, 1, 3, 1, 3, 2]
    assert [answer["outputs"]["y"][0] for answer in answers] == [3.0, 4.0, 21.0, 4.0, 5.0, 4.0, 3.0]


def test_predict(tensors: Server) -> None:
    x = X[0].tolist()
    events = [{"id": 1, "data": {"x": x, "scale": [0, 0, 0]}}, {"id": 2, "data": {"x": x}}]
    answers = post(tensors, "/v1/models/options/predict", events).json
    assert [answer["outputs"]["y"] for answer in answers] == [[1.0, 1.0, 1.0], [3.0, 5.0, 7.0]]


@each_form
def test_tritons_client_may_leave_inputs_out(client: triton.InferenceServerClient, binary: bool) -> None:
    outputs = [triton.InferRequestedOutput("y", binary_data=binary)]
    x, b, scale = sent("x", X, binary), sent("b", B, binary), sent("scale", SCALE, binary)
    for inputs, expected in (
        ([x], 2 * X + 1),
        ([b, x], 2 * B + 1),
        ([x, scale], SCALE * X + 1),
        ([scale, x, b], SCALE * B + 1),
    ):
        np.testing.assert_array_equal(client.infer("options", inputs, outputs=outputs).as_numpy("y"), expected)
    with pytest.raises(InferenceServerException, match=r"inputs.x: missing, expected float32\[3\]"):
        client.infer("options", [b])
    with pytest.raises(InferenceServerException, match=r"inputs.scale.shape: expected \[3\], got \[2, 3\]"):
        client.infer("options", [x, sent("scale", X)])


def test_metadata_lists_what_is_optional_and_the_configuration_says_so(client: triton.InferenceServerClient) -> None:
    inputs = client.get_model_metadata("options")["inputs"]
    assert [(tensor["name"], tensor["shape"]) for tensor in inputs] == [("x", [-1, 3]), ("b", [-1, 3]), ("scale", [3])]
    inputs = client.get_model_config("options")["input"]
    assert [(tensor["name"], tensor.get("optional", False)) for tensor in inputs] == [
        ("x", False),
        ("b", True),
        ("scale", True),
    ]


def test_a_model_without_inputs(tensors: Server, client: triton.InferenceServerClient) -> None:
    assert client.infer("none", []).as_numpy("y").tolist() == [1.0, 2.0]
    assert post(tensors, "/v1/models/none/predict", {"data": {}}).json["outputs"] == {"y": [1.0, 2.0]}
