"""KServe's own Python client, as it is, against this server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from .process import Server

Array = np.ndarray[Any, np.dtype[Any]]

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def run(server: Server, ask: Callable[[InferenceRESTClient, str], Awaitable[None]]) -> None:
    async def asking() -> None:
        async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
            await ask(client, f"{server.scheme}://{server.address[0]}:{server.address[1]}")

    asyncio.run(asking())


def sent(name: str, array: Array, datatype: str, binary: bool) -> InferInput:
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def test_health(tensors: Server) -> None:
    async def ask(client: InferenceRESTClient, url: str) -> None:
        assert await client.is_server_live(url) is True
        assert await client.is_server_ready(url) is True
        assert await client.is_model_ready(url, "add") is True
        assert await client.is_model_ready(url, "nowhere") is False
        assert await client.is_model_ready(url, "broken") is False

    run(tensors, ask)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_inference(tensors: Server, binary_in: bool, binary_out: bool) -> None:
    async def ask(client: InferenceRESTClient, url: str) -> None:
        request = InferRequest(
            "add",
            [sent("a", X, "FP32", binary_in), sent("b", X, "FP32", binary_in)],
            request_id="mine",
            parameters={"priority": 2},
            request_outputs=[RequestedOutput("sum", {"binary_data": binary_out})],
        )
        response = await client.infer(url, request, "add")
        assert (response.id, response.model_name) == ("mine", "add")
        np.testing.assert_array_equal(response.outputs[0].as_numpy(), 2 * X)

    run(tensors, ask)


def test_nested_lists_as_a_plain_dict(tensors: Server) -> None:
    async def ask(client: InferenceRESTClient, url: str) -> None:
        inputs = [{"name": name, "shape": [2, 3], "datatype": "FP32", "data": X.tolist()} for name in ("a", "b")]
        response = await client.infer(url, {"inputs": inputs}, "add")
        np.testing.assert_array_equal(response.outputs[0].as_numpy(), 2 * X)

    run(tensors, ask)


def test_half_precision_comes_as_bytes_whatever_was_asked_for(tensors: Server) -> None:
    async def ask(client: InferenceRESTClient, url: str) -> None:
        request = InferRequest("half", [sent("x", X.astype(np.float16), "FP16", True)])
        response = await client.infer(url, request, "half")
        assert response.outputs[0].datatype == "FP16"
        np.testing.assert_array_equal(response.outputs[0].as_numpy(), X)

    run(tensors, ask)


def test_strings(tensors: Server) -> None:
    async def ask(client: InferenceRESTClient, url: str) -> None:
        texts = np.array([["a", "ä"]], object)
        inputs = [sent(name, texts, "BYTES", True) for name in ("first", "last")]
        response = await client.infer(url, InferRequest("strings", inputs), "strings")
        assert response.outputs[0].data == ["aa", "ää"]

    run(tensors, ask)


def test_what_is_wrong_reaches_the_client_as_its_own_exception(tensors: Server) -> None:
    async def ask(client: InferenceRESTClient, url: str) -> None:
        request = InferRequest("add", [sent("a", X, "FP32", False)])
        for model, status, text in (("nowhere", 404, "'nowhere' is not served"), ("add", 400, "inputs.b: missing")):
            with pytest.raises(httpx.HTTPStatusError, match=text) as raised:
                await client.infer(url, request, model)
            assert raised.value.response.status_code == status
            assert raised.value.response.headers["Content-Type"] == "application/json"

    run(tensors, ask)
