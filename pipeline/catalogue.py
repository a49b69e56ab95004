"""Models by name and version, wherever they run: what those ask who serve them."""

from collections.abc import Iterator

from pipeline.errors import UnknownModel
from pipeline.messages import ModelInfo
from pipeline.routes import Route
from pipeline.served_model import ServedModel
from pipeline.versions import Versions


class Catalogue:
    """All that can be asked of models. Who fills `_models` belongs to the loop's thread."""

    def __init__(self) -> None:
        self._models: dict[str, Versions] = {}

    def __iter__(self) -> Iterator[ServedModel]:
        """Iterate over the models that are ready, by name and version."""
        return iter([m.ready[version] for m in self._sorted() for version in sorted(m.ready, key=int)])

    @property
    def retiring(self) -> list[ServedModel]:
        """Models that serve no more and have yet to finish what they have."""
        raise NotImplementedError

    @property
    def broken(self) -> list[str]:
        """Names of the models of which no version is ready, and one could not be loaded."""
        return [versions.name for versions in self._sorted() if versions.reasons and not versions.ready]

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """Return the newest ready version, or the one of a number or label.

        Raises `UnknownModel`, or `ModelUnavailable` where there is one which cannot serve now.
        """
        return self._versions_of(name).get(version)

    def route(self, name: str, version: str | None = None) -> Route:
        """Return the way to the same, now and after swaps. Raises as `get` does."""
        return self._versions_of(name).route(version)

    def versions(self, name: str) -> list[str]:
        """Return the ready versions of a model, oldest first. Raises `UnknownModel`."""
        return sorted(self._versions_of(name).ready, key=int)

    def index(self) -> list[ModelInfo]:
        """Describe every version of every model, ready or not."""
        return [info for versions in self._sorted() for info in versions.infos()]

    def describe(self, name: str, version: str | None = None) -> ModelInfo:
        """Describe a model by what serves it, or one of its versions; ready or not. Raises `UnknownModel`."""
        return self._versions_of(name).info(version)

    def describe_all(self) -> list[ModelInfo]:
        """Describe each model by what serves it."""
        return [versions.info() for versions in self._sorted()]

    def states(self) -> list[tuple[str, str, str]]:
        """Return model, version and state of what `describe_all` tells of."""
        return [(versions.name, *state) for versions in self._sorted() for state in versions.states()]

    async def load(self, name: str) -> None:
        """Load a model by name. Raises `UnknownModel`, or `ConfigError` with the reason why that cannot be."""
        raise NotImplementedError

    async def unload(self, name: str, *, with_steps: bool = False) -> None:
        """Serve a model no more until `load` names it. Raises as `load` does."""
        raise NotImplementedError

    def is_held(self, name: str) -> bool:
        """Return whether a model is held back. Raises `UnknownModel`."""
        return self._versions_of(name).is_held

    def hold_back(self, name: str) -> None:
        """Let a model take no further rows. Raises `UnknownModel`."""
        self._versions_of(name).hold_back(is_held=True)

    async def settled(self, name: str) -> None:
        """Wait until all that a model has taken is answered. Raises `UnknownModel`."""
        for model in list(self._versions_of(name).ready.values()):
            await model.engine.drained()

    def resume(self, name: str) -> None:
        """Let a model that was held back take rows again. Raises `UnknownModel`."""
        self._versions_of(name).hold_back(is_held=False)

    async def drained(self) -> None:
        """Wait until no model has anything waiting or running."""
        while busy := [model for model in [*self, *self.retiring] if model.engine.is_busy]:
            await busy[0].engine.drained()  # which may be the step of another

    def close(self) -> None:
        """Refuse further rows."""
        for model in [*self, *self.retiring]:
            model.engine.close()

    def _sorted(self) -> list[Versions]:
        return [self._models[name] for name in sorted(self._models)]

    def _versions_of(self, name: str) -> Versions:
        versions = self._models.get(name)
        if versions is None:
            raise UnknownModel(f"model: {name[:128]!r} is not served")
        return versions
