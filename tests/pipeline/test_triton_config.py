"""Triton's config.pbtxt, as its users write it, read in place of a config.toml."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config_files import read_config
from pipeline.ensemble_config import EnsembleScheduling, EnsembleStep
from pipeline.errors import ConfigError
from pipeline.loaded_model import LoadedModel
from pipeline.model_config import (
    DeclaredInput,
    DeclaredTensor,
    DynamicBatching,
    InstanceGroup,
    ModelConfig,
    QueuePolicy,
    Warmup,
    WarmupInput,
)
from pipeline.triton_config import read_triton_config
from tests import onnx_models as onnx

FULL = """
# a classifier
name: "sorter"
backend: "onnxruntime"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [
  {
    name: "scores"
    data_type: TYPE_FP32
    dims: [ 2 ]
    label_filename: "labels.txt"
  }
]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: 50000
    allow_timeout_override: true
    max_queue_size: 64
  }
}
instance_group [ { count: 2 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
model_warmup [
  {
    name: "zeros"
    batch_size: 4
    count: 3
    inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } }
  },
  {
    name: "noise"
    batch_size: 1
    inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 3 ] random_data: true } }
  }
]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sorter"
    onnx.save(onnx.gemm(np.ones((3, 2)), np.zeros(2)), folder / "1" / "model.onnx")
    (folder / "labels.txt").write_text("left\nright\n")
    return folder


def read(folder: Path, text: str) -> tuple[ModelConfig, list[str]]:
    (folder / "config.pbtxt").write_text(text)
    return read_triton_config(folder / "config.pbtxt")


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    file = f"{folder / 'config.pbtxt'}: "
    assert str(caught.value).startswith(file)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(file)


def test_every_field_that_is_served_is_read(folder: Path) -> None:
    config, ignored = read(folder, FULL)
    assert ignored == []
    assert config == ModelConfig(
        max_batch_size=16,
        dynamic_batching=DynamicBatching(100, QueuePolicy(64, 50_000), [4, 8], 3, 2),
        instance_group=InstanceGroup(2, "KIND_CPU"),
        intra_op_num_threads=2,
        labels={"scores": ["left", "right"]},
        input=[DeclaredInput("x", "float32", [3])],
        output=[DeclaredTensor("scores", "float32", [2])],
        model_warmup=[
            Warmup("zeros", 4, 3, {"x": WarmupInput(zero_data=True, dims=[3], data_type="float32")}),
            Warmup("noise", 1, 1, {"x": WarmupInput(random_data=True, dims=[3], data_type="float32")}),
        ],
    )
    loaded = LoadedModel(folder / "1" / "model.onnx", config)
    assert loaded.max_batch_size == 16
    assert loaded.model.run([loaded.model.blank_row()[0]]).labels == ["left"]


def test_it_is_read_where_there_is_no_config_toml(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / "config.toml"
    assert read_config(path) == ModelConfig()
    (folder / "config.pbtxt").write_text("max_batch_size: 8\nresponse_cache { enable: true }")
    assert read_config(path) == ModelConfig(max_batch_size=8)
    assert caplog.messages == [f"{folder / 'config.pbtxt'}: not honoured: response_cache"]
    path.write_text("max_batch_size = 4")
    assert read_config(path) == ModelConfig(max_batch_size=4)


HONOURED: dict[str, dict[str, Any]] = {
    "": {},
    "platform: 'onnxruntime_onnx'": {},
    "max_batch_size: 8 dynamic_batching { }": {"max_batch_size": 8},
    "instance_group [ { kind: KIND_GPU } ]": {"instance_group": InstanceGroup(1, "KIND_GPU")},
    "instance_group [ { count: 1 }, { count: 2 } ]": {"instance_group": InstanceGroup(3)},
    "input { name: 'x' data_type: TYPE_FP32 dims: [ -1, 3 ] }": {
        "input": [DeclaredInput("x", "float32", [-1, 3])],
        "max_batch_size": 0,
    },
    "input { name: 'x' data_type: TYPE_FP32 dims: [ 3 ] optional: true }": {
        "input": [DeclaredInput("x", "float32", [3], True)],
        "max_batch_size": 0,
    },
    "max_batch_size: 4 dynamic_batching { default_queue_policy { max_queue_size: 9 } }": {
        "max_batch_size": 4,
        "dynamic_batching": DynamicBatching(0, QueuePolicy(9, 0, allow_timeout_override=False)),
    },
    "optimization { execution_accelerators { cpu_execution_accelerator : [ { name : 'openvino' } ] } }": {
        "execution_providers": ["openvino", "auto"]
    },
    "optimization { execution_accelerators { gpu_execution_accelerator : [ { name : 'tensorrt' } ] } }": {
        "execution_providers": ["tensorrt", "auto"]
    },
    "output { name: 'y' data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } }": {
        "output": [DeclaredTensor("y", "string", [])]
    },
}


@pytest.mark.parametrize(("text", "expected"), HONOURED.items(), ids=list(HONOURED))
def test_what_triton_users_write_is_taken(text: str, expected: dict[str, Any], folder: Path) -> None:
    assert read(folder, text)[0] == ModelConfig(**expected)


IGNORED = {
    "response_cache { enable: true }": ["response_cache"],
    "model_transaction_policy { decoupled: true }": ["model_transaction_policy"],
    "instance_group [ { kind: KIND_GPU gpus: [ 0, 1 ] } ]": ["instance_group[0].gpus"],
    "instance_group [ { kind: KIND_MODEL } ]": ["instance_group.kind (KIND_MODEL)"],
    "optimization { graph { level: 1 } cuda { graphs: true } }": ["optimization.graph", "optimization.cuda"],
    "optimization { execution_accelerators { gpu_execution_accelerator : [ { name : 'tensorrt' "
    "parameters { key: 'precision_mode' value: 'FP16' } } ] } }": [
        "optimization.execution_accelerators.gpu_execution_accelerator[tensorrt].parameters[precision_mode]"
    ],
    "optimization { execution_accelerators { cpu_execution_accelerator : [ { name : 'magic' } ] } }": [
        "optimization.execution_accelerators.cpu_execution_accelerator[magic]"
    ],
    "parameters { key: 'enable_mem_arena' value: { string_value: '0' } }": ["parameters[enable_mem_arena]"],
    "max_batch_size: 4 dynamic_batching { priority_levels: 2 default_priority_level: 1 "
    "priority_queue_policy { key: 1 value: { max_queue_size: 3 } } }": ["dynamic_batching.priority_queue_policy"],
    "input { name: 'x' data_type: TYPE_FP32 dims: [ 3 ] reshape { shape: [ 1, 3 ] } }": ["input[x].reshape"],
    "model_warmup [ { name: 'w' batch_size: 1 inputs { key: 'x' value: { data_type: TYPE_FP32 dims: [ 3 ] "
    "input_data_file: 'raw' } } } ]": ["model_warmup[0].inputs[x].input_data_file"],
}


@pytest.mark.parametrize(("text", "expected"), IGNORED.items(), ids=list(IGNORED))
def test_what_is_not_honoured_is_named(text: str, expected: list[str], folder: Path) -> None:
    assert read(folder, text)[1] == expected


ENSEMBLE = """
name: "sorter"
platform: "ensemble"
max_batch_size: 16
input [ { name: "IMAGE" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "CLASS" data_type: TYPE_INT64 dims: [ 1 ] } ]
ensemble_scheduling {
  step [
    {
      model_name: "scale"
      model_version: -1
      input_map { key: "x" value: "IMAGE" }
      output_map { key: "scores" value: "scaled" }
    },
    {
      model_name: "classify"
      model_version: 3
      model_namespace: "elsewhere"
      input_map { key: "x" value: "scaled" }
      output_map { key: "class" value: "CLASS" }
    }
  ]
}
"""


def test_an_ensemble_of_triton_is_one_of_ours(folder: Path) -> None:
    config, ignored = read(folder, ENSEMBLE)
    assert config.ensemble_scheduling == EnsembleScheduling(
        [
            EnsembleStep("scale", {"scores": "scaled"}, {"x": "IMAGE"}),
            EnsembleStep("classify", {"class": "CLASS"}, {"x": "scaled"}, 3),
        ]
    )
    assert (config.max_batch_size, [tensor.name for tensor in config.input]) == (16, ["IMAGE"])
    assert ignored == ["ensemble_scheduling.step[1].model_namespace"]


REFUSED = {
    "name: 'other'": "name: expected the name of the folder, 'sorter', got 'other'",
    "backend: 'python'": "backend: 'python' is not served, expected onnxruntime",
    "platform: 'tensorflow_savedmodel'": "backend: 'tensorflow_savedmodel' is not served",
    "platform: 'ensemble'": "platform: 'ensemble', but ensemble_scheduling is what makes an ensemble",
    "backend: 'onnxruntime' ensemble_scheduling { step [ { model_name: 'a' } ] }": "'onnxruntime', but",
    "ensemble_scheduling { step [ { model_name: 'a' model_version: -1 } ] }": "ensemble_scheduling.step",
    "platform: 'ensemble' ensemble_scheduling { step [ { output_map { key: 'y' value: 'y' } } ] }": "model_name",
    "sequence_batching { max_sequence_idle_microseconds: 5 }": "sequence_batching: models that keep state",
    "batch_input { target_name: 'n' }": "batch_input: inputs that the server makes up",
    "max_batch_sizes: 3": "max_batch_sizes",
    "max_batch_size: 'x'": "'x'",
    "max_batch_size: -1": "max_batch_size: Expected `int` >= 0",
    "max_batch_size: 99999": "max_batch_size: Expected `int` <= 65536",
    "max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 8 ] }": "preferred_batch_size: 8 above",
    "dynamic_batching { default_queue_policy { timeout_action: DELAY } }": "timeout_action: DELAY is not served",
    "default_model_filename: 'net.onnx'": "default_model_filename: expected model.onnx, got 'net.onnx'",
    "instance_group [ { kind: KIND_GPU }, { kind: KIND_CPU } ]": "groups of different kinds cannot be served",
    "input { name: 'x' dims: [ 3 ] }": "input[x].data_type: expected one of TYPE_BOOL",
    "output { name: 'y' data_type: TYPE_FP32 dims: [ 2 ] label_filename: '../secret' }": "'../secret' is no file below",
    "output { name: 'y' data_type: TYPE_FP32 dims: [ 2 ] label_filename: '/etc/hostname' }": "is no file below",
    "output { name: 'y' data_type: TYPE_FP32 dims: [ 2 ] label_filename: 'none.txt' }": "'none.txt' is no file below",
    "input [": "",
    "\x00": "",
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.items(), ids=list(REFUSED))
def test_what_would_answer_otherwise_is_refused_by_name(text: str, reason: str, folder: Path) -> None:
    (folder.parent / "secret").write_text("a\nb")
    assert reason in refusal(folder, text)


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "config.pbtxt").write_bytes(b"name: '\xff\xfe'")
    with pytest.raises(ConfigError, match="utf-8"):
        read_triton_config(folder / "config.pbtxt")
    (folder / "config.pbtxt").write_text("#" * (1 << 20) + "#")
    with pytest.raises(ConfigError, match="more than 1048576 bytes"):
        read_triton_config(folder / "config.pbtxt")


def test_what_it_declares_must_be_what_the_graph_has(folder: Path) -> None:
    config, _ = read(folder, "max_batch_size: 4 input { name: 'x' data_type: TYPE_FP32 dims: [ 5 ] }")
    with pytest.raises(ConfigError, match=r"input.x.dims: the graph has \[3\] for a row, found \[5\]"):
        LoadedModel(folder / "1" / "model.onnx", config)
    config, _ = read(folder, "max_batch_size: 4 input { name: 'x' data_type: TYPE_INT32 dims: [ 3 ] }")
    with pytest.raises(ConfigError, match=r"input.x.data_type: the graph has float32, found int32"):
        LoadedModel(folder / "1" / "model.onnx", config)


def test_an_initializer_may_be_optional(folder: Path) -> None:
    path = onnx.save(onnx.scaled(), folder / "2" / "model.onnx")
    x, scale = (f"{{ name: '{name}' data_type: TYPE_FP32 dims: [ 3 ] optional: %s }}" for name in ("x", "scale"))
    config, ignored = read(folder, f"max_batch_size: 8 input [ {x % 'false'}, {scale % 'true'} ]")
    assert ignored == []
    assert [spec.optional for spec in LoadedModel(path, config).model.spec.inputs] == [False, True]
    config, _ = read(folder, f"max_batch_size: 8 input [ {x % 'true'} ]")
    with pytest.raises(ConfigError, match=r"input.x.optional: only"):
        LoadedModel(path, config)


def test_without_the_packages_they_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "requirements-triton.txt" in refusal(folder, FULL)
