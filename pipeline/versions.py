"""The versions of one model: which are ready, which are not and why, and where requests lead."""

from collections.abc import Mapping
from typing import NoReturn

from pipeline.errors import ModelUnavailable, UnknownModel, WaterspoutError
from pipeline.messages import ModelInfo, VersionInfo
from pipeline.model_folder import Fingerprint
from pipeline.routes import Route, Routes
from pipeline.served_model import ServedModel


class Versions:
    """What is known of one model. Whoever changes `ready` or the labels calls `publish`, which is the swap."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.there: set[str] = set()  # on disk
        self.ready: dict[str, ServedModel] = {}
        self.loading: set[str] = set()
        self.retiring: list[ServedModel] = []
        self.reasons: dict[str, str] = {}  # why what lies on disk cannot be served
        self.tried: dict[str, Fingerprint] = {}  # what was loaded, or failed to
        self.labels: dict[str, str] = {}
        self._routes = Routes(name)
        self.is_held = False  # by an operator

    def __repr__(self) -> str:
        return f"<Versions {self.name} ready={sorted(self.ready, key=int)} broken={sorted(self.reasons, key=int)}>"

    @property
    def newest(self) -> ServedModel | None:
        """What serves requests that name no version."""
        return self.ready[max(self.ready, key=int)] if self.ready else None

    def find(self, version: str | None) -> ServedModel | None:
        """Return what serves a version, a label, or None: the newest; None where nothing does."""
        if self.is_held:
            return None
        return self.newest if version is None else self.ready.get(self.labels.get(version, version))

    def get(self, version: str | None) -> ServedModel:
        """Return the same. Raises `ModelUnavailable` for now, `UnknownModel` where there is no such version."""
        return self.find(version) or self._refuse(version)

    def route(self, version: str | None) -> Route:
        """Return the way there. Raises as `get` does."""
        return self._routes.to(version, self.get(version))

    def hold_back(self, *, is_held: bool) -> None:
        """Let nothing serve requests, by an operator's order, or let it serve again."""
        self.is_held = is_held
        self.publish()

    def publish(self) -> None:
        """Let all routes lead to what is ready now."""
        self._routes.update(self.find)

    def forgive(self) -> None:
        """Forget reasons that were not of a version itself, but of the configuration."""
        self.reasons = {version: reason for version, reason in self.reasons.items() if version in self.tried}

    def relabel(self, labels: Mapping[str, str]) -> None:
        """Take new labels; one whose version is not ready stays with the version that it had, if that still is."""
        had = self.labels
        self.labels = {
            label: had[label] if version not in self.ready and had.get(label) in self.ready else version
            for label, version in labels.items()
        }

    def info(self, version: str | None = None) -> ModelInfo:
        """Describe a version, or without one what is served, with the others beside it. Raises `UnknownModel`."""
        if version is not None:
            number = self.labels.get(version, version)
            if number not in self._known():
                raise UnknownModel(f"version: {version[:100]} of {self.name!r} is not served")
            return self._describe(number)
        model = self.newest
        numbers = self._told()
        info = self._describe(model.version if model is not None else numbers[-1])
        if len(numbers) > 1 or self.labels:
            info.versions = [self._summary(number) for number in numbers]
        return info

    def states(self) -> list[tuple[str, str]]:
        """Return number and state of the versions that `info` tells of, oldest first."""
        return [(number, self._state(number)[0] or "unavailable") for number in self._told()]

    def infos(self) -> list[ModelInfo]:
        """Describe every version there is, oldest first."""
        return [self._describe(version) for version in self._known()]

    def _known(self) -> list[str]:
        retiring = (model.version for model in self.retiring)
        return sorted({*self.there, *self.ready, *self.loading, *self.reasons, *retiring}, key=int)

    def _told(self) -> list[str]:
        """Return the versions that are more than files; where there are none, the newest."""
        known = self._known()
        return [number for number in known if self._state(number)[0]] or known[-1:]

    def _describe(self, version: str) -> ModelInfo:
        state, reason = self._state(version)
        if state == "ready":
            info = self.ready[version].info()
            info.reason = reason
            return info
        return ModelInfo(self.name, version, state or "unavailable", reason=reason)

    def _summary(self, version: str) -> VersionInfo:
        state, reason = self._state(version)
        labels = sorted(label for label, number in self.labels.items() if number == version)
        return VersionInfo(version, state or "unavailable", labels or None, reason)

    def _state(self, version: str) -> tuple[str, str | None]:
        """Return state and reason; no state where a version only lies on the disk."""
        reason = self.reasons.get(version)
        if version in self.ready:
            return ("unavailable", "drained by an operator") if self.is_held else ("ready", reason)
        if version in self.loading:
            return "loading", None
        if reason is not None:
            return "unavailable", reason
        if any(model.version == version for model in self.retiring):
            return "unloading", None
        return "", "not chosen by version_policy" if self.ready else "not loaded"

    def _refuse(self, version: str | None) -> NoReturn:
        """Raise what tells why nothing serves a version."""
        error: WaterspoutError
        known = self._known()
        number = self.labels.get(version, version) if version is not None else None
        what = f"model {self.name!r}" if version is None else f"version {version[:100]} of {self.name!r}"
        numbers = known if number is None else [number] if number in known else []
        states = dict(map(self._state, numbers))
        if self.is_held and (version is None or number in known):
            error = ModelUnavailable(f"{what} is drained by an operator")
        elif "loading" in states:
            error = ModelUnavailable(f"{what} is being loaded")
        elif "unavailable" in states:
            error = ModelUnavailable(f"{what} could not be loaded: {states['unavailable']}")
        elif "unloading" in states:
            error = ModelUnavailable(f"{what} is being unloaded")
        elif "" in states and not self.ready:
            error = ModelUnavailable(f"{what} is not loaded")
        elif version is None:
            error = UnknownModel(f"model: {self.name!r} is not served")
        else:
            served = ", ".join([*sorted(self.ready, key=int), *sorted(self.labels)]) or "none"
            error = UnknownModel(f"version: {version[:100]} of {self.name!r} is not served (served: {served})")
        raise error
