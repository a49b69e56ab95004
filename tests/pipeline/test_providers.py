"""Which execution providers a model gets, by name, kind of instance and what is installed."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.model_config import InstanceGroup, ModelConfig
from pipeline.providers import check_started, choose_providers
from pipeline.served_model import LoadedModel
from tests import onnx_models as onnx

CPU, CUDA, TRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
ON_CPU = ["AzureExecutionProvider", CPU]
ON_GPU = [TRT, CUDA, CPU]


@pytest.mark.parametrize(
    ("names", "kind", "present", "expected"),
    [
        (["auto"], "KIND_AUTO", ON_CPU, [CPU]),
        (["auto"], "KIND_AUTO", ON_GPU, [CUDA, CPU]),
        (["auto"], "KIND_CPU", ON_GPU, [CPU]),
        (["auto"], "KIND_GPU", ON_GPU, [CUDA, CPU]),
        (["auto"], "KIND_AUTO", [OPENVINO, CPU], [OPENVINO, CPU]),
        (["auto"], "KIND_CPU", [OPENVINO, CPU], [OPENVINO, CPU]),
        (["cpu"], "KIND_AUTO", ON_GPU, [CPU]),
        (["tensorrt", "cuda"], "KIND_AUTO", ON_GPU, [TRT, CUDA, CPU]),
        (["tensorrt", "auto"], "KIND_GPU", ON_GPU, [TRT, CUDA, CPU]),
        ([CUDA], "KIND_AUTO", ON_GPU, [CUDA, CPU]),
        (["cpu", "cuda", "cuda"], "KIND_AUTO", ON_GPU, [CUDA, CPU]),
    ],
)
def test_providers_are_chosen(names: list[str], kind: str, present: list[str], expected: list[str]) -> None:
    assert choose_providers(names, kind, present) == expected


@pytest.mark.parametrize(
    ("names", "kind", "present", "reason"),
    [
        (["cuda"], "KIND_AUTO", ON_CPU, "execution_providers: this onnxruntime has no 'cuda', it has cpu"),
        (
            ["gpu"],
            "KIND_AUTO",
            ON_GPU,
            "execution_providers: unknown provider 'gpu', expected auto, tensorrt, cuda, cpu",
        ),
        (["auto"], "KIND_GPU", ON_CPU, "instance_group.kind: KIND_GPU needs one of tensorrt"),
        (["cpu"], "KIND_GPU", ON_GPU, "instance_group.kind: KIND_GPU needs one of tensorrt"),
        (["cuda"], "KIND_CPU", ON_GPU, "instance_group.kind: KIND_CPU does not go with the execution provider 'cuda'"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(names: list[str], kind: str, present: list[str], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_providers(names, kind, present)
    assert reason in str(caught.value)


def test_a_provider_that_onnx_runtime_left_out_is_named() -> None:
    check_started([CUDA, CPU], [CUDA, CPU])
    with pytest.raises(ConfigError, match="execution_providers: CUDAExecutionProvider could not be started"):
        check_started([CUDA, CPU], [CPU])


def test_a_model_says_what_this_onnxruntime_lacks(tmp_path: Path) -> None:
    path = onnx.save(onnx.identity(), tmp_path / "model.onnx")
    assert LoadedModel(path, ModelConfig(execution_providers=["cpu"])).model.providers == [CPU]
    assert LoadedModel(path, ModelConfig(instance_group=InstanceGroup(1, "KIND_CPU"))).model.providers == [CPU]
    with pytest.raises(ConfigError, match=r"this onnxruntime has no 'cann', it has .*cpu") as caught:
        LoadedModel(path, ModelConfig(execution_providers=["cann"]))
    assert str(caught.value).startswith(f"{path}: execution_providers: ")
