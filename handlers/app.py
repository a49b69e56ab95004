"""All doors in one table."""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec
import tornado.web
from prometheus_client import CollectorRegistry
from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream
from tornado.routing import Router

from handlers.access import Needs
from handlers.admin import PARAMETERS as SESSION_PARAMETERS
from handlers.admin import (
    DrainHandler,
    LogLevelHandler,
    MeHandler,
    ResumeHandler,
    SessionHandler,
    SessionsHandler,
)
from handlers.alerts import PARAMETERS as ALERTS_PARAMETERS
from handlers.alerts import AlertsHandler
from handlers.base import NotFoundHandler
from handlers.bounded_body import BoundedBodyHandler, UnreadBody
from handlers.docs import DocsHandler
from handlers.doors import OF_ANY, OF_BODIES, OF_INFERENCE, OF_MODELS, OF_ORDERS, Door, Operation, json
from handlers.echo import EchoHandler
from handlers.health import Health, HealthHandler, MetricsHandler, Readiness, ReadyHandler
from handlers.infer import HEADER_LENGTH, INFER, InferDoor, InferExchange
from handlers.models import PARAMETERS as MODEL_PARAMETERS
from handlers.models import Models, ModelsHandler
from handlers.open_inference import (
    LiveHandler,
    LoadHandler,
    ModelConfigHandler,
    ModelListHandler,
    ModelMetadataHandler,
    ModelReadyHandler,
    RepositoryIndexHandler,
    ServerMetadataHandler,
    StatisticsHandler,
    UnloadHandler,
    V2NotFoundHandler,
    V2ReadyHandler,
)
from handlers.openapi import OpenApiHandler, document
from handlers.predict import PARAMETERS, PredictHandler
from handlers.sse import EventsHandler
from handlers.state import ServerState
from handlers.static import DashboardHandler, ScriptHandler, StaticHandler, VendorHandler
from handlers.stats import StatsHandler
from handlers.stream import StreamHandler
from handlers.tickets import Ticket, TicketsHandler
from handlers.usage import PARAMETERS as USAGE_PARAMETERS
from handlers.usage import UsageHandler, UsageReport
from handlers.watch import WatchHandler
from pipeline.admin_messages import Done, LogLevel, LogLevelSet, Me, Sessions
from pipeline.alert_messages import Alerts
from pipeline.errors import (
    Forbidden,
    ModelUnavailable,
    Overloaded,
    ShuttingDown,
    TooLarge,
    UnknownModel,
    UnknownSession,
)
from pipeline.messages import Event, Failure, ModelInfo, Prediction
from pipeline.pulse_messages import Stats
from pipeline.stats import ServerStats
from pipeline.v2_messages import ControlRequest, ErrorMessage, IndexEntry, IndexRequest, InferRequest, InferResponse
from pipeline.v2_metadata import (
    ModelConfiguration,
    ModelList,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    Statistics,
)

_EVENTS: Final = (Event, [Event])
_ANSWERS: Final = (Prediction, [Prediction, Failure])
_BOTH: Final = ("application/json", "application/msgpack")
_STREAMED: Final = ("application/x-ndjson", "text/event-stream")

_OF_A_MODEL: Final = {
    "": (ModelMetadataHandler, {"GET": json(ModelMetadata, errors=OF_MODELS)}),
    "/ready": (ModelReadyHandler, {"GET": json(ModelReady, errors=OF_MODELS)}),
    "/config": (ModelConfigHandler, {"GET": json(ModelConfiguration, errors=OF_MODELS)}),
    "/stats": (StatisticsHandler, {"GET": json(Statistics, errors=OF_MODELS)}),
}

_INFER: Final = {
    "POST": Operation(
        gives={"application/json": InferResponse, "application/octet-stream": None},
        takes={"application/json": InferRequest, "application/octet-stream": None},
        errors=OF_INFERENCE,
        headers=(HEADER_LENGTH,),
    )
}

#: The first door whose path fits answers; those that are knocked at most come first, since each is tried in turn.
DOORS: Final = (
    Door(INFER, InferExchange, _INFER),
    Door(
        "/v1/models/{model}/predict",
        PredictHandler,
        {
            "POST": Operation(
                gives={**dict.fromkeys(_BOTH, _ANSWERS), **dict.fromkeys(_STREAMED)},
                takes=dict.fromkeys(_BOTH, _EVENTS),
                errors=OF_INFERENCE,
                query=tuple(sorted(PARAMETERS)),
            )
        },
    ),
    Door("/v1/stream", StreamHandler),
    Door("/v1/watch", WatchHandler),
    Door("/v1/watch/sse", EventsHandler),
    Door("/v1/alerts", AlertsHandler, {"GET": json(Alerts, query=tuple(ALERTS_PARAMETERS))}),
    Door("/v1/echo", EchoHandler),
    Door("/v1/models", ModelsHandler, {"GET": json(Models)}, at_workers=True),
    Door(
        "/v1/models/{model}",
        ModelsHandler,
        {"GET": json(ModelInfo, errors=OF_MODELS, query=tuple(sorted(MODEL_PARAMETERS)))},
        at_workers=True,
    ),
    Door(
        "/v1/models/{model}/versions/{version}",
        ModelsHandler,
        {"GET": json(ModelInfo, errors=OF_MODELS)},
        at_workers=True,
    ),
    Door("/v1/models/{model}/stream", StreamHandler),
    Door("/v1/tickets", TicketsHandler, {"POST": json(Ticket, errors=(*OF_ANY, ModelUnavailable))}),
    Door(
        "/v1/usage",
        UsageHandler,
        {
            "GET": json(
                UsageReport, errors=(*OF_ANY, Forbidden, ModelUnavailable), query=tuple(sorted(USAGE_PARAMETERS))
            )
        },
    ),
    Door("/v1/me", MeHandler, {"GET": json(Me)}),
    Door(
        "/v1/admin/sessions",
        SessionsHandler,
        {"GET": json(Sessions, errors=OF_ORDERS, query=tuple(sorted(SESSION_PARAMETERS)))},
        needs=Needs.ADMIN,
    ),
    Door(
        "/v1/admin/sessions/{session}",
        SessionHandler,
        {"DELETE": json(Done, errors=(*OF_ORDERS, UnknownSession))},
        needs=Needs.ADMIN,
    ),
    *(
        Door(
            f"/v1/admin/models/{{model}}/{order}",
            handler,
            {"POST": json(Done, errors=(*OF_ORDERS, UnknownModel))},
            needs=Needs.ADMIN,
        )
        for order, handler in (("drain", DrainHandler), ("resume", ResumeHandler))
    ),
    Door(
        "/v1/admin/log-level",
        LogLevelHandler,
        {
            "GET": json(LogLevel),
            "PUT": json(LogLevelSet, takes={"application/json": LogLevel}, errors=(*OF_ORDERS, TooLarge)),
        },
        at_workers=True,
        needs=Needs.ADMIN,
    ),
    Door("/v1/stats", StatsHandler, {"GET": json(Stats, errors=(*OF_ANY, ShuttingDown))}, at_workers=True),
    Door("/v2", ServerMetadataHandler, {"GET": json(ServerMetadata)}),
    Door("/v2/", ServerMetadataHandler),
    Door("/v2/health/live", LiveHandler, {"GET": json(ServerLive)}, at_workers=True, needs=Needs.NOTHING),
    Door(
        "/v2/health/ready",
        V2ReadyHandler,
        {"GET": json(ServerReady, also={503: ServerReady})},
        at_workers=True,
        needs=Needs.NOTHING,
    ),
    Door("/v2/models", ModelListHandler, {"GET": json(ModelList)}),
    Door("/v2/models/stats", StatisticsHandler, {"GET": json(Statistics)}),
    Door("/v2/models/{model}/versions/{version}/infer", InferExchange, _INFER),
    *(
        Door(f"/v2/models/{{model}}{version}{path}", handler, operations)
        for version in ("", "/versions/{version}")
        for path, (handler, operations) in _OF_A_MODEL.items()
    ),
    Door(
        "/v2/repository/index",
        RepositoryIndexHandler,
        {"POST": json([IndexEntry], takes={"application/json": IndexRequest}, errors=OF_BODIES, takes_nothing=True)},
    ),
    *(
        Door(
            f"/v2/repository/models/{{model}}/{order}",
            handler,
            {
                "POST": json(
                    dict[str, Any],
                    takes={"application/json": ControlRequest},
                    errors=(*OF_MODELS, TooLarge),
                    also={403: ErrorMessage},
                    takes_nothing=True,
                )
            },
            needs=Needs.ADMIN,
        )
        for order, handler in (("load", LoadHandler), ("unload", UnloadHandler))
    ),
    Door("/healthz", HealthHandler, {"GET": json(Health)}, at_workers=True, needs=Needs.NOTHING),
    Door(
        "/readyz", ReadyHandler, {"GET": json(Readiness, also={503: Readiness})}, at_workers=True, needs=Needs.NOTHING
    ),
    Door(
        "/metrics",
        MetricsHandler,
        {"GET": Operation({"text/plain": None}, errors=(*OF_ANY, Overloaded, ShuttingDown))},
        at_workers=True,
    ),
    Door("/openapi.json", OpenApiHandler, at_workers=True, needs=Needs.NOTHING),
    Door("/docs", DocsHandler, needs=Needs.NOTHING),
    Door("/docs/{file}", DocsHandler, needs=Needs.NOTHING),
    Door("/", DashboardHandler, needs=Needs.NOTHING),
    Door("/static/{file}", StaticHandler, needs=Needs.NOTHING),
    Door("/static/js/{file}", ScriptHandler, needs=Needs.NOTHING),
    Door("/vendor/{file}", VendorHandler, needs=Needs.NOTHING),
)


class Application(tornado.web.Application):
    """Tornado's, with a deadline for bodies that have yet to come; a timer for those that have would cost the most.

    Doors that read no body are spared it.
    """

    def find_handler(self, request: httputil.HTTPServerRequest, **kwargs: Any) -> Any:
        """Return who answers a request, of which the header has come."""
        connection = cast(HTTP1Connection, request.connection)
        if not _has_come_whole(request.headers, connection.stream):
            connection.set_body_timeout(self.settings["body_seconds"])
        return super().find_handler(request, **kwargs)

    def get_handler_delegate(
        self,
        request: httputil.HTTPServerRequest,
        target_class: type[tornado.web.RequestHandler],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return what takes the request for a handler."""
        door = super().get_handler_delegate(request, target_class, *args, **kwargs)
        return door if issubclass(target_class, BoundedBodyHandler) else UnreadBody(request, door)


def _has_come_whole(headers: httputil.HTTPHeaders, stream: IOStream) -> bool:
    """Return whether there is no body, or all of it lies in the buffer."""
    length = headers.get("Content-Length")
    if length is None:
        return "Transfer-Encoding" not in headers
    return length.isascii() and length.isdigit() and int(length[:19]) <= stream._read_buffer_size


def make_app(state: ServerState, registry: CollectorRegistry) -> Application:
    """Return the application that serves every door of its role; `registry` has the metrics."""
    doors = [door for door in DOORS if door.at_workers or state.settings.role != "worker"]
    shared: dict[str, Any] = {"state": state}
    own: dict[Any, dict[str, Any]] = {
        MetricsHandler: {"registry": registry},
        OpenApiHandler: {"description": msgspec.json.encode(document(doors))},
    }
    below: dict[Any, Router] = {InferExchange: InferDoor(state)}  # that are no request handlers
    routes: list[Any] = [
        (
            door.pattern,
            below.get(door.handler, door.handler),
            {**shared, "needs": door.needs, **own.get(door.handler, {})},
        )
        for door in doors
    ]
    routes.append((r"/v2(?:/.*)?", V2NotFoundHandler, shared))
    return Application(
        routes,
        default_handler_class=NotFoundHandler,
        default_handler_args=shared,
        log_function=_counter(state.stats, doors),
        state=state,
        body_seconds=state.settings.body_seconds,
    )


def _counter(stats: ServerStats, doors: Sequence[Door]) -> Callable[[tornado.web.RequestHandler], None]:
    """Return what is called with each request that was answered: it counts, and keeps it out of the log.

    Doors with the same handler count as the first of them, and whatever is none as `other`.
    """
    names: dict[type, str] = {}
    for door in doors:
        names.setdefault(door.handler, door.path)

    def count(handler: tornado.web.RequestHandler) -> None:
        stats.requests[names.get(type(handler), "other"), handler.get_status()] += 1

    return count
