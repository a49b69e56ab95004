"""The models that this process itself runs: their repository, its threads, and what keeps it as its folder is."""

import logging
import os

from pipeline.alert_desk import AlertDesk
from pipeline.errors import ConfigError
from pipeline.hub import Hub
from pipeline.model_folder import Look, find_models, single_model
from pipeline.model_watch import ModelWatch
from pipeline.queue_memory import QueueMemory
from pipeline.repository import Repository
from pipeline.settings import Settings
from pipeline.stats import ServerStats
from pipeline.workers import WorkerPool

log = logging.getLogger(__name__)


class LocalModels:
    """A folder of models, or one file, as the settings say."""

    def __init__(
        self, settings: Settings, stats: ServerStats, hub: Hub, desk: AlertDesk, memory: QueueMemory | None = None
    ) -> None:
        """Build the parts; needs a running loop. Nothing is loaded yet."""
        self._settings = settings
        self._cores = len(os.sched_getaffinity(0))
        self._threads = settings.threads or max(1, self._cores // settings.processes)
        self._workers = WorkerPool(self._threads)
        is_explicit = settings.model_control == "explicit"
        self.repository = Repository(
            stats,
            self._workers,
            self._threads,
            self.look,
            only=settings.load_models if is_explicit else None,
            hub=hub,
            desk=desk,
            memory=memory,
        )
        folder = settings.model.parent if settings.model else settings.models
        self._watch = ModelWatch(self.repository, folder, recursive=settings.model is None)

    def __repr__(self) -> str:
        return f"<LocalModels {self.repository!r} threads={self._threads}>"

    def look(self) -> Look:
        """Look for models; called in the loader's thread too. Raises `ConfigError` for a wrong folder or file."""
        return single_model(self._settings.model) if self._settings.model else find_models(self._settings.models)

    async def start(self) -> None:
        """Load and warm. Raises `ConfigError` where the only model cannot be served, or one that was named."""
        settings = self._settings
        if settings.model_control == "poll":
            self._watch.start()
        await self.repository.load_all()
        if settings.model is not None and self.repository.broken:
            raise ConfigError(str(self.repository.describe(settings.model.stem).reason))
        log.info("%d cores, %d inference threads for all models together", self._cores, self._threads)

    async def settle(self) -> None:
        """Load and unload nothing more."""
        await self._watch.stop()

    def close(self) -> None:
        """Let go of the threads."""
        self._workers.shutdown()
