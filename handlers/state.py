"""The server's parts, as all doors work with them."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tornado.httputil import HTTPServerRequest

from handlers.access import Gate
from handlers.headers import HEADERS, secure_headers
from handlers.heartbeat import Heartbeat
from handlers.pulse import PulseTimer
from handlers.request_id import request_id
from pipeline.accounts import Accounts
from pipeline.alerts import RecentAlerts
from pipeline.catalogue import Catalogue
from pipeline.control_messages import Scraped
from pipeline.hub import Hub
from pipeline.identity import Identity
from pipeline.interfaces import KeyBudget
from pipeline.operators import Operators
from pipeline.permitted_models import PermittedModels
from pipeline.settings import Settings
from pipeline.stats import ServerStats
from pipeline.trace_context import TraceContext, read_traceparent
from pipeline.usage_keeper import UsageKeeper

log = logging.getLogger(__name__)


class Membership(Protocol):
    """What a process knows of the others that it works with."""

    def is_up(self) -> bool:
        """Return whether they can be reached."""

    @property
    def workers(self) -> int | None:
        """How many of them run models for this one; None where it runs its own."""


@dataclass
class ServerState:
    """What the doors work with."""

    settings: Settings
    repository: Catalogue
    heartbeat: Heartbeat
    stats: ServerStats
    budget: KeyBudget
    hub: Hub
    pulse: PulseTimer
    alerts: RecentAlerts
    gate: Gate
    operators: Operators
    accounts: Accounts | None = None  # None: nothing is bounded, and everybody is one
    usage: UsageKeeper | None = None
    ready: bool = False
    draining: bool = False
    requests: set[asyncio.Future[None]] = field(default_factory=set)  # predictions under way over HTTP
    past_events: int = 0  # of sockets and requests that are gone
    new_session_id: Callable[[], str] = field(default=str)
    cluster: Membership | None = None
    scrape: Callable[[str], Awaitable[Scraped]] | None = None  # the numbers of this process and its siblings
    _secure_headers: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Make the headers that every answer has over TLS."""
        self._secure_headers = secure_headers(self.settings.hsts_seconds)

    @property
    def is_welcoming(self) -> bool:
        """Whether events are welcome; a gateway that knows of no model has nothing to say to them."""
        has_models = self.cluster is None or self.cluster.workers != 0 or any(True for _ in self.repository)
        return self.ready and not self.draining and has_models

    def subjects(self, request: HTTPServerRequest) -> dict[str, str]:
        """Return what a line of the log about a request has beside what it says."""
        return {"request": request_id(request), "client": self.gate.client_address(request)}

    def trace_of(self, request: HTTPServerRequest) -> TraceContext | None:
        """Return the trace that a request is part of, where batches are traced."""
        if self.settings.otlp_endpoint is None:
            return None
        return read_traceparent(request.headers.get("traceparent", ""))

    def headers(self, request: HTTPServerRequest) -> Mapping[str, str]:
        """Return the headers that every answer to a request has."""
        return self._secure_headers if self.gate.is_secure(request) else HEADERS

    def visible_to(self, identity: Identity | None) -> Catalogue:
        """Return the models that somebody may know of."""
        return self.permitted(_nothing if identity is None else identity.scopes.may_see)

    def usable_by(self, identity: Identity | None) -> Catalogue:
        """Return the models that somebody may send events to."""
        return self.permitted(_nothing if identity is None else identity.scopes.may_predict)

    def permitted(self, is_permitted: Callable[[str], bool]) -> Catalogue:
        """Return the models whose names are permitted; all where no credentials are configured."""
        return self.repository if self.gate.is_open else PermittedModels(self.repository, is_permitted)

    def begin_request(self) -> asyncio.Future[None]:
        """Have a drain wait until `end_request`."""
        request = asyncio.get_running_loop().create_future()
        self.requests.add(request)
        return request

    def end_request(self, request: asyncio.Future[None]) -> None:
        """Let a drain go on."""
        self.requests.discard(request)
        request.set_result(None)

    @contextlib.contextmanager
    def request_under_way(self) -> Iterator[None]:
        """Have a drain wait until the context is left."""
        request = self.begin_request()
        try:
            yield
        finally:
            self.end_request(request)

    def count_events(self) -> int:
        """Return how many events came since the start."""
        return self.past_events + sum(socket.event_count for socket in self.heartbeat)


def _nothing(model: str) -> bool:
    del model
    return False
