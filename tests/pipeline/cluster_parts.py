"""A cluster within one process: gateways and workers with real models on one backbone."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from onnx import ModelProto

from pipeline.alert_desk import AlertDesk
from pipeline.backbone import Backbone
from pipeline.errors import WaterspoutError
from pipeline.gateway_link import GatewayLink
from pipeline.hub import Hub
from pipeline.inference import Inference, Outcome
from pipeline.memory_backbone import MemoryBackbone
from pipeline.model_folder import find_models
from pipeline.remote_repository import RemoteRepository
from pipeline.repository import Repository
from pipeline.stats import ServerStats
from pipeline.tensors import Row, Shapes
from pipeline.worker import Worker
from pipeline.workers import WorkerPool
from tests import onnx_models as onnx

PATIENCE = 20.0
CLAIM_SECONDS = 0.4


class Asker:
    """Who asked, and what became of it; being told twice is an error."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        self.outcome.set_result(list(outcomes))

    def refuse(self, error: WaterspoutError) -> None:
        self.outcome.set_exception(error)


class Gateway:
    """A gateway without sockets."""

    def __init__(self, backbone: Backbone, name: str, *, patience: float, max_lag: int = 1000, shards: int = 1) -> None:
        self.stats = ServerStats()
        self.hub = Hub()
        self.link = GatewayLink(backbone, name, shards=shards, max_lag=max_lag)
        self.repository = RemoteRepository(
            self.stats, backbone, self.link, self.hub, AlertDesk(self.stats, self.hub), shards=shards, patience=patience
        )

    async def start(self, *models: str) -> None:
        """Carry, and wait until models are known."""
        self.link.start()
        await self.repository.load_all()
        await until(lambda: {model.name for model in self.repository} >= set(models))

    async def stop(self) -> None:
        self.repository.close()
        await self.link.stop()

    def begin(
        self,
        model: str,
        rows: Sequence[Row],
        shapes: Shapes | None = None,
        *,
        within: float = 60.0,
        version: str | None = None,
    ) -> "asyncio.Future[list[Outcome]]":
        """Send rows as one request."""
        asker, now = Asker(), time.monotonic()
        Inference(self.repository.get(model, version), asker).start(rows, shapes, now, now + within)
        return asker.outcome


class Cluster:
    """A backbone, and all that stands on it; everything ends with the context."""

    def __init__(self, folder: Path, backbone: Backbone | None = None) -> None:
        self.folder = folder
        self.backbone: Any = backbone or MemoryBackbone()
        self._pool = WorkerPool(2)
        self._ends: list[Callable[[], Any]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        for end in reversed(self._ends):
            await end()
        self._pool.shutdown()

    def add_model(self, name: str, proto: ModelProto, version: str = "1", config: str = "") -> None:
        """Lay a model into the repository that workers load."""
        place = self.folder / name / version
        place.mkdir(parents=True, exist_ok=True)
        onnx.save(proto, place / "model.onnx")
        if config:
            (self.folder / name / "config.toml").write_text(config)

    async def worker(self, name: str, backbone: Backbone | None = None, *, shards: int = 1) -> Worker:
        """Start a worker with all models."""
        repository = Repository(ServerStats(), self._pool, 2, lambda: find_models(self.folder))
        await repository.load_all()
        worker = Worker(backbone or self.backbone, repository, name, shards=shards, claim_seconds=CLAIM_SECONDS)
        worker.start()

        async def end() -> None:
            await worker.stop()
            repository.close()

        self._ends.append(end)
        return worker

    async def gateway(self, name: str, *models: str, patience: float = PATIENCE, **options: Any) -> Gateway:
        """Start a gateway and wait until it knows models."""
        gateway = Gateway(self.backbone, name, patience=patience, **options)
        await gateway.start(*models)
        self._ends.append(gateway.stop)
        return gateway


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what it asks of has no event
            await asyncio.sleep(0.005)
