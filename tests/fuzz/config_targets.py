"""Files of operators: read, or refused with a reason that names the file."""

import contextlib
from pathlib import Path
from typing import Final

from pipeline.config_files import read_config
from pipeline.errors import ConfigError
from pipeline.onnx_wire import read_header
from pipeline.settings import read_settings

from .files import written


def _read(path: Path) -> None:
    """Read a model's configuration; what is refused names its file."""
    try:
        read_config(path.with_name("config.toml"))
    except ConfigError as error:
        if str(path) not in str(error):
            raise


def config_toml(data: bytes) -> None:
    """A model's config.toml."""
    _read(written("toml/config.toml", data))


def config_pbtxt(data: bytes) -> None:
    """Triton's config.pbtxt."""
    _read(written("pbtxt/config.pbtxt", data))


def settings(data: bytes) -> None:
    """The server's own settings."""
    path = written("settings.toml", data)
    with contextlib.suppress(ConfigError):
        read_settings(["--config", str(path)])


def onnx(data: bytes) -> None:
    """A model's file, as far as it is read before ONNX Runtime opens it."""
    with contextlib.suppress(ValueError):
        read_header(data)


TARGETS: Final = {"config_toml": config_toml, "config_pbtxt": config_pbtxt, "settings": settings, "onnx": onnx}

SEEDS: Final[dict[str, list[bytes]]] = {
    "config_toml": [
        b'max_batch_size = 8\ninline_below_microseconds = 0\nlabels = ["a"]\n[window]\nlength = 3\nhop = 1\n',
        b"[dynamic_batching]\nmax_queue_delay_microseconds = 10\npriority_levels = 2\ndefault_priority_level = 1\n",
        b'[[alert]]\nname = "a"\noutput = "y"\nabove = 1.5\nfor = 2\n[version_policy]\nlatest = 2\n',
        b'[[ensemble_scheduling.step]]\nmodel_name = "a"\ninput_map = {x = "y"}\noutput_map = {y = "z"}\n',
    ],
    "config_pbtxt": [
        b'name: "a" backend: "onnxruntime" max_batch_size: 16 input [{name: "x" data_type: TYPE_FP32 dims: [3]}]',
        b"dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 100 }",
        b"instance_group [{count: 2 kind: KIND_CPU}]\nversion_policy {latest {num_versions: 2}}",
        b'model_warmup [{name: "z" batch_size: 4 inputs {key: "x" value: {dims: [3] zero_data: true}}}]',
    ],
    "settings": [
        b'address = "127.0.0.1"\nport = 1\nprocesses = 2\nallowed_origins = ["http://a"]\n',
        b'redis = "redis://a:1/0"\nrole = "gateway"\nwebhook_secret = "whsec_YQ=="\nmax_message_bytes = 128\n',
    ],
    "onnx": [b"\x08\x08\x3a\x05\x0a\x03\x22\x01a\x42\x04\x0a\x00\x10\x11", b"\x3a\x00"],
}
