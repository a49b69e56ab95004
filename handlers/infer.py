"""`POST /v2/models/{model}[/versions/{version}]/infer`: rows through the same batches as the sockets' events."""

import asyncio
import time
from typing import Final

from handlers.bounded_body import BoundedBodyHandler
from handlers.open_inference import V2Handler
from pipeline.compression import choose, compress
from pipeline.errors import InvalidMessage, ShuttingDown, WaterspoutError
from pipeline.inference import Inference, Outcome
from pipeline.served_model import ServedModel
from pipeline.tensors import Row, Shapes
from pipeline.v2_messages import InferRequest, decode_infer
from pipeline.v2_responses import encode_response, plan_outputs, read_schedule
from pipeline.v2_tensors import read_raw, read_rows

HEADER_LENGTH: Final = "Inference-Header-Content-Length"

_monotonic: Final = time.monotonic


class InferHandler(V2Handler, BoundedBodyHandler):
    """One request: it may have many rows, of which each joins whatever batch is next."""

    _inference: Inference | None = None
    _is_gone = False

    async def post(self, name: str, version: str | None = None) -> None:
        """Answer with all outputs, or those that were asked for; with the first error where a row fails."""
        if self._finished:
            return
        state = self.state
        model = state.repository.get(name, version)
        if state.draining:
            raise ShuttingDown("the server is shutting down")
        request, body, is_raw = self._read()
        spec = model.spec
        most = model.max_queue_size
        plans = plan_outputs(request, spec, is_binary=is_raw)
        timeout, priority = read_schedule(request)
        rows, shapes = read_raw(body, spec, most) if is_raw else read_rows(request, body, spec, most)
        try:
            outcomes = await self._infer(model, rows, shapes, min(timeout, model.default_timeout), priority)
        except asyncio.CancelledError:
            if self._is_gone:
                return
            raise
        payload, header_length = encode_response(
            (model.name, model.version), request.id, plans, outcomes, batched=spec.batched, labels=model.labels
        )
        if header_length is not None:
            self.set_header("Content-Type", "application/octet-stream")
            self.set_header(HEADER_LENGTH, str(header_length))
        accepted = self.request.headers.get("Accept-Encoding")
        if accepted is not None and (coding := choose(accepted)) is not None:
            payload = compress(payload, coding)
            self.set_header("Content-Encoding", coding)
        self.finish(payload)

    def on_connection_close(self) -> None:
        """Cancel what is in flight: the client has gone."""
        super().on_connection_close()
        self._is_gone = True
        if self._inference is not None:
            self._inference.cancel()

    async def _infer(
        self, model: ServedModel, rows: list[Row], shapes: Shapes | None, within: float, priority: int
    ) -> list[Outcome]:
        """Queue the rows and wait for them, counted among what a drain waits for."""
        state, stats = self.state, model.engine.stats
        now = _monotonic()
        inference = self._inference = Inference(model)
        state.past_events += len(rows)
        try:
            with state.request_under_way():
                outcomes = await inference.run(rows, shapes, now, now + within, priority)
        except WaterspoutError:
            stats.observe_failed_request(_monotonic() - now)
            raise
        finally:
            self._inference = None
        stats.shared_rows += len(rows) - 1
        return outcomes

    def _read(self) -> tuple[InferRequest, bytes, bool]:
        """Return the request, what follows its JSON, and whether there is no JSON at all."""
        headers = self.request.headers
        body = self.take_plain_body()
        declared = headers.get(HEADER_LENGTH)
        if declared is None:
            return decode_infer(body), b"", False
        if not (declared.isascii() and declared.isdecimal()) or len(declared) > 18 or int(declared) > len(body):
            raise InvalidMessage(f"{HEADER_LENGTH}: expected 0 to {len(body)} (the body), got {declared[:32]!r}")
        length = int(declared)
        if not length:
            return InferRequest([]), body, True
        return decode_infer(body[:length]), body[length:], False
