"""A model's config.toml: what it may say, and what is said of it where it is wrong."""

import re
import tomllib
from pathlib import Path

import pytest

from pipeline.config_files import read_config
from pipeline.errors import ConfigError
from pipeline.model_config import (
    DeclaredInput,
    DynamicBatching,
    InstanceGroup,
    ModelConfig,
    QueuePolicy,
    Warmup,
    WarmupInput,
    WindowConfig,
)
from pipeline.window import WindowSpec

FULL = """
max_batch_size = 32
allowed_batch_sizes = [1, 32]
latency_slo_microseconds = 20_000
execution_providers = ["cuda", "cpu"]
intra_op_num_threads = 2
inline_below_microseconds = 0

[dynamic_batching]
max_queue_delay_microseconds = 500
preferred_batch_size = [16, 32]
priority_levels = 3
default_priority_level = 2
[dynamic_batching.default_queue_policy]
max_queue_size = 99
default_timeout_microseconds = 2_000_000
allow_timeout_override = false
timeout_action = "REJECT"

[instance_group]
count = 3
kind = "KIND_GPU"

[[model_warmup]]
name = "typical"
batch_size = 4
count = 2
[model_warmup.inputs.x]
values = [1.0, 2.0]

[[input]]
name = "x"
data_type = "float32"
dims = [2]

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
        allowed_batch_sizes=[1, 32],
        latency_slo_microseconds=20_000,
        dynamic_batching=DynamicBatching(500, QueuePolicy(99, 2_000_000, False), [16, 32], 3, 2),
        instance_group=InstanceGroup(3, "KIND_GPU"),
        execution_providers=["cuda", "cpu"],
        intra_op_num_threads=2,
        inline_below_microseconds=0,
        window=WindowConfig(100, 10),
        labels={"scores": ["sit", "walk"]},
        input=[DeclaredInput("x", "float32", [2])],
        model_warmup=[Warmup("typical", 4, 2, {"x": WarmupInput([1.0, 2.0])})],
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


NEW_WRONG = {
    "allowed_batch_sizes": ["1", "['x']", "[0]", "[65537]", "[4, 2]", "[2, 2]"],
    "latency_slo_microseconds": ["'x'", "-1", "1.5", "60_000_001"],
    "dynamic_batching.preferred_batch_size": ["4", "[0]", "['x']", "[4]"],
    "dynamic_batching.priority_levels": ["'x'", "-1", "65"],
    "dynamic_batching.default_priority_level": ["'x'", "-1", "65", "1"],
    "dynamic_batching.default_queue_policy.allow_timeout_override": ["1", "'true'"],
    "dynamic_batching.default_queue_policy.timeout_action": ["'DELAY'", "'reject'", "0"],
    "instance_group.kind": ["'cpu'", "'KIND_MODEL'", "1"],
    "execution_providers": ["'cpu'", "[]", "[1]"],
    "sha256": ["'abc'", "1", "{0 = 'abc'}", "{1 = 'abc'}", f"'{'g' * 64}'", "{1 = {'w.bin' = 'abc'}}", "{1 = {w = 1}}"],
    "model_warmup": ["{}", "[1]", "[{batch_size = 0}]", "[{count = 0}]", "[{count = 10_001}]", "[{inputs = {x = 1}}]"],
    "input": [
        "1",
        "[{}]",
        "[{name = 'x'}]",
        "[{name = 'x', data_type = 'float32', dims = [-2]}]",
        "[{name = 'x', data_type = 'float32', dims = [2], optional = 1}]",
    ],
    "output": ["[{name = 'x', data_type = 'float32', dims = [2], optional = true}]"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in NEW_WRONG.items() for value in values])
def test_a_wrong_value_or_rule_names_file_and_key(path: Path, key: str, value: str) -> None:
    path.write_text(f"{key} = {value}\n")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: {key}")


RULES = {
    "dynamic_batching.default_priority_level: expected 1 to 2, got 3": (
        "dynamic_batching = {priority_levels = 2, default_priority_level = 3}"
    ),
    "dynamic_batching.default_priority_level: expected 1 to 2, got 0": "dynamic_batching.priority_levels = 2",
    "dynamic_batching.default_priority_level: needs priority_levels": "dynamic_batching.default_priority_level = 1",
    "dynamic_batching.preferred_batch_size: 8 above max_batch_size 4": (
        "max_batch_size = 4\ndynamic_batching.preferred_batch_size = [2, 8]"
    ),
    "dynamic_batching.preferred_batch_size: 8 needs max_batch_size": "dynamic_batching.preferred_batch_size = [8]",
    "allowed_batch_sizes: the largest must be max_batch_size 8, it is 4": (
        "max_batch_size = 8\nallowed_batch_sizes = [1, 4]"
    ),
    "dynamic_batching.max_queue_delay_microseconds: 500 leaves nothing of latency_slo_microseconds": (
        "latency_slo_microseconds = 500\ndynamic_batching.max_queue_delay_microseconds = 500"
    ),
    "model_warmup[1].batch_size: 5 is above max_batch_size": (
        "max_batch_size = 4\nmodel_warmup = [{batch_size = 4}, {batch_size = 5}]"
    ),
    "model_warmup[0].inputs[...].values: expected only one of": (
        "model_warmup = [{inputs = {x = {values = [1], zero_data = true}}}]"
    ),
    "window: events are samples, the input 'x' cannot be optional": (
        "window = {length = 2, hop = 1}\ninput = [{name = 'x', data_type = 'float32', dims = [2], optional = true}]"
    ),
    "timeout_action: DELAY is not served": "dynamic_batching.default_queue_policy.timeout_action = 'DELAY'",
}


@pytest.mark.parametrize(("reason", "text"), RULES.items())
def test_values_that_do_not_go_together_are_refused_by_key(path: Path, reason: str, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


DIGEST = "0123456789abcdef" * 4


def test_a_digest_is_that_of_the_model_or_of_a_version(path: Path) -> None:
    path.write_text(f"sha256 = '{DIGEST}'")
    assert read_config(path).digests("7") == {"model.onnx": DIGEST}
    path.write_text(f"sha256 = {{2 = '{DIGEST}'}}")
    assert [read_config(path).digests(version) for version in ("1", "2")] == [None, {"model.onnx": DIGEST}]
    path.write_text(f"[sha256.2]\n'model.onnx' = '{DIGEST}'\n'w.bin' = '{DIGEST}'")
    assert read_config(path).digests("2") == {"model.onnx": DIGEST, "w.bin": DIGEST}


def test_allowed_batch_sizes_say_how_large_a_batch_may_be(path: Path) -> None:
    path.write_text("allowed_batch_sizes = [1, 8, 32]\n[dynamic_batching]\npreferred_batch_size = [32]")
    assert read_config(path).largest_batch == 32
    path.write_text("max_batch_size = 0")
    assert read_config(path).largest_batch == 0


def test_the_example_of_the_reference_is_valid_and_says_every_key(path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    example = re.search(r"## config\.toml\n.*?```toml\n(.*?)```", docs, re.DOTALL)
    assert example is not None
    path.write_text(example[1])
    read_config(path)
    assert tomllib.loads(example[1]).keys() == set(ModelConfig.__struct_fields__) - {"output", "ensemble_scheduling"}
