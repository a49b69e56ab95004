"""What all doors share: who asks, and answers and errors as JSON."""

import logging
import time
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from math import ceil
from typing import Any, Final

import tornado.web

from handlers.access import Needs
from handlers.credentials import TICKET, TOKEN
from handlers.headers import PAGE_HEADERS
from handlers.request_id import REQUEST_ID, request_id
from handlers.state import ServerState
from pipeline.accounts import Account
from pipeline.auth_rules import is_loopback
from pipeline.catalogue import Catalogue
from pipeline.codec import JSON, MSGPACK, Codec
from pipeline.errors import (
    DeadlineExceeded,
    Forbidden,
    InferenceFailed,
    InvalidInput,
    InvalidMessage,
    ModelUnavailable,
    Overloaded,
    RateLimited,
    ShuttingDown,
    TooLarge,
    Unauthenticated,
    UnknownModel,
    UnknownSession,
    WaterspoutError,
)
from pipeline.identity import OPEN_IDENTITY, Identity
from pipeline.interfaces import Overflow, SessionOptions
from pipeline.messages import Failure
from pipeline.stream import error_body

log = logging.getLogger(__name__)

SERVER_NAME: Final = "waterspout"
SERVER_VERSION: Final = "0.1.0"

#: After which a client that is told of the end should come again.
RECONNECT_IN_MS: Final = 1000

STATUS: dict[str, HTTPStatus] = {
    InvalidMessage.code: HTTPStatus.BAD_REQUEST,
    InvalidInput.code: HTTPStatus.BAD_REQUEST,
    TooLarge.code: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnknownModel.code: HTTPStatus.NOT_FOUND,
    UnknownSession.code: HTTPStatus.NOT_FOUND,
    ModelUnavailable.code: HTTPStatus.SERVICE_UNAVAILABLE,
    Overloaded.code: HTTPStatus.SERVICE_UNAVAILABLE,
    ShuttingDown.code: HTTPStatus.SERVICE_UNAVAILABLE,
    DeadlineExceeded.code: HTTPStatus.GATEWAY_TIMEOUT,
    InferenceFailed.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    Unauthenticated.code: HTTPStatus.UNAUTHORIZED,
    Forbidden.code: HTTPStatus.FORBIDDEN,
    RateLimited.code: HTTPStatus.TOO_MANY_REQUESTS,
}


class JsonHandler(tornado.web.RequestHandler):
    """A door whose answers, errors included, are JSON (or MessagePack where the client sent that)."""

    takes_tickets = False
    admits_guests = False  # who say who they are by their first message
    identity: Identity | None = None

    def initialize(self, state: ServerState, needs: Needs = Needs.NOTHING) -> None:
        """Take the server's parts, and what the door needs of those who knock."""
        self.state = state
        self.needs = needs

    def prepare(self) -> Awaitable[None] | None:
        """See who asks."""
        gate = self.state.gate
        gate.check_page(self.request)
        if not gate.is_open:
            return self._identify()
        self.identity = OPEN_IDENTITY
        return None

    async def _identify(self) -> None:
        self.identity = await self.state.gate.identify(
            self.request, self.needs, takes_tickets=self.takes_tickets, guests=self.admits_guests
        )

    def open_account(self, *, is_socket: bool) -> Account | None:
        """Return who pays for this request, or the socket that it becomes. Raises `RateLimited`."""
        accounts = self.state.accounts
        if accounts is None:
            return None
        address = self.state.gate.client_address(self.request)
        name = None if self.identity is None else self.identity.name
        opens = accounts.open_socket if is_socket else accounts.open_request
        return opens(name, address, time.monotonic())

    @property
    def models(self) -> Catalogue:
        """The models as the one who asks may see them."""
        return self.state.visible_to(self.identity)

    def set_default_headers(self) -> None:
        """Do not tell the world which version of what runs here."""
        self.clear_header("Server")
        state: ServerState = self.settings["state"]
        self.set_headers(state.headers(self.request))

    def set_headers(self, headers: Mapping[str, str]) -> None:
        """Set several at once."""
        for name, value in headers.items():
            self.set_header(name, value)

    def set_page_headers(self) -> None:
        """Keep a page apart from others; browsers do so for TLS and this machine alone, and complain elsewhere."""
        self.set_headers(PAGE_HEADERS)
        if not (self.state.gate.is_secure(self.request) or is_loopback(self.request.host_name)):
            self.clear_header("Cross-Origin-Opener-Policy")

    def reply(self, message: Any, codec: Codec = JSON, status: int = 200) -> None:
        """Finish with one message as the body."""
        self.set_status(status)
        self.set_header("Content-Type", codec.media_type)
        self.finish(codec.encode(message))

    def reply_error(self, error: WaterspoutError, codec: Codec = JSON) -> None:
        """Finish with an error as the body and the status that belongs to its code."""
        body = error_body(error)
        self.set_headers(error_headers(error))
        self.state.stats.errors[error.code] += 1
        self.reply(Failure(error=body), codec, STATUS[error.code])

    def reply_refusal(self, status: int, raised: BaseException | None) -> None:
        """Finish with an error of Tornado's own; with one of ours, say by what id it is found in the log."""
        if status >= 500:
            self.set_header(REQUEST_ID, request_id(self.request))
        code = "inference_failed" if status >= 500 else "invalid_message"
        body = {"code": code, "message": phrase_of(status, raised), "retryable": False}
        self.reply({"error": body}, JSON, status)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Show Tornado's own errors in the same form."""
        raised = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(raised, WaterspoutError):
            self.reply_error(raised)
            return
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self.methods()))
        self.reply_refusal(status_code, raised)

    @classmethod
    def methods(cls) -> list[str]:
        """Return the HTTP methods that this door knows."""
        missing = tornado.web.RequestHandler._unimplemented_method
        return [name for name in cls.SUPPORTED_METHODS if getattr(cls, name.lower()) is not missing]

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Keep the errors that clients make out of the log."""
        is_theirs = isinstance(value, tornado.web.HTTPError) and value.status_code < 500
        if not is_theirs and not isinstance(value, WaterspoutError):
            request = self.request
            told = "a request could not be answered: %s %s"
            log.error(told, request.method, request.path[:200], exc_info=value, extra=self.state.subjects(request))

    def query(self, allowed: frozenset[str]) -> dict[str, str]:
        """Return the query's parameters. Raises `InvalidMessage` that names one that is unknown or no UTF-8."""
        query = {}
        for name, values in self.request.query_arguments.items():
            if name in (TICKET, TOKEN):  # the gate has seen to these
                continue
            if name not in allowed:
                raise InvalidMessage(f"{name[:100]}: unknown parameter, expected one of {', '.join(sorted(allowed))}")
            try:
                query[name] = values[-1].decode()
            except UnicodeDecodeError as error:
                raise InvalidMessage(f"{name}: expected UTF-8") from error
        return query

    def session_options(self, query: dict[str, str]) -> SessionOptions:
        """Return the options that the query chose. Raises `InvalidMessage` that names a wrong parameter."""
        settings = self.state.settings
        key = query.get("key")
        if key is not None and len(key) > 256:
            raise InvalidMessage("key: expected at most 256 characters")
        return SessionOptions(
            max_in_flight=settings.max_in_flight,
            max_keys=settings.max_keys_per_socket,
            key_idle_seconds=settings.key_idle_seconds,
            overflow=Overflow(choice_of(query, "overflow", [policy.value for policy in Overflow])),
            silent=choice_of(query, "reply", ["all", "none"]) == "none",
            timings=choice_of(query, "timings", ["0", "1"]) == "1",
            lists=choice_of(query, "tensors", ["bin", "list"]) == "list",
            default_key=key,
        )


class NotFoundHandler(JsonHandler):
    """Any path that is no door."""

    def prepare(self) -> None:
        """Answer 404."""
        body = {
            "code": "invalid_message",
            "message": no_such_path(self.request.path, self.state.settings.role),
            "retryable": False,
        }
        self.reply({"error": body}, JSON, 404)


def no_such_path(path: str, role: str) -> str:
    """Return what a client is told that has knocked where no door is."""
    told = f"no such path: {path[:200]}"
    return f"{told}; this is a worker: it runs models, and gateways answer for them" if role == "worker" else told


def error_headers(error: WaterspoutError) -> dict[str, str]:
    """Return headers that say when to try again (seconds), where that makes sense, or what is missing."""
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(max(1, ceil((error.retry_after_ms or 1000) / 1000)))} if error.retryable else {}


def choice_of(query: dict[str, str], name: str, choices: list[str]) -> str:
    """Return a parameter, which must be one of `choices`; the first of them where it is absent."""
    value = query.get(name, choices[0])
    if value not in choices:
        raise InvalidMessage(f"{name}: expected one of {', '.join(choices)}, got {value[:100]!r}")
    return value


def phrase_of(status: int, raised: BaseException | None) -> str:
    """Return what a client is told of an error of Tornado's own."""
    phrase = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else "error"
    if isinstance(raised, tornado.web.HTTPError) and status < 500 and (message := raised.get_message()):
        return f"{phrase}: {message[:300]}"
    return phrase


def codec_for(content_type: str) -> Codec:
    """Return the codec of a Content-Type; JSON where there is none. Raises `InvalidMessage` for any other."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in ("", "application/json", "text/json", "application/x-www-form-urlencoded"):
        return JSON
    if media_type in ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack"):
        return MSGPACK
    raise InvalidMessage(f"Content-Type: expected application/json or application/msgpack, got {media_type[:100]}")
