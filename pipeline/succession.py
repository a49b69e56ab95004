"""How one model takes the place of another: new events go to it, and the other finishes what it has."""

import asyncio
import logging

from pipeline.alert_desk import AlertDesk
from pipeline.hub import Hub
from pipeline.served_model import ServedModel
from pipeline.stats import ServerStats
from pipeline.versions import Versions

log = logging.getLogger(__name__)


class Succession:
    """Brings models into service and sees them out; all that counts, watches or alerts is told."""

    def __init__(self, stats: ServerStats, hub: Hub, desk: AlertDesk) -> None:
        self._stats = stats
        self._hub = hub
        self._desk = desk
        self._retirements: dict[asyncio.Task[None], ServedModel] = {}

    @property
    def retiring(self) -> list[ServedModel]:
        """Models that no route leads to and that have not answered all they had."""
        return list(self._retirements.values())

    def install(self, versions: Versions, model: ServedModel) -> None:
        """Let a model take the place of the one with its number."""
        former = versions.ready.get(model.version)
        versions.ready[model.version] = model
        versions.reasons.pop(model.version, None)
        self._stats.add((model.name, model.version), model.engine.stats)
        log.info("model %s version %s is ready: batches of up to %d", model.name, model.version, model.max_batch_size)
        model.alert(self._desk)
        self._hub.add_model(model)
        versions.publish()
        if former is not None:
            self.retire(versions, former)

    def retire(self, versions: Versions, model: ServedModel) -> asyncio.Task[None]:
        """See a model out that no route leads to any more."""
        versions.retiring.append(model)
        task = asyncio.create_task(self._see_out(versions, model))
        self._retirements[task] = model
        task.add_done_callback(self._retirements.pop)
        return task

    def retire_all(self, versions: Versions) -> list[asyncio.Task[None]]:
        """Serve a model no more; return what ends as its versions have answered what they had."""
        models = list(versions.ready.values())
        for known in (versions.ready, versions.reasons, versions.tried, versions.labels):
            known.clear()
        versions.publish()
        return [self.retire(versions, model) for model in models]

    async def _see_out(self, versions: Versions, model: ServedModel) -> None:
        """Close a model once it has answered what it has."""
        await model.retired()
        self._hub.remove_model(model)
        versions.retiring.remove(model)
        self._stats.discard((model.name, model.version), model.engine.stats)
        log.info("model %s version %s is retired", model.name, model.version)
