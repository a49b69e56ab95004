"""All doors in one table."""

from typing import Any

import tornado.web

from handlers.base import NotFoundHandler, ServerState
from handlers.echo import EchoHandler
from handlers.health import HealthHandler, MetricsHandler, ReadyHandler
from handlers.models import ModelsHandler
from handlers.predict import PredictHandler
from handlers.stream import StreamHandler
from pipeline.metrics import make_registry


def make_app(state: ServerState) -> tornado.web.Application:
    """Return the application that serves every door."""
    shared = {"state": state}
    routes: list[Any] = [
        (r"/v1/stream", StreamHandler, shared),
        (r"/v1/echo", EchoHandler, shared),
        (r"/v1/models", ModelsHandler, shared),
        (r"/v1/models/([^/]+)", ModelsHandler, shared),
        (r"/v1/models/([^/]+)/versions/([^/]+)", ModelsHandler, shared),
        (r"/v1/models/([^/]+)/stream", StreamHandler, shared),
        (r"/v1/models/([^/]+)/predict", PredictHandler, shared),
        (r"/healthz", HealthHandler, shared),
        (r"/readyz", ReadyHandler, shared),
        (r"/metrics", MetricsHandler, {**shared, "registry": make_registry(state.stats)}),
    ]
    return tornado.web.Application(
        routes, default_handler_class=NotFoundHandler, default_handler_args=shared, log_function=_log_nothing
    )


def _log_nothing(handler: tornado.web.RequestHandler) -> None:
    """Keep requests out of the log: metrics count them, and faults of the server are logged where they are caught."""
