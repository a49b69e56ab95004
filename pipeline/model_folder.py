"""Models on disk: `<root>/<name>/<version>/model.onnx`, with an optional `<name>/config.toml`.

An ensemble is a `<name>/config.toml` that says so; it needs no version folders.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.version_policy import is_version

Fingerprint = tuple[tuple[str, int, int, int], ...]  # of each file: path, bytes, mtime in nanoseconds, inode

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """A version's model file. Another fingerprint of its files, or of the configuration, is another model."""

    version: str
    path: Path
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class Found:
    """The versions of one model by number, and where its configuration may lie.

    An ensemble has no model file: the path of its versions is that of its configuration.
    """

    name: str
    versions: dict[str, FoundVersion]
    config_path: Path | None = None
    is_ensemble: bool = False

    @property
    def newest(self) -> str:
        """The largest number."""
        return max(self.versions, key=int)


@dataclass(frozen=True, slots=True)
class Look:
    """What was on the disk at one time: models by name, and what is wrong with folders that are none."""

    models: dict[str, Found] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()


def find_models(root: Path) -> Look:
    """Look for models below `root`. Raises `ConfigError` if `root` is no folder."""
    if not root.is_dir():
        raise ConfigError(f"models: {root} is not a folder")
    models, complaints = {}, []
    try:
        for folder in sorted(root.iterdir()):
            if folder.name.startswith((".", "_")) or not folder.is_dir():
                continue
            if not _NAME.fullmatch(folder.name):
                complaints.append(f"model folder {folder} is skipped: a name is letters, digits, '.', '_' and '-'")
                continue
            try:
                found = _look_into(folder)
            except OSError as error:
                complaints.append(f"model folder {folder} is skipped: {error.strerror}")
                continue
            if found:
                models[folder.name] = found
            else:
                complaints.append(f"model folder {folder} is skipped: expected {folder / '1' / 'model.onnx'}")
    except OSError as error:
        raise ConfigError(f"models: {error}") from error
    return Look(models, tuple(complaints))


def single_model(path: Path) -> Look:
    """Return one model file, served under its stem. Raises `ConfigError` where it cannot be."""
    if not path.is_file():
        raise ConfigError(f"model: {path} is not a file")
    if not _NAME.fullmatch(path.stem):
        raise ConfigError(f"model: {path.stem!r} is no model name: letters, digits, '.', '_' and '-'")
    version = FoundVersion("1", path, fingerprint(path))
    return Look({path.stem: Found(path.stem, {"1": version})})


def fingerprint(path: Path, config_path: Path | None = None) -> Fingerprint:
    """Return what tells whether a file of the version or the configuration changed; without one, `path` is alone."""
    if config_path is None:
        return tuple(_stamp(path))
    stamps = [stamp for file in sorted(config_path.parent.glob("config.*")) for stamp in _stamp(file)]
    for folder, folders, files in os.walk(path.parent):
        folders.sort()
        for name in sorted(files):
            stamps += _stamp(Path(folder, name))
    return tuple(stamps)


def moving(before: Found | None, after: Found | None) -> set[str]:
    """Return the versions that came, went or changed between two looks: they may be half there."""
    old = before.versions if before else {}
    new = after.versions if after else {}
    return {version for version in {*old, *new} if old.get(version) != new.get(version)}


def _look_into(folder: Path) -> Found | None:
    config_path = folder / "config.toml"
    numbers = [child.name for child in folder.iterdir() if is_version(child.name) and child.is_dir()]
    versions = {}
    for number in numbers:
        path = folder / number / "model.onnx"
        if path.is_file():
            versions[number] = FoundVersion(number, path, fingerprint(path, config_path))
    if not versions and (told := _ensemble_config(folder)):
        stamp = fingerprint(told, config_path)
        versions = {number: FoundVersion(number, told, stamp) for number in numbers or ["1"]}
        return Found(folder.name, versions, config_path, is_ensemble=True)
    return Found(folder.name, versions, config_path) if versions else None


def _ensemble_config(folder: Path) -> Path | None:
    """Return the configuration of an ensemble, to be read in full later; None where there is none."""
    for path in (folder / "config.toml", folder / "config.pbtxt"):
        if path.is_file():
            return path if b"ensemble_scheduling" in path.read_bytes() else None
    return None


def _stamp(path: Path) -> Iterator[tuple[str, int, int, int]]:
    try:
        status = path.stat()
    except OSError:  # gone since it was listed
        return
    yield str(path), status.st_size, status.st_mtime_ns, status.st_ino
