"""Model files are looked at before ONNX Runtime opens them: where they lie, how large they are, what they point to."""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from pipeline.errors import ConfigError
from pipeline.model_config import MODEL_FILE
from pipeline.onnx_wire import OnnxHeader, read_header

MAX_FILE_BYTES = 4 * 2**30


def check_model_file(
    path: Path, root: Path | None = None, *, max_bytes: int = MAX_FILE_BYTES, sha256: Mapping[str, str] | None = None
) -> OnnxHeader:
    """Check a model file and the files of external data that it names; return what it says of itself.

    All of them must lie below `root`, links resolved (None: below the model's own folder), and hold at most
    `max_bytes` each. With `sha256`, by path below the model's folder, all of them must be in it and be as it says.
    Raises `ConfigError` with file and reason.
    """
    home = (root or path.parent).resolve()
    _check_place(path, home, path)
    _check_size(path, max_bytes, path)
    try:
        data = path.read_bytes()  # not mapped: a mapped file that is cut off meanwhile would end the process
        if sha256 is not None:
            _check_digest(MODEL_FILE, hashlib.sha256(data).hexdigest(), sha256, path)
        header = read_header(data)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path}: not an ONNX file: {error}") from error
    for location in sorted(header.locations):
        _check_location(location, path)
        target = path.parent / location
        _check_place(target, home, path)
        _check_size(target, max_bytes, path)
    if sha256 is not None:
        _check_digests(header.locations, sha256, path)
    return header


def _check_digests(locations: set[str], sha256: Mapping[str, str], path: Path) -> None:
    """Check the files of external data, and that no other file is named."""
    files = {str(PurePosixPath(location)): path.parent / location for location in locations}
    if unknown := sorted(sha256.keys() - files.keys() - {MODEL_FILE}):
        raise ConfigError(f"{path}: sha256: {unknown[0][:200]!r} is no file of this model, it has {_list(files)}")
    for name in sorted(files):
        try:
            with files[name].open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"{_naming(files[name], path)}: {error}") from error
        _check_digest(name, found, sha256, path)


def _check_digest(name: str, found: str, sha256: Mapping[str, str], path: Path) -> None:
    if name not in sha256:
        raise ConfigError(f"{path}: sha256: there is none for {name!r}, whose contents are as much the model's")
    if found != sha256[name].lower():
        raise ConfigError(f"{path}: sha256: expected {sha256[name].lower()} of {name}, it is {found}")


def _list(files: Mapping[str, Path]) -> str:
    return ", ".join([MODEL_FILE, *sorted(files)])


def _check_location(location: str, path: Path) -> None:
    """Refuse what does not plainly name a file below the model's folder, on any platform."""
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    outside = posix.is_absolute() or windows.is_absolute() or windows.drive or windows.root
    if not location or "\0" in location or outside or ".." in posix.parts or ".." in windows.parts:
        raise ConfigError(f"{path}: external data {location[:200]!r}: expected a path below the model's folder")


def _check_place(path: Path, home: Path, model: Path) -> None:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{_naming(path, model)}: {error}") from error
    if not real.is_relative_to(home):
        raise ConfigError(f"{_naming(path, model)}: leads out of {home}")


def _check_size(path: Path, max_bytes: int, model: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{_naming(path, model)}: is no file")
    size = path.stat().st_size
    if size > max_bytes:
        raise ConfigError(f"{_naming(path, model)}: {size} bytes, more than the {max_bytes} that are allowed")


def _naming(path: Path, model: Path) -> str:
    return str(path) if path == model else f"{model}: external data {path.name!r}"
