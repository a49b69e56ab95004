"""The file that configures a model: its config.toml, or Triton's config.pbtxt where only that is there."""

import logging
import tomllib
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.model_config import ModelConfig, to_config

log = logging.getLogger(__name__)


def read_config(path: Path) -> ModelConfig:
    """Read a config.toml, or Triton's config.pbtxt where only that lies beside it; else return the defaults.

    What a config.pbtxt asks for and is not served is named in the log. Raises `ConfigError` with file, key and reason.
    """
    if not path.exists():
        theirs = path.with_name("config.pbtxt")
        return _read_theirs(theirs) if theirs.exists() else ModelConfig()
    try:
        return to_config(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _read_theirs(path: Path) -> ModelConfig:
    from pipeline.triton_config import read_triton_config  # needs packages that only such a file asks for

    config, ignored = read_triton_config(path)
    if ignored:
        log.warning("%s: not honoured: %s", path, ", ".join(ignored))
    return config
