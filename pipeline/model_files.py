"""Model files are looked at before ONNX Runtime opens them: where they lie, how large they are, what they point to."""

import hashlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from pipeline.errors import ConfigError
from pipeline.onnx_wire import OnnxHeader, read_header

MAX_FILE_BYTES = 4 * 2**30


def check_model_file(
    path: Path, root: Path | None = None, *, max_bytes: int = MAX_FILE_BYTES, sha256: str | None = None
) -> OnnxHeader:
    """Check a model file and the files of external data that it names; return what it says of itself.

    All of them must lie below `root`, links resolved (None: below the model's own folder), and hold at most
    `max_bytes` each. Raises `ConfigError` with file and reason.
    """
    home = (root or path.parent).resolve()
    _check_place(path, home, path)
    _check_size(path, max_bytes, path)
    try:
        data = path.read_bytes()  # not mapped: a mapped file that is cut off meanwhile would end the process
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256.lower():
            raise ConfigError(f"{path}: sha256: expected {sha256.lower()}, it is {hashlib.sha256(data).hexdigest()}")
        header = read_header(data)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path}: not an ONNX file: {error}") from error
    for location in sorted(header.locations):
        _check_location(location, path)
        target = path.parent / location
        _check_place(target, home, path)
        _check_size(target, max_bytes, path)
    return header


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
