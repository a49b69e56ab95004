"""A real model behind a real session: what a client sends goes in, what it would be told comes out."""

import asyncio
import time
from pathlib import Path
from typing import Any, Self

from onnx import ModelProto

from pipeline.codec import JSON, Codec
from pipeline.loaded_model import LoadedModel
from pipeline.messages import Failure, Prediction
from pipeline.model_config import ModelConfig
from pipeline.served_model import serve_graph
from pipeline.workers import WorkerPool
from tests import onnx_models as onnx
from tests.pipeline.session_parts import Client


class Served:
    """A model of one file, ready to serve; `ask` is a client of it."""

    def __init__(self, proto: ModelProto, folder: Path, config: ModelConfig | None = None) -> None:
        path = onnx.save(proto, folder / "model.onnx")
        self._workers = WorkerPool(2)
        self.model = serve_graph("m", "1", LoadedModel(path, config or ModelConfig()), self._workers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.model.engine.close()
        await self.model.engine.drained()
        self._workers.shutdown()

    async def ask(self, *data: Any, codec: Codec = JSON, answers: int | None = None) -> list[Any]:
        """Send one event for each `data` at once; return outputs or error messages, in the order of the events."""
        messages = await self.ask_whole(*data, codec=codec, answers=answers)
        return [m.outputs if isinstance(m, Prediction) else m.error.message for m in messages]

    async def ask_whole(
        self, *data: Any, codec: Codec = JSON, answers: int | None = None
    ) -> list[Prediction | Failure]:
        """Do the same and return whole messages; `answers` is how many to wait for where not one for each."""
        client = Client(self.model, codec=codec)
        changed = asyncio.Event()
        client.outlet.on_send = changed.set
        for value in data:
            client.now = time.monotonic()
            client.send(value)
        while len(client.outlet.sent) < (len(data) if answers is None else answers):
            changed.clear()
            await changed.wait()
        in_order = sorted(client.outlet.sent, key=lambda sent: sent.seq or 0)
        return [sent.message for sent in in_order if isinstance(sent.message, Prediction | Failure)]
