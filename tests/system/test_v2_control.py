"""Models come and go by Triton's own client, with `--model-control explicit`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests import onnx_models as onnx

from .conftest import StartServer
from .process import Server

X = np.ones((1, 3), np.float32)


def client_of(server: Server) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(f"{server.address[0]}:{server.address[1]}")


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as raised:
        call()
    return raised.value.status(), raised.value.message()


def infer(client: triton.InferenceServerClient) -> list[float]:
    tensor = triton.InferInput("x", [1, 3], "FP32")
    tensor.set_data_from_numpy(X)
    numbers: list[float] = client.infer("m", [tensor]).as_numpy("y").ravel().tolist()
    return numbers


def test_a_model_is_loaded_and_unloaded_while_the_server_runs(tmp_path: Path, start_server: StartServer) -> None:
    onnx.save(onnx.identity(), tmp_path / "m" / "1" / "model.onnx")
    server = start_server("--models", str(tmp_path), "--model-control", "explicit")
    with client_of(server) as client:
        assert refusal(lambda: infer(client))[0] == "503"
        client.load_model("m")
        assert client.is_model_ready("m")
        assert infer(client) == [1, 1, 1]
        onnx.save(onnx.identity(), tmp_path / "m" / "2" / "model.onnx")
        client.load_model("m")
        assert client.get_model_metadata("m")["versions"] == ["2"]
        client.unload_model("m")
        assert not client.is_model_ready("m")
        client.load_model("m")
        assert infer(client) == [1, 1, 1]


def test_what_cannot_be_loaded_is_told(tmp_path: Path, start_server: StartServer) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    onnx.save(onnx.identity(), tmp_path / "m" / "1" / "model.onnx")
    server = start_server("--models", str(tmp_path), "--model-control", "explicit", allowed="is not served")
    with client_of(server) as client:
        status, message = refusal(lambda: client.load_model("broken"))
        assert (status, "model.onnx" in message) == ("400", True)
        assert refusal(lambda: client.load_model("nowhere"))[0] == "404"
        assert refusal(lambda: client.unload_model("nowhere"))[0] == "404"
        assert refusal(lambda: client.load_model("m", config="{}")) == (
            "400",
            "parameters.config: a model is taken as it lies in the repository",
        )


def test_without_explicit_control_models_stay_as_they_are(tensors: Server) -> None:
    with client_of(tensors) as client:
        for call in (client.load_model, client.unload_model):
            status, message = refusal(lambda call=call: call("add"))  # type: ignore[misc]
            assert (status, "--model-control explicit" in message) == ("403", True)
