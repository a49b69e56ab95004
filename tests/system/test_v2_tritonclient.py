"""Triton's own Python client, as it is, against this server."""

import asyncio
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from .process import Server
from .v2_models import LABELS

Array = np.ndarray[Any, np.dtype[Any]]

X = np.arange(6, dtype=np.float32).reshape(2, 3)
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
TYPES: list[tuple[str, Any]] = [
    ("half", np.float16),
    ("double", np.float64),
    ("brain", ml_dtypes.bfloat16),
    *((name, np.dtype(name)) for name in INTEGERS),
]

each_coding = pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
each_form = pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])


def address(server: Server) -> str:
    return f"{server.address[0]}:{server.address[1]}"


@pytest.fixture
def client(tensors: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address(tensors), concurrency=4) as made:
        yield made


def sent(name: str, array: Array, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def refusal(client: triton.InferenceServerClient, *args: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as raised:
        client.infer(*args, **options)
    return raised.value.status(), raised.value.message()


def test_health_and_server_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert (metadata["name"], metadata["version"]) == ("waterspout", "0.1.0")
    assert {"binary_tensor_data", "classification", "statistics"} <= set(metadata["extensions"])


def test_a_model_is_ready_or_not(client: triton.InferenceServerClient) -> None:
    assert client.is_model_ready("add")
    assert client.is_model_ready("add", "1")
    assert not client.is_model_ready("add", "2")
    assert not client.is_model_ready("broken")
    assert not client.is_model_ready("nowhere")


def test_model_metadata_has_the_batch_dimension_where_the_model_has_one(client: triton.InferenceServerClient) -> None:
    assert client.get_model_metadata("add", "1") == {
        "name": "add",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": name, "datatype": "FP32", "shape": [-1, 3]} for name in ("a", "b")],
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [-1, 3]}],
    }
    assert client.get_model_metadata("fixed")["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [2, 3]}]
    assert client.get_model_metadata("several")["inputs"][0]["shape"] == [-1, -1, 2]


def test_model_config_is_in_tritons_words(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("tight", "1")
    assert config["max_batch_size"] == 64
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    assert config["dynamic_batching"]["default_queue_policy"]["max_queue_size"] == 4
    fixed = client.get_model_config("fixed")
    assert (fixed["max_batch_size"], fixed["input"][0]["dims"]) == (0, [2, 3])
    assert "dynamic_batching" not in fixed
    assert client.get_model_config("strings")["input"][0]["data_type"] == "TYPE_STRING"


@each_form
@each_coding
def test_inference_over_several_inputs(client: triton.InferenceServerClient, binary: bool, coding: str | None) -> None:
    outputs = [triton.InferRequestedOutput("sum", binary_data=binary)]
    result = client.infer(
        "add",
        [sent("a", X, binary), sent("b", 10 * X, binary)],
        model_version="1",
        outputs=outputs,
        request_id="mine",
        priority=1,
        timeout=5_000_000,
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    np.testing.assert_array_equal(result.as_numpy("sum"), 11 * X)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("mine", "add", "1")
    (output,) = response["outputs"]
    assert output["datatype"] == "FP32"
    assert output.get("parameters") == ({"binary_data_size": 24} if binary else None)


def test_binary_and_json_tensors_in_one_request(client: triton.InferenceServerClient) -> None:
    mask, count = np.array([[True, False], [False, False]]), np.array([3, -4], np.int64)
    for forms in ((True, False), (False, True)):
        outputs = [triton.InferRequestedOutput(name, binary_data=forms[0]) for name in ("doubled", "flipped")]
        result = client.infer("mixed", [sent("mask", mask, forms[0]), sent("count", count, forms[1])], outputs=outputs)
        np.testing.assert_array_equal(result.as_numpy("flipped"), ~mask)
        np.testing.assert_array_equal(result.as_numpy("doubled"), 2 * count)
        assert [output["name"] for output in result.get_response()["outputs"]] == ["doubled", "flipped"]


def test_only_the_outputs_asked_for_come(client: triton.InferenceServerClient) -> None:
    inputs = [sent("mask", np.array([[True, False]])), sent("count", np.array([7], np.int64))]
    result = client.infer("mixed", inputs, outputs=[triton.InferRequestedOutput("doubled")])
    assert [output["name"] for output in result.get_response()["outputs"]] == ["doubled"]
    assert result.as_numpy("flipped") is None


@pytest.mark.parametrize(("model", "dtype"), TYPES, ids=[name for name, _ in TYPES])
def test_every_type_comes_back_as_it_went(client: triton.InferenceServerClient, model: str, dtype: Any) -> None:
    array = np.array([[0, 1, 2], [3, 100, 127]]).astype(dtype)
    result = client.infer(model, [sent("x", array)])
    assert result.as_numpy("y").dtype == array.dtype
    np.testing.assert_array_equal(result.as_numpy("y"), array)
    if model.startswith(("int", "uint", "double")):
        as_json = client.infer(model, [sent("x", array, False)], outputs=[triton.InferRequestedOutput("y", False)])
        np.testing.assert_array_equal(as_json.as_numpy("y"), array)


@each_form
def test_strings(client: triton.InferenceServerClient, binary: bool) -> None:
    first = np.array([["a", "ä"], ["", "日本"]], object)
    last = np.array([["1", "2"], ["3", "x" * 300]], object)
    outputs = [triton.InferRequestedOutput("joined", binary_data=binary)]
    result = client.infer("strings", [sent("first", first, binary), sent("last", last, binary)], outputs=outputs)
    joined = [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("joined").ravel()]
    assert joined == ["a1", "ä2", "3", "日本" + "x" * 300]


def test_models_without_a_batch_dimension_take_the_whole_shape(client: triton.InferenceServerClient) -> None:
    np.testing.assert_array_equal(client.infer("fixed", [sent("x", X)]).as_numpy("y"), X)
    scalar = client.infer("scalar", [sent("x", np.array(7, np.int64))]).as_numpy("y")
    assert (scalar.shape, scalar.item()) == ((), 7)


def test_dynamic_dimensions_and_many_rows(client: triton.InferenceServerClient) -> None:
    array = np.random.default_rng(0).normal(size=(40, 5, 2)).astype(np.float32)
    mean = client.infer("several", [sent("x", array)]).as_numpy("mean")
    np.testing.assert_allclose(mean, array.mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_classification_gives_the_best_first_with_their_names(
    client: triton.InferenceServerClient, binary: bool
) -> None:
    scores = np.array([[0.25, 2.5, -1], [3, 1, 2]], np.float32)
    outputs = [triton.InferRequestedOutput("y", binary_data=binary, class_count=2)]
    best = client.infer("classes", [sent("x", scores)], outputs=outputs).as_numpy("y")
    assert best.shape == (2, 2)
    texts = [text.decode() if isinstance(text, bytes) else text for text in best.ravel()]
    assert texts == [f"2.500000:1:{LABELS[1]}", f"0.250000:0:{LABELS[0]}", "3.000000:0:cat", "2.000000:2:emu"]
    outputs = [triton.InferRequestedOutput("y", class_count=99)]
    unnamed = client.infer("int32", [sent("x", np.array([[5, -7, 9]], np.int32))], outputs=outputs).as_numpy("y")
    assert unnamed.tolist() == [[b"9:2", b"5:0", b"-7:1"]]


def test_requests_under_way_at_the_same_time(client: triton.InferenceServerClient) -> None:
    pending = [client.async_infer("add", [sent("a", X + n), sent("b", X)], request_id=str(n)) for n in range(8)]
    for number, request in enumerate(pending):
        result = request.get_result()
        assert result.get_response()["id"] == str(number)
        np.testing.assert_array_equal(result.as_numpy("sum"), 2 * X + number)


def test_statistics_count_requests_rows_and_runs(client: triton.InferenceServerClient) -> None:
    def counters() -> Any:
        (found,) = client.get_inference_statistics("double", "1")["model_stats"]
        return found

    before = counters()
    for _ in range(3):
        client.infer("double", [sent("x", X.astype(np.float64))])
    after = counters()
    assert after["inference_count"] == before["inference_count"] + 6
    assert after["execution_count"] > before["execution_count"]
    for part in ("success", "queue", "compute_infer"):
        assert after["inference_stats"][part]["count"] == before["inference_stats"][part]["count"] + 3
        assert after["inference_stats"][part]["ns"] > before["inference_stats"][part]["ns"]
    assert after["last_inference"] > 1_600_000_000_000
    assert sum(runs["compute_infer"]["count"] for runs in after["batch_stats"]) == after["execution_count"]
    assert {"add", "double"} <= {stats["name"] for stats in client.get_inference_statistics()["model_stats"]}


def test_a_request_that_fails_is_counted(client: triton.InferenceServerClient) -> None:
    def failures() -> Any:
        return client.get_inference_statistics("lookup")["model_stats"][0]["inference_stats"]["fail"]["count"]

    before = failures()
    status, message = refusal(client, "lookup", [sent("index", np.array([1, 99], np.int64))])
    assert status == "500"
    assert "the model failed" in message
    assert failures() == before + 1
    result = client.infer("lookup", [sent("index", np.array([1, 2], np.int64))])
    assert result.as_numpy("value").tolist() == [10.0, 20.0]


def test_the_repository_index_lists_broken_models_with_the_reason(client: triton.InferenceServerClient) -> None:
    index = {entry["name"]: entry for entry in client.get_model_repository_index()}
    assert index["add"] == {"name": "add", "version": "1", "state": "READY", "reason": ""}
    assert (index["broken"]["version"], index["broken"]["state"]) == ("3", "UNAVAILABLE")
    assert "model.onnx" in index["broken"]["reason"]


def test_what_is_wrong_reaches_the_client_as_its_own_exception(client: triton.InferenceServerClient) -> None:
    a, b = sent("a", X), sent("b", X)
    assert refusal(client, "nowhere", [a]) == ("404", "model: 'nowhere' is not served")
    assert refusal(client, "add", [a, b], model_version="9")[0] == "404"
    assert refusal(client, "broken", [a])[0] == "503"
    assert refusal(client, "add", [a]) == ("400", "inputs.b: missing, expected float32[3]")
    assert refusal(client, "add", [a, sent("c", X)])[1].startswith("inputs: 'c' is no input")
    wide = refusal(client, "add", [a, sent("b", np.zeros((2, 4), np.float32))])
    assert wide == ("400", "inputs.b.shape: expected [-1, 3], got [2, 4]")
    longer = refusal(client, "add", [a, sent("b", np.zeros((3, 3), np.float32))])
    assert longer == ("400", "inputs.b.shape: expected 2 rows as the other inputs have, got 3")
    typed = refusal(client, "add", [a, sent("b", X.astype(np.int32))])
    assert typed == ("400", "inputs.b.datatype: expected FP32, got 'INT32'")
    assert refusal(client, "add", [a, b], outputs=[triton.InferRequestedOutput("z")])[1].startswith(
        "outputs: 'z' is no"
    )


def test_a_full_queue_and_a_deadline_that_passes_are_503(client: triton.InferenceServerClient) -> None:
    one, five = np.zeros((1, 3), np.float32), np.zeros((5, 3), np.float32)
    status, message = refusal(client, "tight", [sent("x", five)])
    assert (status, message) == ("400", "inputs.x.shape: expected 1 to 4 rows, got 5")
    late = refusal(client, "tight", [sent("x", one)], timeout=20_000)
    assert late == ("503", "the deadline has passed or cannot be met any more; the event was not run")
    waiting = client.async_infer("tight", [sent("x", np.zeros((4, 3), np.float32))], timeout=1_000_000)
    assert refusal(client, "tight", [sent("x", one)]) == ("503", "the model's queue is full (4 rows)")
    with pytest.raises(InferenceServerException, match="deadline"):
        waiting.get_result()


def test_the_asyncio_client(tensors: Server) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(address(tensors)) as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata("add"))["name"] == "add"
            for coding in (None, "gzip", "deflate"):
                result = await client.infer(
                    "add",
                    [sent("a", X), sent("b", X, False)],
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
                np.testing.assert_array_equal(result.as_numpy("sum"), 2 * X)
            with pytest.raises(InferenceServerException, match="is not served"):
                await client.infer("nowhere", [sent("a", X)])

    asyncio.run(ask())
