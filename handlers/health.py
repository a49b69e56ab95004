"""`/healthz`, `/readyz` and `/metrics`."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from handlers.access import Needs, check_topics
from handlers.base import JsonHandler
from handlers.state import ServerState
from pipeline.topics import STATS


class Health(Struct):
    """The process answers."""

    live: bool


class ModelNames(Struct):
    """The models that are ready, and those that could not be loaded."""

    ready: list[str]
    broken: list[str]


class Readiness(Struct):
    """Whether events are welcome.

    `degraded`: the backbone is out of reach. `no_workers`: nobody runs models for this gateway now; what is known of
    them is kept for a while, so that events can wait. `backbone` is told where there is one, `workers` by a gateway.
    """

    ready: bool
    status: Literal["starting", "ready", "degraded", "no_workers", "draining"]
    models: ModelNames
    backbone: Literal["up", "down"] | UnsetType = UNSET
    workers: int | UnsetType = UNSET


class HealthHandler(JsonHandler):
    """`GET /healthz`: the process answers."""

    def get(self) -> None:
        """Say so."""
        self.reply(Health(True))


class ReadyHandler(JsonHandler):
    """`GET /readyz`: events are welcome; 503 while starting or draining, and at a gateway that knows of no model."""

    def get(self) -> None:
        """Tell whether, which models are ready, and which are broken."""
        state, cluster = self.state, self.state.cluster
        names = list(dict.fromkeys(model.name for model in self.models))
        told = Readiness(state.is_welcoming, "ready", ModelNames(names, self.models.broken))
        if cluster is not None:
            told.backbone = "up" if cluster.is_up() else "down"
            told.workers = UNSET if cluster.workers is None else cluster.workers
        if state.draining:
            told.status = "draining"
        elif not state.ready:
            told.status = "starting"
        elif told.backbone == "down":
            told.status = "degraded"
        elif told.workers == 0:
            told.status = "no_workers"
        self.reply(told, status=200 if told.ready else 503)


class MetricsHandler(JsonHandler):
    """`GET /metrics`, for Prometheus."""

    def initialize(self, state: ServerState, needs: Needs, registry: CollectorRegistry) -> None:  # type: ignore[override]
        """Take the registry too."""
        super().initialize(state, needs)
        self._registry = registry

    async def get(self) -> None:
        """Write all metrics, those of sibling processes added up, in the format that the scraper asks for."""
        check_topics(self.identity, [STATS])
        accept = self.request.headers.get("Accept", "")
        if self.state.scrape is None:
            encode, content_type = choose_encoder(accept)
            body = encode(self._registry)
        else:
            scraped = await self.state.scrape(accept)
            content_type, body = scraped.content_type, scraped.body
        self.set_header("Content-Type", content_type)
        self.finish(body)
