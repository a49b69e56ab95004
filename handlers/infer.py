"""`POST /v2/models/{model}[/versions/{version}]/infer`: rows through the same batches as the sockets' events."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, ResponseStartLine, format_timestamp
from tornado.routing import Router

from handlers.access import Needs
from handlers.base import error_headers
from handlers.bounded_body import BoundedBody
from handlers.open_inference import V2_STATUS
from handlers.request_id import REQUEST_ID, request_id
from handlers.state import ServerState
from pipeline.codec import JSON
from pipeline.compression import choose, compress
from pipeline.errors import InvalidMessage, ShuttingDown, WaterspoutError
from pipeline.identity import Identity
from pipeline.inference import Inference, Outcome
from pipeline.inference_account import InferenceAccount
from pipeline.served_model import ServedModel
from pipeline.stream import MAX_ERROR_LENGTH
from pipeline.usage import Tally
from pipeline.v2_messages import ErrorMessage, InferRequest, decode_infer, encode
from pipeline.v2_responses import OutputPlan, encode_response, plan_outputs, read_schedule
from pipeline.v2_tensors import read_raw, read_rows

INFER: Final = "/v2/models/{model}/infer"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
LINGER_SECONDS: Final = 2.0

log = logging.getLogger(__name__)

_monotonic: Final = time.monotonic


class InferExchange(HTTPMessageDelegate):
    """One request and its answer: it may have many rows, of which each joins whatever batch is next.

    It stands below Tornado's request handlers, since one of those costs more than all that is done here.
    """

    def __init__(self, state: ServerState, request: HTTPServerRequest, *place: bytes) -> None:
        """`place`: the model's name, and its version if there is one in the path."""
        self._state = state
        self._request = request
        self._place = place
        self._body = BoundedBody(state.settings.max_message_bytes)
        self._size = 0  # of the body, bytes
        self._is_over = False  # answered, or nobody is left to answer
        self._lingers: asyncio.TimerHandle | None = None
        self._is_read = False  # the request, to its end
        self._inference: Inference | None = None
        self._started_at = 0.0
        self._under_way: asyncio.Future[None] | None = None
        self._model: ServedModel
        self._plans: Sequence[OutputPlan] = ()
        self._id: str | None = None
        self._identity: Identity | None = None
        self._account: InferenceAccount | None = None
        self._tally: Tally | None = None

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Awaitable[None] | None:
        """Refuse what need not be read, and see who asks."""
        del start_line
        gate = self._state.gate
        self._connection.set_close_callback(self.on_connection_close)
        try:
            gate.check_page(self._request)
            self._body.expect(headers)
        except WaterspoutError as error:
            self._refuse(error)
            self._linger()
            return None
        return None if gate.is_open else self._identify()

    async def _identify(self) -> None:
        try:
            self._identity = await self._state.gate.identify(self._request, Needs.IDENTITY)
        except WaterspoutError as error:
            self._refuse(error)
            self._linger()

    def data_received(self, chunk: bytes) -> None:
        """Collect the body; refuse it as soon as it is too large. Nobody reads what comes after an answer."""
        if self._is_over:
            return
        try:
            self._body.add(chunk)
        except WaterspoutError as error:
            self._refuse(error)
            self._linger()

    def finish(self) -> None:
        """Begin to answer: all of the request has come."""
        self._is_read = True
        if self._lingers is not None:
            self._lingers.cancel()
            self._connection.finish()
        if self._is_over:
            return
        try:
            if self._request.method == "POST":
                self.post()
            else:
                self._send_error(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", {"Allow": "POST"})
        except WaterspoutError as error:
            self._refuse(error)
        except Exception as error:
            self._break_down(error)

    def on_connection_close(self) -> None:
        """Cancel what is in flight: the client has gone."""
        if self._lingers is not None:
            self._lingers.cancel()
        if self._inference is not None:
            self._inference.cancel()
        self._end()

    def post(self) -> None:
        """Answer with all outputs, or those that were asked for; with the first error where a row fails."""
        state = self._state
        model = self._model = state.usable_by(self._identity).get(*[_decode(part) for part in self._place])
        if state.draining:
            raise ShuttingDown("the server is shutting down")
        request, body, is_raw = self._read()
        self._id = request.id
        self._plans = plan_outputs(request, model.spec, is_binary=is_raw)
        timeout, priority = read_schedule(request)
        most = model.max_queue_size
        rows, shapes = read_raw(body, model.spec, most) if is_raw else read_rows(request, body, model.spec, most)
        self._pay_rows(model.name, len(rows))
        state.past_events += len(rows)
        now = self._started_at = _monotonic()
        self._under_way = state.begin_request()
        self._inference = Inference(model, self)
        self._inference.trace = state.trace_of(self._request)
        try:
            self._inference.start(rows, shapes, now, now + min(timeout, model.default_timeout), priority)
        except WaterspoutError as error:
            self.refuse(error)

    def _pay_bytes(self) -> None:
        """Pay for the body before it takes time to decode it. Raises `RateLimited`."""
        state = self._state
        if state.accounts is not None:
            name = None if self._identity is None else self._identity.name
            now = _monotonic()
            account = state.accounts.open_inference(name, state.gate.client_address(self._request), now)
            account.take_bytes(self._size, now)
            self._account = account

    def _pay_rows(self, model: str, rows: int) -> None:
        """Pay for the rows. Raises `RateLimited`."""
        account = self._account
        if account is not None:
            account.take_rows(rows, _monotonic())
            tally = self._tally = account.tally(model)
            tally.events += rows
            tally.bytes += self._size

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        """Send the outputs of all rows."""
        try:
            self._model.engine.stats.shared_rows += len(outcomes) - 1
            if self._tally is not None:
                self._tally.predictions += len(outcomes)
                self._tally.compute_seconds += sum(result.run_seconds / result.size for result, _ in outcomes)
            self._send_outputs(outcomes)
        except WaterspoutError as error:
            self._refuse(error)
        except Exception as error:
            self._break_down(error)

    def refuse(self, error: WaterspoutError) -> None:
        """Send the error of a row, which is the request's."""
        self._model.engine.stats.observe_failed_request(_monotonic() - self._started_at)
        if self._tally is not None:
            self._tally.errors += 1
        self._refuse(error)

    @property
    def _connection(self) -> Any:
        return self._request.connection

    def _read(self) -> tuple[InferRequest, bytes, bool]:
        """Return the request, what follows its JSON, and whether there is no JSON at all."""
        headers = self._request.headers
        self._size = self._body.size
        try:
            body = self._body.take_plain(headers)
            self._size = len(body)
        finally:
            self._pay_bytes()
        declared = headers.get(HEADER_LENGTH)
        if declared is None:
            return decode_infer(body), b"", False
        if not (declared.isascii() and declared.isdecimal()) or len(declared) > 18 or int(declared) > len(body):
            raise InvalidMessage(f"{HEADER_LENGTH}: expected 0 to {len(body)} (the body), got {declared[:32]!r}")
        length = int(declared)
        if not length:
            return InferRequest([]), body, True
        return decode_infer(body[:length]), body[length:], False

    def _send_outputs(self, outcomes: Sequence[Outcome]) -> None:
        model = self._model
        payload, header_length = encode_response(
            (model.name, model.version),
            self._id,
            self._plans,
            outcomes,
            batched=model.spec.batched,
            labels=model.labels,
        )
        headers = {"Content-Type": JSON.media_type}
        if header_length is not None:
            headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(header_length)}
        accepted = self._request.headers.get("Accept-Encoding")
        if accepted is not None and (coding := choose(accepted)) is not None:
            payload = compress(payload, coding)
            headers["Content-Encoding"] = coding
        self._send(HTTPStatus.OK, headers, payload)

    def _refuse(self, error: WaterspoutError) -> None:
        self._state.stats.errors[error.code] += 1
        self._send_error(V2_STATUS[error.code], str(error), error_headers(error))

    def _break_down(self, error: Exception) -> None:
        """Tell of a fault of our own."""
        request = self._request
        told = "a request could not be answered: %s %s"
        log.error(told, request.method, request.path[:200], exc_info=error, extra=self._state.subjects(request))
        found_by = {REQUEST_ID: request_id(request)}
        self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error", found_by)

    def _send_error(self, status: HTTPStatus, text: str, headers: dict[str, str]) -> None:
        body = encode(ErrorMessage(text[:MAX_ERROR_LENGTH]))
        self._send(status, {"Content-Type": JSON.media_type, **headers}, body)

    def _send(self, status: HTTPStatus, headers: dict[str, str], body: bytes) -> None:
        if self._is_over:
            return
        self._end()
        self._state.stats.requests[INFER, int(status)] += 1
        headers |= self._state.headers(self._request)
        headers["Date"] = _date(int(time.time()))
        headers["Content-Length"] = str(len(body))
        chunk = body if self._request.method != "HEAD" else None
        self._connection.write_headers(ResponseStartLine("", status, status.phrase), HTTPHeaders(headers), chunk)
        if self._is_read:
            self._connection.finish()

    def _linger(self) -> None:
        """Throw away what comes of a refused body: a connection closed before its end takes the answer with it."""
        self._connection.set_max_body_size(sys.maxsize)
        self._lingers = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._connection.finish)

    def _end(self) -> None:
        self._is_over = True
        if self._account is not None:
            self._account.close()
            self._account = None
        if self._under_way is not None:
            self._state.end_request(self._under_way)
            self._under_way = None


@lru_cache(1)
def _date(second: int) -> str:
    """Return a time as HTTP has it, which takes longer to write than a row takes to run."""
    return format_timestamp(second)


class InferDoor(Router):
    """Opens an exchange for each request."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        """Return who answers; `path_args` are the parameters in the path."""
        return InferExchange(self._state, request, *kwargs["path_args"])


def _decode(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage("the path: expected UTF-8") from error
