"""Ensembles through every door, and with Triton's own client."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import tritonclient.http as triton

from tests import onnx_models as onnx

from .client import get, open_stream, post
from .metrics import Metrics
from .process import Server, running_server

PBTXT: Final = """
name: "sort"
platform: "ensemble"
max_batch_size: 16
input [ { name: "RAW" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [
  { name: "CLASS" data_type: TYPE_INT64 dims: [ ] },
  { name: "SCALED" data_type: TYPE_FP32 dims: [ 3 ] }
]
ensemble_scheduling {
  step [
    {
      model_name: "classify"
      model_version: -1
      input_map { key: "x" value: "SCALED" }
      output_map { key: "class" value: "CLASS" }
    },
    {
      model_name: "scale"
      model_version: -1
      input_map { key: "x" value: "RAW" }
      output_map { key: "scores" value: "SCALED" }
    }
  ]
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("ensembles")
    onnx.save(onnx.gemm([[1, 0, 0], [0, 1, 0], [0, 0, 10]], [0, 0, 0]), root / "scale" / "1" / "model.onnx")
    onnx.save(onnx.argmax(), root / "classify" / "1" / "model.onnx")
    (root / "sort" / "1").mkdir(parents=True)
    (root / "sort" / "config.pbtxt").write_text(PBTXT)
    with running_server("--models", str(root)) as running:
        yield running


def test_an_ensemble_is_a_model_like_others(server: Server) -> None:
    for encoding in ("json", "msgpack"):
        with open_stream(server, "/v1/models/sort/stream", encoding) as stream:
            answer = stream.ask({"id": 7, "data": [1, 4, 2]})
            scaled = [1.0, 4.0, 20.0] if encoding == "json" else struct.pack("<3f", 1, 4, 20)
            clazz = 2 if encoding == "json" else struct.pack("<q", 2)
            assert answer == {"id": 7, "outputs": {"CLASS": clazz, "SCALED": scaled}}
    assert post(server, "/v1/models/sort/predict", {"data": [5, 4, 0]}).json["outputs"]["CLASS"] == 0
    refused = post(server, "/v1/models/sort/predict", {"data": [1, 2]})
    assert (refused.status, refused.error["code"]) == (400, "invalid_input")


def test_what_it_is_made_of_is_told(server: Server) -> None:
    told = get(server, "/v1/models/sort").json
    assert told["steps"] == [{"model": "classify", "version": "1"}, {"model": "scale", "version": "1"}]
    assert told["inputs"] == [{"name": "RAW", "dtype": "float32", "shape": [3]}]
    assert "steps" not in get(server, "/v1/models/scale").json


def test_tritons_client_asks_an_ensemble(server: Server) -> None:
    with triton.InferenceServerClient(f"{server.address[0]}:{server.address[1]}") as client:
        rows = np.array([[1, 4, 2], [0, 9, 0], [7, 0, 0]], np.float32)
        tensor = triton.InferInput("RAW", list(rows.shape), "FP32")
        tensor.set_data_from_numpy(rows)
        result = client.infer("sort", [tensor])
        assert result.as_numpy("CLASS").tolist() == [2, 1, 0]
        assert result.as_numpy("SCALED").tolist() == [[1, 4, 20], [0, 9, 0], [7, 0, 0]]
        assert client.get_model_metadata("sort")["platform"] == "ensemble"
        config = client.get_model_config("sort")
        assert (config["platform"], config["max_batch_size"]) == ("ensemble", 16)
        assert config["ensemble_scheduling"]["step"][1] == {
            "model_name": "scale",
            "model_version": -1,
            "input_map": {"x": "RAW"},
            "output_map": {"scores": "SCALED"},
        }
        (stats,) = client.get_inference_statistics("sort")["model_stats"]
        assert stats["inference_count"] >= 3


def test_each_model_is_counted_by_itself(server: Server) -> None:
    before = Metrics(server)
    post(server, "/v1/models/sort/predict", {"data": [1, 2, 3]})
    after = Metrics(server)
    for model in ("sort", "scale", "classify"):
        labels = {"model": model, "version": "1"}
        assert after("predictions_total", **labels) == 1 + before("predictions_total", **labels)


def test_steps_come_and_go_with_an_ensemble_by_tritons_client(tmp_path: Path) -> None:
    onnx.save(onnx.identity(), tmp_path / "scale" / "1" / "model.onnx")
    onnx.save(onnx.argmax(), tmp_path / "classify" / "1" / "model.onnx")
    (tmp_path / "sort").mkdir()
    (tmp_path / "sort" / "config.pbtxt").write_text(PBTXT.replace("scores", "y"))
    control = ("--models", str(tmp_path), "--model-control", "explicit")
    with (
        running_server(*control) as server,
        triton.InferenceServerClient(f"{server.address[0]}:{server.address[1]}") as client,
    ):
        client.load_model("sort")
        assert all(client.is_model_ready(model) for model in ("sort", "scale", "classify"))
        client.unload_model("sort", unload_dependents=True)
        assert not any(client.is_model_ready(model) for model in ("sort", "scale", "classify"))
