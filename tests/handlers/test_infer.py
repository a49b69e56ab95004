"""A fault of the server in the middle of an inference request: it is told, logged, and the connection goes on."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

import handlers.infer
from pipeline.settings import read_settings
from server import Server
from tests import onnx_models as onnx

BODY = b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1.5]}]}'


async def ask(url: str) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(f"{url}/v2/models/same/infer", method="POST", body=BODY, raise_error=False)


@pytest.mark.parametrize("part", ["read_rows", "encode_response"])
def test_a_fault_is_told_logged_and_leaves_nothing_behind(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError(part)

    async def test() -> None:
        model = onnx.save(onnx.identity(dims=("N", 1)), tmp_path / "same.onnx")
        server = Server(read_settings([str(model), "--port", "0"]))
        url = await server.start()
        try:
            with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
                patch.setattr(handlers.infer, part, break_down)
                reply = await ask(url)
            assert (reply.code, reply.body) == (500, b'{"error":"Internal Server Error"}')
            assert "/v2/models/same/infer" in caplog.text
            assert part in caplog.text
            assert not server.state.requests
            assert (await ask(url)).code == 200
        finally:
            await server.stop()

    asyncio.run(test())
