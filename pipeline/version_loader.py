"""Brings the versions of a model in line with what lies on disk: loads, swaps and retires."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from pipeline.alert_desk import AlertDesk
from pipeline.config_files import read_config
from pipeline.errors import ConfigError
from pipeline.hub import Hub
from pipeline.loaded_model import LoadedModel
from pipeline.model_config import ModelConfig
from pipeline.model_folder import Fingerprint, Found, FoundVersion, fingerprint
from pipeline.queue_memory import QueueMemory
from pipeline.served_ensemble import Find, StepUnavailable, find_steps, serve_ensemble
from pipeline.served_model import ServedModel, serve_graph
from pipeline.stats import ServerStats
from pipeline.succession import Succession
from pipeline.version_policy import check_labels
from pipeline.versions import Versions
from pipeline.workers import WorkerPool

log = logging.getLogger(__name__)

T = TypeVar("T")


class VersionLoader:
    """Loads one version at a time, in a thread of its own, beside what serves.

    Once a version is warm all routes lead to it; what it replaces finishes what it has, is closed and forgotten. What
    cannot be loaded replaces nothing.
    """

    def __init__(
        self,
        stats: ServerStats,
        workers: WorkerPool,
        cores: int,
        find: Find,
        hub: Hub,
        desk: AlertDesk,
        memory: QueueMemory | None,
    ) -> None:
        """`find` is `Repository.get`, for the steps of ensembles; `hub` is where predictions are watched."""
        self._succession = Succession(stats, hub, desk)
        self._workers = workers
        self._memory = memory
        self._cores = cores
        self._find = find
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._configs: dict[str, tuple[Fingerprint, ModelConfig | str]] = {}  # or why one cannot be read

    @property
    def retiring(self) -> list[ServedModel]:
        """What serves no more and has yet to finish what it has."""
        return self._succession.retiring

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the loader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def close(self) -> None:
        """Load nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def forget(self, name: str) -> None:
        """Let go of what is known of a model that is not on disk any more."""
        self._configs.pop(name, None)

    def uses(self, found: Found) -> frozenset[str]:
        """Return the names of the models of an ensemble's steps; none where the model is no ensemble, or broken."""
        with contextlib.suppress(ConfigError):
            if found.is_ensemble:
                return self._config_of(found).uses
        return frozenset()

    async def bring_in_line(
        self, versions: Versions, found: Found, unrest: set[str], *, is_watched: bool = False
    ) -> None:
        """Load what the policy chooses, then retire the rest; versions in `unrest` are left as they are.

        `is_watched`: a version that fails while its files change was not there yet, and is added to `unrest`.
        """
        try:
            config = self._config_of(found)
        except ConfigError as error:
            self._reject(versions, found.versions[found.newest], error)
            return
        if (config.ensemble_scheduling is not None) is not found.is_ensemble:
            what = "no steps, and there is no model.onnx" if found.is_ensemble else "there is a model.onnx beside it"
            reason = ConfigError(f"{found.config_path}: ensemble_scheduling: {what}")
            self._reject(versions, found.versions[found.newest], reason)
            return
        if found.is_ensemble:
            found = self._with_steps(found, config)
        policy = config.version_policy
        at_rest = found.versions.keys() - (unrest - versions.ready.keys())
        try:
            labels = check_labels(config.version_labels, policy.select(at_rest))
        except ConfigError as error:
            self._reject(versions, found.versions[found.newest], ConfigError(f"{found.config_path}: {error}"))
            return
        versions.forgive()
        while True:  # a version that turns out to be broken makes room for the next best
            current = {v for v in at_rest if versions.tried.get(v) == found.versions[v].fingerprint}
            wanted = policy.select(at_rest - (current - versions.ready.keys()))
            fresh = [v for v in wanted if v not in current and v not in unrest]
            if not fresh:
                break
            item = found.versions[fresh[-1]]
            versions.loading = {item.version}
            try:
                if found.is_ensemble:
                    model = serve_ensemble(found.name, item.version, config, item.path, self._find)
                else:
                    model = await self._load(found, item, config)
                self._succession.install(versions, model)
                versions.tried[item.version] = item.fingerprint
            except Exception as error:  # a fault of one model must not stop the others
                if isinstance(error, StepUnavailable) and item.version in versions.ready:
                    self._succession.retire(versions, versions.ready.pop(item.version))
                if (
                    is_watched
                    and not found.is_ensemble
                    and await self.call(fingerprint, item.path, found.config_path) != item.fingerprint
                ):
                    unrest.add(item.version)
                    at_rest -= {item.version} - versions.ready.keys()
                else:
                    self._reject(versions, item, error)
                    versions.tried[item.version] = item.fingerprint
        versions.relabel(labels)
        needed = {*wanted, *unrest, *versions.labels.values()}
        for version in [v for v in versions.ready if v not in needed] if wanted else []:
            versions.tried.pop(version, None)
            self._succession.retire(versions, versions.ready.pop(version))
        for version in [v for v in versions.reasons if v not in found.versions]:
            del versions.reasons[version], versions.tried[version]
        for version in policy.missing(found.versions):
            versions.reasons[version] = f"{found.config_path}: version_policy.specific: there is no version {version}"
        versions.publish()

    def retire_all(self, versions: Versions) -> list[asyncio.Task[None]]:
        """Serve a model no more; return what ends as its versions have answered what they had."""
        return self._succession.retire_all(versions)

    def _config_of(self, found: Found) -> ModelConfig:
        """Return a model's configuration, read when its files have changed. Raises `ConfigError`."""
        if found.config_path is None:
            return ModelConfig()
        stamp = found.versions[found.newest].fingerprint
        known = self._configs.get(found.name)
        if known is None or known[0] != stamp:
            try:
                known = stamp, read_config(found.config_path)
            except ConfigError as error:
                known = stamp, str(error)
            self._configs[found.name] = known
        config = known[1]
        if isinstance(config, str):
            raise ConfigError(config)
        return config

    def _with_steps(self, found: Found, config: ModelConfig) -> Found:
        """Return an ensemble of which each version is another as soon as another model serves a step."""
        stamps: Fingerprint = ()
        with contextlib.suppress(StepUnavailable):
            stamps = tuple((m.name, int(m.version), m.serial, 0) for m in find_steps(config, self._find))
        versions = {v: replace(item, fingerprint=item.fingerprint + stamps) for v, item in found.versions.items()}
        return replace(found, versions=versions)

    async def _load(self, found: Found, item: FoundVersion, config: ModelConfig) -> ServedModel:
        """Load and warm a version. Raises `ConfigError`."""
        threads = config.instance_group.count * config.intra_op_num_threads
        if threads > self._cores:
            raise ConfigError(
                f"{item.path.parents[1] / 'config.toml'}: instance_group.count x intra_op_num_threads is {threads}, "
                f"more than the {self._cores} inference threads of this server (--threads; by default its cores)"
            )
        root = item.path.parents[2] if found.config_path is not None else None
        loaded = await self.call(LoadedModel, item.path, config, root)
        return serve_graph(found.name, item.version, loaded, self._workers, self._memory)

    def _reject(self, versions: Versions, item: FoundVersion, error: Exception) -> None:
        """Keep and tell why a version is not served."""
        is_known = isinstance(error, ConfigError)
        reason = str(error) if is_known else f"{item.path}: {type(error).__name__}: {error}"
        if reason != versions.reasons.get(item.version):
            what = f"version {item.version} of model {versions.name}" if versions.ready else f"model {versions.name}"
            log.error("%s is not served: %s", what, reason, exc_info=None if is_known else error)
        versions.reasons[item.version] = reason
