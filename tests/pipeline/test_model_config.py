"""A model's config.toml: what it may say, and what is said of it where it is wrong."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.model_config import (
    DynamicBatching,
    InstanceGroup,
    ModelConfig,
    QueuePolicy,
    WindowConfig,
    read_config,
)
from pipeline.window import WindowSpec

FULL = """
max_batch_size = 32
intra_op_num_threads = 2
inline_below_microseconds = 0

[dynamic_batching]
max_queue_delay_microseconds = 500
[dynamic_batching.default_queue_policy]
max_queue_size = 99
default_timeout_microseconds = 2_000_000

[instance_group]
count = 3

[window]
length = 100
hop = 10

[labels]
scores = ["sit", "walk"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_without_a_file_everything_has_its_default(path: Path) -> None:
    assert read_config(path) == ModelConfig()
    path.write_text("")
    assert read_config(path) == ModelConfig()
    assert ModelConfig().window_spec is None


def test_every_key_is_read(path: Path) -> None:
    path.write_text(FULL)
    config = read_config(path)
    assert config == ModelConfig(
        max_batch_size=32,
        dynamic_batching=DynamicBatching(500, QueuePolicy(99, 2_000_000)),
        instance_group=InstanceGroup(3),
        intra_op_num_threads=2,
        inline_below_microseconds=0,
        window=WindowConfig(100, 10),
        labels={"scores": ["sit", "walk"]},
    )
    assert config.window_spec == WindowSpec(100, 10)


WRONG = {
    "max_batch_size": ["'32'", "32.0", "true", "-1", "65537", "[32]", "2020-01-01"],
    "intra_op_num_threads": ["'2'", "1.0", "0", "1025"],
    "inline_below_microseconds": ["'x'", "0.5", "-1", "60_000_001"],
    "dynamic_batching": ["1", "[]", "'x'"],
    "dynamic_batching.max_queue_delay_microseconds": ["'x'", "1.5", "-1", "60_000_001"],
    "dynamic_batching.default_queue_policy": ["3"],
    "dynamic_batching.default_queue_policy.max_queue_size": ["'x'", "0", "1_000_001", "false"],
    "dynamic_batching.default_queue_policy.default_timeout_microseconds": ["'x'", "-1", "0.1"],
    "instance_group": ["1", "[{count = 1}]"],
    "instance_group.count": ["'x'", "0", "257", "1.0"],
    "window": ["10", "{}", "{length = 1}", "{hop = 1}"],
    "window.length": ["'x'", "0", "10_000_001", "1.0"],
    "window.hop": ["'x'", "0", "10_000_001", "1.0"],
    "labels": ["['a']", "1", "{scores = 1}", "{scores = 'walk'}", "{scores = ['a', 1]}"],
}
REST_OF_THE_TABLE = {"window.length": "window.hop = 1\n", "window.hop": "window.length = 1\n"}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_wrong_value_names_file_and_key(path: Path, key: str, value: str) -> None:
    path.write_text(f"{REST_OF_THE_TABLE.get(key, '')}{key} = {value}\n")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    file, named, reason = str(caught.value).split(": ", 2)
    assert file == str(path)
    assert named == key or (key == "labels" and named.startswith("labels["))
    assert reason.startswith(("Expected ", "Object missing required field "))


@pytest.mark.parametrize(
    "table", ["", "dynamic_batching", "dynamic_batching.default_queue_policy", "instance_group", "window"]
)
def test_an_unknown_key_names_file_and_key(path: Path, table: str) -> None:
    path.write_text((f"[{table}]\n" if table else "") + "lenght = 1\n")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: {table}")
    assert "unknown field `lenght`" in str(caught.value)


@pytest.mark.parametrize("content", [b"max_batch_size =", b"a = 1\na = 2", b"[window", b"max_batch_size = 1 # \xff"])
def test_what_is_no_toml_names_the_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.__cause__ is not None


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory") as caught:
        read_config(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ")
