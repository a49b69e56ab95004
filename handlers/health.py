"""`/healthz`, `/readyz` and `/metrics`."""

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from handlers.base import JsonHandler, ServerState


class Health(Struct):
    """The process answers."""

    live: bool


class ModelNames(Struct):
    """The models that are ready, and those that could not be loaded."""

    ready: list[str]
    broken: list[str]


class Readiness(Struct):
    """Whether events are welcome: `starting`, `ready` or `draining`."""

    ready: bool
    status: str
    models: ModelNames


class HealthHandler(JsonHandler):
    """`GET /healthz`: the process answers."""

    def get(self) -> None:
        """Say so."""
        self.reply(Health(True))


class ReadyHandler(JsonHandler):
    """`GET /readyz`: events are welcome; 503 while starting or draining."""

    def get(self) -> None:
        """Tell whether, which models are ready, and which are broken."""
        state = self.state
        ready = state.ready and not state.draining
        status = "draining" if state.draining else "ready" if state.ready else "starting"
        names = list(dict.fromkeys(model.name for model in state.repository))
        models = ModelNames(names, state.repository.broken)
        self.reply(Readiness(ready, status, models), status=200 if ready else 503)


class MetricsHandler(JsonHandler):
    """`GET /metrics`, for Prometheus."""

    def initialize(self, state: ServerState, registry: CollectorRegistry) -> None:  # type: ignore[override]
        """Take the registry too."""
        super().initialize(state)
        self._registry = registry

    async def get(self) -> None:
        """Write all metrics, those of sibling processes added up, in the format that the scraper asks for."""
        accept = self.request.headers.get("Accept", "")
        if self.state.scrape is None:
            encode, content_type = choose_encoder(accept)
            body = encode(self._registry)
        else:
            scraped = await self.state.scrape(accept)
            content_type, body = scraped.content_type, scraped.body
        self.set_header("Content-Type", content_type)
        self.finish(body)
