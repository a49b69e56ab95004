"""Which versions of a model are served, and what their labels mean."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from pipeline.errors import ConfigError

VERSION_PATTERN = "^[1-9][0-9]{0,17}$"

Version = Annotated[int, Meta(ge=1, lt=10**18)]
VersionName = Annotated[str, Meta(pattern=VERSION_PATTERN)]

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(VERSION_PATTERN)


class Latest(Struct, frozen=True, forbid_unknown_fields=True):
    """The newest versions: those with the largest numbers."""

    num_versions: Annotated[int, Meta(ge=1)] = 1


class Specific(Struct, frozen=True, forbid_unknown_fields=True):
    """The versions of a list, and no others."""

    versions: Annotated[list[Version], Meta(min_length=1)]


class VersionPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of the three; the newest version where none is given."""

    latest: Latest | None = None
    all: dict[str, Any] | None = None  # a table without keys
    specific: Specific | None = None

    def __post_init__(self) -> None:
        if sum(choice is not None for choice in (self.latest, self.all, self.specific)) > 1:
            raise ValueError("Expected one of latest, all and specific")
        if self.all:
            raise ValueError(f"Object contains unknown field `all.{next(iter(self.all))}`")

    def select(self, versions: Iterable[str]) -> list[str]:
        """Return the versions to serve out of those that are there, oldest first."""
        there = sorted(versions, key=int)
        if self.specific is not None:
            wanted = {str(version) for version in self.specific.versions}
            return [version for version in there if version in wanted]
        if self.all is not None:
            return there
        return there[-(self.latest or Latest()).num_versions :]

    def missing(self, versions: Iterable[str]) -> list[str]:
        """Return the versions that the policy names and that are not there, oldest first."""
        if self.specific is None:
            return []
        return [str(version) for version in sorted({*self.specific.versions} - {int(version) for version in versions})]


def is_version(text: str) -> bool:
    """Return whether `text` is the number of a version: a positive integer without leading zeros."""
    return _VERSION.fullmatch(text) is not None


def check_labels(labels: Mapping[str, int], served: Iterable[str]) -> dict[str, str]:
    """Return the version behind each label. Raises `ConfigError` for one that is no name, or whose version is not."""
    numbers = list(served)
    for label, version in labels.items():
        if not _LABEL.fullmatch(label):
            raise ConfigError(
                f"version_labels: {label[:64]!r} is no label: a letter, then letters, digits, '.', '_', '-'"
            )
        if str(version) not in numbers:
            known = ", ".join(numbers) or "none"
            raise ConfigError(f"version_labels.{label}: version {version} is not served (version_policy: {known})")
    return {label: str(version) for label, version in labels.items()}
