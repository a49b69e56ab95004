"""A process as one of many: what joins it to the others over Redis, by its role."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from typing import Final

from prometheus_client.registry import Collector

from pipeline.alert_desk import AlertDesk
from pipeline.backbone import BackboneDown
from pipeline.cluster_metrics import (
    BackboneCollector,
    FanoutCollector,
    GatewayCollector,
    OrderCollector,
    WorkerCollector,
)
from pipeline.errors import ConfigError
from pipeline.fanout import Fanout
from pipeline.gateway_link import GatewayLink
from pipeline.hub import Hub
from pipeline.order_channel import OrderChannel
from pipeline.queue_memory import QueueMemory
from pipeline.redis_backbone import RedisBackbone
from pipeline.redis_checks import RedisUnreachable, check
from pipeline.remote_repository import RemoteRepository
from pipeline.repository import Repository
from pipeline.settings import Settings
from pipeline.stats import ServerStats
from pipeline.worker import Worker

log = logging.getLogger(__name__)

LEAVE_SECONDS: Final = 2.0  # to say goodbye


class Cluster:
    """The parts that `--redis` and `--role` add: a gateway's or a worker's; watching and orders across processes."""

    def __init__(
        self, settings: Settings, url: str, stats: ServerStats, hub: Hub, desk: AlertDesk, memory: QueueMemory
    ) -> None:
        """Build the parts; needs a running loop. Raises `ConfigError` for what is no URL of a Redis."""
        try:
            self.backbone = RedisBackbone(url, settings.redis_prefix)
        except ValueError as error:
            raise ConfigError(f"redis: {error}") from error
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._settings = settings
        self._link: GatewayLink | None = None
        self._worker: Worker | None = None
        self._fanout = Fanout(self.backbone, self.name, hub, desk) if settings.role != "worker" else None
        self.orders = OrderChannel(self.backbone, self.name)
        self.repository: RemoteRepository | None = None
        self.collectors: list[Collector] = [BackboneCollector(self.backbone.nodes), OrderCollector(self.orders)]
        if self._fanout is not None:
            self.collectors.append(FanoutCollector(self._fanout))
        if settings.role == "gateway":
            self._link = GatewayLink(self.backbone, self.name, shards=settings.shards, max_lag=settings.max_lag)
            self.repository = RemoteRepository(
                stats,
                self.backbone,
                self._link,
                hub,
                desk,
                shards=settings.shards,
                patience=settings.worker_wait_seconds,
                memory=memory,
            )
            self.collectors.append(GatewayCollector(self._link, self.repository))

    def __repr__(self) -> str:
        return f"<Cluster {self._settings.role} {self.name} {self.backbone!r}>"

    def is_up(self) -> bool:
        """Return whether the others can be reached."""
        return self.backbone.is_up

    @property
    def workers(self) -> int | None:
        """How many workers a gateway knows; None for other roles."""
        return None if self.repository is None else self.repository.workers

    def employ(self, repository: Repository) -> None:
        """Have the models of a repository run what gateways send."""
        settings = self._settings
        self._worker = Worker(
            self.backbone, repository, self.name, shards=settings.shards, claim_seconds=settings.claim_seconds
        )
        self.collectors.append(WorkerCollector(self._worker.link))

    async def check(self) -> None:
        """Raise `ConfigError` for a Redis that cannot be worked with.

        A process with models and sockets of its own does without one that does not answer, until it does.
        """
        try:
            await check(self.backbone.nodes)
        except RedisUnreachable as error:
            if self._settings.role != "all":
                raise
            log.warning("%s; serving what is here until it answers", error)

    async def start(self) -> None:
        """Join the others."""
        if self._link is not None and self.repository is not None:
            self._link.start()
            try:
                await self.repository.load_all()
            except BackboneDown as error:
                raise ConfigError(str(error)) from error
        if self._worker is not None:
            self._worker.start()
        if self._fanout is not None:
            self._fanout.start()
        self.orders.start()

    async def drain(self) -> None:
        """Take nothing more, and answer what was taken."""
        if self._worker is not None:
            await self._worker.drain()

    async def leave(self) -> None:
        """Let go of everything."""
        with contextlib.suppress(TimeoutError, BackboneDown):
            async with asyncio.timeout(LEAVE_SECONDS):
                for part in (self.orders, self._fanout, self._link, self._worker):
                    if part is not None:
                        await part.stop()
        await self.backbone.close()
