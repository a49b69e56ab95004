"""A gateway answers as a process that has the models itself: the same bytes, through every door."""

import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.redis_server import running_redis

from .client import ENCODINGS, Http, Message, get, open_stream, post
from .graphs import write_zoo
from .metrics import Metrics
from .process import Server, running_server, until
from .roles import Trio, gateway_of, has_workers, running_trio, worker_of
from .test_processes import streams_to_each
from .test_swaps import LOADING, POLL, Load, put, put_chain, served

SWAPS: Final = 4

#: Events by model; those that are refused are answered too.
EVENTS: Final[dict[str, list[Any]]] = {
    "add": [{"a": [1, 2.5, 3], "b": [0.1, 0.2, 0.3]}, {"a": [1, 2, 3]}, [1, 2, 3]],
    "strings": [{"first": ["a", "ä"], "last": ["1", "日本"]}, {"first": ["", "x"], "last": ["", "y" * 300]}],
    "mixed": [{"mask": [True, False], "count": 7}, {"mask": [False, False], "count": -1}],
    "half": [[0.1, 2, 3]],
    "brain": [[0.1, 2, 3]],
    "tiny": [[0.5, 2, 3]],
    "double": [[0.1, 1e300, -0.0]],
    "uint64": [[0, 1, 2**64 - 1]],
    "fixed": [[[1, 2, 3], [4, 5, 6]], [[1, 2, 3]]],
    "scalar": [-7],
    "classes": [[0.25, 2.5, -1], [3, 1, 2], "no numbers"],
    "several": [[[1, 2]], [[1, 2], [0.1, 0.2], [5, 6]], [[0.3, 0.3]] * 40],
    "lookup": [2, 0, 99, 1],
    "options": [
        [1, 2, 3],
        {"x": [1, 2, 3], "b": [10, 20, 30]},
        {"x": [1, 2, 3], "scale": [1, 0, -1], "b": None},
        {"b": [1, 2, 3]},
    ],
    "none": [{}, {}],
    "chain": [[0.1], [1], [-2]],
    "versioned": [[0.1]],
    "moving": [[1], [[2], [3], [4]], [5], [0.5], [[0.25], [0.75]]],
}
ARRAYS: Final[dict[str, dict[str, Any]]] = {
    "add": {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.full((2, 3), 0.1, np.float32)},
    "strings": {"first": np.array([["a", "ä"]], object), "last": np.array([["日本", "x" * 300]], object)},
    "half": {"x": np.array([[0.1, 2, 3]], np.float16)},
    "several": {"x": np.random.default_rng(0).normal(size=(40, 5, 2)).astype(np.float32)},
    "scalar": {"x": np.array(7, np.int64)},
    "options": {"x": np.ones((3, 3), np.float32), "b": np.full((3, 3), 0.1, np.float32)},
    "chain": {"x": np.array([[0.1], [2]], np.float32)},
}


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """Give a gateway, a worker and a process of both."""
    with running_trio(tmp_path_factory.mktemp("predictions")) as running:
        yield running


def answers(server: Server, model: str, encoding: str, expected: int) -> list[Message]:
    """Return as many answers as there must be, by number; those of the model come in order, refusals at once."""
    with open_stream(server, f"/v1/models/{model}/stream", encoding) as stream:
        for number, data in enumerate(EVENTS[model]):
            stream.send({"id": number, "key": "k", "data": data})
        came = [stream.receive() for _ in range(expected)]
        assert stream.until_pong("end") == []
        ran = [answer["id"] for answer in came if "outputs" in answer]
        assert ran == sorted(ran)
        return sorted(came, key=lambda answer: int(answer["id"]))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("model", EVENTS)
def test_a_socket_is_told_the_same(trio: Trio, model: str, encoding: str) -> None:
    expected = 3 if model == "moving" else len(EVENTS[model])
    assert answers(trio.gateway, model, encoding, expected) == answers(trio.single, model, encoding, expected)


@pytest.mark.parametrize("model", [model for model in EVENTS if model != "moving"])
def test_predict_answers_the_same(trio: Trio, model: str) -> None:
    path, events = f"/v1/models/{model}/predict", [{"id": n, "data": data} for n, data in enumerate(EVENTS[model])]
    for message in (events[0], events):
        for accept in (None, "application/msgpack", "application/x-ndjson"):
            told, expected = (post(server, path, message, accept) for server in (trio.gateway, trio.single))
            assert (told.status, told.body) == (expected.status, expected.body)


def client_of(server: Server) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(f"{server.address[0]}:{server.address[1]}")


def inputs(model: str, binary: bool) -> list[triton.InferInput]:
    made = []
    for name, array in ARRAYS[model].items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary)
        made.append(tensor)
    return made


@pytest.mark.parametrize(
    ("model", "binary"), [(model, binary) for model in ARRAYS for binary in (True, False) if binary or model != "half"]
)
def test_tritons_client_is_told_the_same(trio: Trio, model: str, binary: bool) -> None:
    told = []
    for server in (trio.gateway, trio.single):
        with client_of(server) as client:
            result = client.infer(model, inputs(model, binary), request_id="mine")
            response = result.get_response()
            arrays = {output["name"]: result.as_numpy(output["name"]) for output in response["outputs"]}
            told.append((response, {name: (a.dtype, a.shape, a.tolist()) for name, a in arrays.items()}))
    assert told[0] == told[1]


def test_bytes_of_an_answer_and_classes_are_the_same(trio: Trio) -> None:
    body = {
        "id": "1",
        "inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [0.25, 2.5, -1, 3, 1, 2]}],
        "outputs": [{"name": "y", "parameters": {"classification": 2}}],
    }
    raw = struct.pack("<6f", *[0.1 * n for n in range(6)])
    header = json.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    told = []
    for server in (trio.gateway, trio.single):
        with Http(server) as http:
            classes = http.request("POST", "/v2/models/classes/infer", json.dumps(body))
            binary = http.request("POST", "/v2/models/classes/infer", header + raw, headers)
        assert (classes.status, binary.status) == (200, 200)
        assert binary.body.endswith(raw)
        told.append((classes.body, binary.body, binary.headers["Inference-Header-Content-Length"]))
    assert told[0] == told[1]
    assert b"dog" in told[0][0]


def test_a_refusal_and_a_failure_are_the_same(trio: Trio) -> None:
    told = []
    for server in (trio.gateway, trio.single):
        with client_of(server) as client:
            index = triton.InferInput("index", [2], "INT64")
            index.set_data_from_numpy(np.array([1, 99], np.int64))
            for model, tensors in (("lookup", [index]), ("add", [index]), ("broken", [index]), ("nowhere", [index])):
                with pytest.raises(InferenceServerException) as raised:
                    client.infer(model, tensors)
                told.append((raised.value.status(), raised.value.message()))
    assert told[:4] == told[4:]
    assert [status for status, _ in told[:4]] == ["500", "400", "503", "404"]


def test_versions_swapped_at_the_worker_lose_no_event_of_the_gateway(tmp_path: Path) -> None:
    models, data = tmp_path / "models", tmp_path / "redis"
    data.mkdir()
    put(models, 1)
    put_chain(models)
    with (
        running_redis(data) as redis,
        running_server(*gateway_of(redis)) as gateway,
        running_server(*worker_of(redis, models, *POLL)) as worker,
        ThreadPoolExecutor(5) as pool,
    ):
        has_workers(gateway)
        load = Load(gateway)
        clients = [
            pool.submit(load.stream, "/v1/models/plain/stream", "json", {}),
            pool.submit(load.stream, "/v1/models/moving/stream", "msgpack", {"key": "k"}, 3),
            pool.submit(load.stream, "/v1/stream", "json", {"model": "chain"}),
            pool.submit(load.predict, "/v1/models/plain/predict"),
            pool.submit(load.predict, "/v1/models/chain/predict"),
        ]
        try:
            for version in range(2, SWAPS + 2):
                put(models, version)
                served(gateway, version, "plain", "moving", "chain")
        finally:
            load.stop.set()
        for client in clients:
            versions = client.result(LOADING)
            assert versions == sorted(versions), "an old version answered after a new one"
            assert set(versions) >= set(range(1, SWAPS + 1))  # the load may have ended before it saw the last
        assert post(gateway, "/v1/models/chain/predict", {"data": [0]}).json["outputs"] == {"y": [SWAPS + 1.0]}
        assert Metrics(gateway).families["waterspout_errors"].samples == []
        until(lambda: "version 1 is retired" in worker.log, LOADING)
        assert Metrics(worker)("dead_letters_total") == 0


def test_two_gateway_processes_share_a_port_and_add_up(tmp_path: Path) -> None:
    models, data = tmp_path / "models", tmp_path / "redis"
    data.mkdir()
    write_zoo(models)
    with (
        running_redis(data) as redis,
        running_server(*worker_of(redis, models)),
        running_server(*gateway_of(redis, "--processes", "2")) as gateway,
    ):
        has_workers(gateway)
        with streams_to_each(gateway, "/v1/models/double/stream?tensors=list") as streams:
            for count, stream in zip((30, 12), streams.values(), strict=True):
                for _ in range(count):
                    assert stream.ask({"data": [1, 2, 3, 4]})["outputs"] == {"y": [2.0, 4.0, 6.0, 8.0]}
            metrics = Metrics(gateway)
            assert metrics("events_total") == 42
            assert metrics("predictions_total", model="double") == 42
            assert metrics("processes", state="ready") == 2
            assert metrics("workers") == metrics("backbone_up") == 1  # which both see, and is not added up
            until(lambda: Metrics(gateway)("queue_entries", queue="double/1/0", state="pending") == 0)
        assert get(gateway, "/readyz").json["workers"] == 1
