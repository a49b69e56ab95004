"""`POST /v1/models/{model}/predict`: the same events and answers over HTTP."""

import asyncio
import contextlib
import dataclasses
import time
from typing import Final

from msgspec import Raw
from tornado.iostream import StreamClosedError

from handlers.base import STATUS, codec_for
from handlers.bounded_body import BoundedBodyHandler
from pipeline.codec import JSON, MAX_MESSAGES_PER_FRAME, Codec
from pipeline.errors import InvalidInput, InvalidMessage
from pipeline.messages import Failure, Prediction, ServerMessage
from pipeline.session import Session
from pipeline.stream import encode_unencodable

PARAMETERS: Final = frozenset(("version", "key", "timings", "tensors"))
_NDJSON: Final = "application/x-ndjson"
_SSE: Final = "text/event-stream"


class _Answers:
    """Takes a session's messages as they come; `changed` is set with each."""

    name = "http"

    def __init__(self) -> None:
        self.by_seq: dict[int, list[Prediction | Failure]] = {}
        self.fresh: list[Prediction | Failure] = []
        self.changed = asyncio.Event()

    def send_message(self, message: ServerMessage, codec: Codec, seq: int | None = None) -> None:
        """Keep an answer; gaps cannot come, since a request's events are its own."""
        del codec
        if seq is not None and isinstance(message, Prediction | Failure):
            self.by_seq.setdefault(seq, []).append(message)
            self.fresh.append(message)
        self.changed.set()

    def forget(self) -> None:
        """Let go of what is answered: until that is read it takes memory enough as bytes."""
        self.by_seq, self.fresh = {}, []

    def cork(self) -> None:
        """Do nothing: answers are collected anyway."""

    def uncork(self) -> None:
        """Do nothing."""

    def close(self, code: int, reason: str = "") -> None:
        """Do nothing: a request is not kept open."""

    def authenticate(self, token: str) -> None:
        """Do nothing: a request has its credential in its header."""


class PredictHandler(BoundedBodyHandler):
    """One event or a list of events; windows do not outlive the request."""

    _session: Session | None = None
    _answers: _Answers
    _is_gone = False

    async def post(self, name: str) -> None:
        """Answer the events: with one answer for one event, with a list for a list, or as a stream of answers."""
        if self._finished:
            return
        state = self.state
        codec = codec_for(self.request.headers.get("Content-Type", ""))
        query = self.query(PARAMETERS)
        version = query.get("version")
        models = state.usable_by(self.identity)
        models.get(name, version)
        options = dataclasses.replace(
            self.session_options(query), max_in_flight=MAX_MESSAGES_PER_FRAME, max_malformed=MAX_MESSAGES_PER_FRAME + 1
        )
        answers = self._answers = _Answers()
        account = self.open_account(is_socket=False)
        self._session = session = Session(models, answers, options, state.budget, name, version, account)
        if state.draining:
            session.drain()
        payload = self.body.take()
        try:
            with state.request_under_way():
                await self._answer(session, answers, payload, codec)
        finally:
            session.close()
            if account is not None:
                account.close()
            state.past_events += session.event_count

    def on_connection_close(self) -> None:
        """Cancel what is in flight: the client has gone."""
        super().on_connection_close()
        self._is_gone = True
        if self._session is not None:
            self._session.close()
            self._answers.changed.set()

    async def _answer(self, session: Session, answers: _Answers, payload: bytes, codec: Codec) -> None:
        session.receive(payload, codec, time.monotonic())
        if not session.event_count:
            raise InvalidMessage("expected an event or a list of events")
        accept = self.request.headers.get("Accept", "")
        if _NDJSON in accept or _SSE in accept:
            await self._stream(session, answers, _SSE in accept)
            return
        while session.in_flight:
            answers.changed.clear()
            await answers.changed.wait()
        if not self._is_gone:
            self._reply_all(answers, codec, is_list=_is_list(payload, codec))

    def _reply_all(self, answers: _Answers, codec: Codec, *, is_list: bool) -> None:
        flat = [answer for _, group in sorted(answers.by_seq.items()) for answer in group]
        answers.forget()
        self._count_errors(flat)
        if not flat and not is_list:
            raise InvalidInput("data: too few samples to fill the model's window, which ends with the request")
        if is_list or len(flat) > 1:
            self.reply([Raw(encode_answer(answer, codec)) for answer in flat], codec)
            return
        (answer,) = flat
        if isinstance(answer, Failure) and answer.error.retryable:
            self.set_header("Retry-After", "1")
        status = STATUS[answer.error.code] if isinstance(answer, Failure) else 200
        self.reply(Raw(encode_answer(answer, codec)), codec, status)

    async def _stream(self, session: Session, answers: _Answers, is_sse: bool) -> None:
        """Write each answer as soon as it is there."""
        self.set_header("Content-Type", _SSE if is_sse else _NDJSON)
        while True:
            fresh = answers.fresh
            answers.forget()
            self._count_errors(fresh)
            for answer in fresh:
                line = encode_answer(answer, JSON)
                self.write(b"data: " + line + b"\n\n" if is_sse else line + b"\n")
            with contextlib.suppress(StreamClosedError):
                await self.flush()
            if self._is_gone or (not session.in_flight and not answers.fresh):
                return
            answers.changed.clear()
            await answers.changed.wait()

    def _count_errors(self, answers: list[Prediction | Failure]) -> None:
        for answer in answers:
            if isinstance(answer, Failure):
                self.state.stats.errors[answer.error.code] += 1


def encode_answer(answer: Prediction | Failure, codec: Codec) -> bytes:
    """Return the bytes of an answer."""
    try:
        return codec.encode(answer)
    except Exception as error:
        return encode_unencodable(answer, codec, error)


def _is_list(payload: bytes, codec: Codec) -> bool:
    """Return whether the events were taken one by one; a list that is refused whole has one answer."""
    try:
        items = codec.split(payload)
    except Exception:  # it begins as a list, but is none
        return False
    return items is not None and len(items) <= MAX_MESSAGES_PER_FRAME
