"""Models on disk: `<root>/<name>/<version>/model.onnx`, with an optional `<name>/config.toml`."""

import asyncio
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.config_files import read_config
from pipeline.errors import ConfigError, ModelUnavailable, UnknownModel
from pipeline.messages import ModelInfo
from pipeline.model_config import ModelConfig
from pipeline.served_model import LoadedModel, ServedModel
from pipeline.stats import ServerStats
from pipeline.workers import WorkerPool

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Found:
    """A model file and where its configuration may lie."""

    name: str
    version: str
    path: Path
    config_path: Path | None = None


class Repository:
    """The models of this process: loaded once, found by name."""

    def __init__(self, stats: ServerStats, workers: WorkerPool, cores: int) -> None:
        self._stats = stats
        self._workers = workers
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._cores = cores
        self._ready: dict[str, ServedModel] = {}
        self._broken: dict[str, ModelInfo] = {}
        self._loading: set[str] = set()

    def __repr__(self) -> str:
        return f"<Repository ready={sorted(self._ready)} broken={sorted(self._broken)}>"

    def __iter__(self) -> Iterator[ServedModel]:
        """Iterate over the models that are ready, by name."""
        return iter([self._ready[name] for name in sorted(self._ready)])

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """Return the model. Raises `UnknownModel`, or `ModelUnavailable` if it could not be loaded."""
        model = self._ready.get(name)
        if model is None:
            if name in self._broken:
                raise ModelUnavailable(f"model {name!r} could not be loaded: {self._broken[name].reason}")
            if name in self._loading:
                raise ModelUnavailable(f"model {name!r} is being loaded")
            raise UnknownModel(f"model: {name[:128]!r} is not served")
        if version is not None and version != model.version:
            raise UnknownModel(f"version: {version[:32]} of {name!r} is not served, {model.version} is")
        return model

    def describe(self, name: str) -> ModelInfo:
        """Return a model's description, broken or not. Raises `UnknownModel`."""
        return self._broken[name] if name in self._broken else self.get(name).info()

    def describe_all(self) -> list[ModelInfo]:
        """Return the descriptions of all models, by name."""
        return [self.describe(name) for name in sorted({*self._ready, *self._broken})]

    @property
    def broken(self) -> list[str]:
        """Names of the models that could not be loaded."""
        return sorted(self._broken)

    async def load_all(self, found: list[Found]) -> None:
        """Load and warm models one after the other; one that cannot be served is reported and left out."""
        self._loading = {item.name for item in found}
        for item in found:
            try:
                await self._load(item)
            except Exception as error:  # a fault of one model must not stop the others
                is_known = isinstance(error, ConfigError)
                reason = str(error) if is_known else f"{item.path}: {type(error).__name__}: {error}"
                log.error("model %s is not served: %s", item.name, reason, exc_info=None if is_known else error)  # noqa: TRY400
                self._broken[item.name] = ModelInfo(item.name, item.version, "unavailable", reason=reason)
            self._loading.discard(item.name)

    async def drained(self) -> None:
        """Wait until no model has anything waiting or running."""
        for model in self:
            await model.engine.drained()

    def close(self) -> None:
        """Refuse further rows, and load nothing more."""
        self._loader.shutdown(wait=False, cancel_futures=True)
        for model in self:
            model.engine.close()

    async def _load(self, item: Found) -> None:
        config = read_config(item.config_path) if item.config_path else ModelConfig()
        threads = config.instance_group.count * config.intra_op_num_threads
        if threads > self._cores:
            raise ConfigError(
                f"{item.config_path}: instance_group.count x intra_op_num_threads is {threads}, "
                f"more than the {self._cores} cores of this machine"
            )
        loop = asyncio.get_running_loop()
        loaded = await loop.run_in_executor(self._loader, LoadedModel, item.path, config)
        model = ServedModel(item.name, item.version, loaded, self._workers)
        self._ready[item.name] = model
        self._stats.models[item.name, item.version] = model.engine.stats
        log.info("model %s version %s is ready: batches of up to %d", item.name, item.version, model.max_batch_size)


def find_models(root: Path) -> list[Found]:
    """Return the newest version of every model below `root`. Raises `ConfigError` if `root` is no folder."""
    if not root.is_dir():
        raise ConfigError(f"models: {root} is not a folder")
    try:
        return list(_look_into(root))
    except OSError as error:
        raise ConfigError(f"models: {error}") from error


def _look_into(root: Path) -> Iterator[Found]:
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith((".", "_")):
            continue
        if not _NAME.fullmatch(folder.name):
            log.error("model folder %s is skipped: a name is letters, digits, '.', '_' and '-'", folder)
            continue
        versions = [v for v in folder.iterdir() if _VERSION.fullmatch(v.name) and (v / "model.onnx").is_file()]
        if not versions:
            log.error("model folder %s is skipped: expected %s", folder, folder / "1" / "model.onnx")
            continue
        newest = max((version.name for version in versions), key=int)
        yield Found(folder.name, newest, folder / newest / "model.onnx", folder / "config.toml")


def single_model(path: Path) -> Found:
    """Return one model file, served under its stem. Raises `ConfigError` where it cannot be."""
    if not path.is_file():
        raise ConfigError(f"model: {path} is not a file")
    if not _NAME.fullmatch(path.stem):
        raise ConfigError(f"model: {path.stem!r} is no model name: letters, digits, '.', '_' and '-'")
    return Found(path.stem, "1", path)
