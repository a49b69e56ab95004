"""The models of this process: found on disk, loaded, swapped and retired."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from pipeline.alert_desk import AlertDesk
from pipeline.catalogue import Catalogue
from pipeline.errors import ConfigError, UnknownModel
from pipeline.hub import Hub
from pipeline.model_folder import Found, Look, moving
from pipeline.queue_memory import QueueMemory
from pipeline.served_model import ServedModel
from pipeline.stats import ServerStats
from pipeline.version_loader import VersionLoader
from pipeline.versions import Versions
from pipeline.workers import WorkerPool

log = logging.getLogger(__name__)


class Repository(Catalogue):
    """Models by name and version. All methods belong to the loop's thread; changes are made one after the other."""

    def __init__(
        self,
        stats: ServerStats,
        workers: WorkerPool,
        cores: int,
        look: Callable[[], Look],
        *,
        only: Collection[str] | None = None,
        settle_seconds: float = 0.3,
        hub: Hub | None = None,
        desk: AlertDesk | None = None,
        memory: QueueMemory | None = None,
    ) -> None:
        """Make it; nothing is loaded yet.

        `look` is called in a thread. `only` names the models to serve until `load` names others; None: all there are.
        `hub` is where predictions can be watched, `desk` takes alerts, `memory` bounds what waits for all models.
        Files are at rest when two looks, `settle_seconds` apart, find them equal.
        """
        super().__init__()
        hub = hub or Hub()
        self._loader = VersionLoader(stats, workers, cores, self.get, hub, desk or AlertDesk(stats, hub), memory)
        self._find = look
        self._settle_seconds = settle_seconds
        self._loads_all = only is None
        self._chosen: dict[str, bool] = dict.fromkeys(only or (), True)  # what was said of single models
        self._done: dict[str, Found] = {}  # what the models were brought in line with
        self._complaints: set[str] = set()
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Repository ready={[m.name for m in self._sorted() if m.ready]} broken={self.broken}>"

    @property
    def retiring(self) -> list[ServedModel]:
        """Models that serve no more and have yet to finish what they have."""
        return self._loader.retiring

    def known(self) -> list[Versions]:
        """Return what is known of each model, by name."""
        return self._sorted()

    async def load_all(self) -> None:
        """Look at the disk and load what is there, one after the other.

        A model that cannot be served is reported and left out. Raises `ConfigError` where nothing can be looked at, or
        a model that was named is not there.
        """
        async with self._lock:
            look = await self._look()
            if missing := sorted(self._chosen.keys() - look.models.keys()):
                raise ConfigError(f"load_models: there is no model {missing[0]!r}")
            self._complain(look.complaints)
            for name in list(self._chosen):
                self._chosen |= dict.fromkeys(self._steps_of(name, look.models), True)
            for name, found in look.models.items():
                versions = self._meet(found)
                if self._is_chosen(name):
                    versions.loading.add(found.newest)
            for found in self._steps_first(look.models.values()):
                await self._update(found)

    async def refresh(self) -> bool:
        """Look at the disk: load what is new or changed and at rest, retire what is gone.

        Return whether all of it was at rest; where not, call again. Raises `ConfigError` where nothing can be looked
        at; then nothing has changed.
        """
        async with self._lock:
            before = await self._look()
            if before.models == self._done and self._complaints.issuperset(before.complaints):
                return self._done.keys() == {m.name for m in self._models.values() if m.there}
            await asyncio.sleep(self._settle_seconds)
            after = await self._look()
            self._complain([complaint for complaint in after.complaints if complaint in before.complaints])
            is_settled = set(after.complaints) == set(before.complaints)
            gone = sorted({*before.models, *self._models} - after.models.keys())
            for name in [*gone, *(found.name for found in self._steps_first(after.models.values()))]:
                old, new = before.models.get(name), after.models.get(name)
                unrest = moving(old, new)
                if new is not None and (unrest or new != self._done.get(name)):
                    self._meet(new)
                    is_settled = await self._update(new, unrest, is_watched=True) and is_settled
                elif new is None and old is None:
                    await self._forget(name)
                elif new is None:
                    is_settled = False
            return is_settled

    async def load(self, name: str) -> None:
        """Load a model by name, or what is new or changed of it, or what failed before.

        With an ensemble come the models of its steps, where they are not served yet. Raises `UnknownModel` where it is
        not on disk, `ConfigError` with the reason where a version cannot be served; versions that are ready serve on.
        """
        async with self._lock:
            look = await self._look()
            found = look.models.get(name)
            if found is None:
                raise UnknownModel(f"model: {name[:128]!r} is not in the repository")
            steps = [look.models[step] for step in self._steps_of(name, look.models) if not self._serves(step)]
            for one in self._steps_first([*steps, found]):
                self._chosen[one.name] = True
                versions = self._meet(one)
                for version in versions.reasons:
                    versions.tried.pop(version, None)
                await self._update(one)
            versions = self._models[name]
            if versions.reasons:
                raise ConfigError(versions.reasons[max(versions.reasons, key=int)])

    async def unload(self, name: str, *, with_steps: bool = False) -> None:
        """Serve a model no more until `load` names it; return when all that it had taken is answered.

        With it go the ensembles that it is a step of, until it is back; `with_steps`: and the models of its own steps,
        but for those of other ensembles. Raises `UnknownModel`.
        """
        async with self._lock:
            versions = self._versions_of(name)
            retired = await self._retire(versions)
            for step in self._steps_of(name, self._done) if with_steps else ():
                if not any(self._serves(user.name) for user in self._users_of(step)):
                    retired += await self._retire(self._models[step])
        if retired:
            await asyncio.wait(retired)

    def close(self) -> None:
        """Refuse further rows, and load nothing more."""
        self._loader.close()
        super().close()

    def _serves(self, name: str) -> bool:
        return name in self._models and bool(self._models[name].ready)

    def _steps_of(self, name: str, models: Mapping[str, Found]) -> list[str]:
        """Return the names of the models of an ensemble's steps, and of the steps of those, that are there."""
        steps: dict[str, None] = {}
        todo = [name]
        while todo:
            found = models.get(todo.pop())
            fresh = [step for step in self._loader.uses(found) if step in models and step not in steps] if found else []
            steps |= dict.fromkeys(fresh)
            todo += fresh
        return [step for step in steps if step != name]

    def _users_of(self, name: str) -> list[Found]:
        """Return the ensembles that have a model as a step."""
        return [found for found in self._done.values() if found.is_ensemble and name in self._loader.uses(found)]

    def _steps_first(self, models: Iterable[Found]) -> list[Found]:
        """Return models in an order in which an ensemble comes after the models of its steps."""
        waiting = {found.name: found for found in models}
        ordered: list[Found] = []
        while waiting:
            ready = [found for found in waiting.values() if not self._loader.uses(found) & waiting.keys()]
            ready = ready or list(waiting.values())  # ensembles in a circle: each will say what it lacks
            ordered += ready
            for found in ready:
                del waiting[found.name]
        return ordered

    def _is_chosen(self, name: str) -> bool:
        return self._chosen.get(name, self._loads_all)

    async def _look(self) -> Look:
        return await self._loader.call(self._find)

    def _complain(self, complaints: Collection[str]) -> None:
        for complaint in complaints:
            if complaint not in self._complaints:
                log.error(complaint)
        self._complaints = set(complaints)

    def _meet(self, found: Found) -> Versions:
        versions = self._models.setdefault(found.name, Versions(found.name))
        versions.there = set(found.versions)
        return versions

    async def _update(self, found: Found, unrest: set[str] | None = None, *, is_watched: bool = False) -> bool:
        """Bring a model in line with the disk but for the versions in `unrest`; return whether nothing was left out.

        `is_watched`: what fails while its files change was not there yet, and is left out too.
        """
        versions = self._models[found.name]
        unrest = unrest if unrest is not None else set()
        former = dict(versions.ready)
        if self._is_chosen(found.name):
            try:
                await self._loader.bring_in_line(versions, found, unrest, is_watched=is_watched)
            finally:
                versions.loading.clear()
        if not unrest:
            self._done[found.name] = found
        if versions.ready != former:
            await self._update_users(found.name)
        return not unrest

    async def _update_users(self, name: str) -> None:
        """Bring the ensembles in line that have a model as a step."""
        for user in self._users_of(name):
            await self._update(user)

    async def _retire(self, versions: Versions) -> list[asyncio.Task[None]]:
        self._chosen[versions.name] = False
        retired = self._loader.retire_all(versions)
        await self._update_users(versions.name)
        return retired

    async def _forget(self, name: str) -> None:
        """Retire a model that is not on disk any more."""
        versions = self._models.pop(name)
        versions.there = set()
        self._loader.retire_all(versions)
        self._loader.forget(name)
        self._done.pop(name, None)
        self._chosen.pop(name, None)
        await self._update_users(name)
