"""Which execution providers a model gets, by name, kind of instance and what is installed."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.loaded_model import LoadedModel
from pipeline.model_config import InstanceGroup, ModelConfig
from pipeline.providers import check_started, choose_providers, device_of, required_providers
from pipeline.runtime import _start
from tests import onnx_models as onnx

CPU, CUDA, TRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPENVINO, COREML, DML = "OpenVINOExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider"
ON_CPU = ["AzureExecutionProvider", CPU]
ON_GPU = [TRT, CUDA, CPU]


@pytest.mark.parametrize(
    ("names", "kind", "present", "expected"),
    [
        (["auto"], "KIND_AUTO", ON_CPU, [CPU]),
        (["auto"], "KIND_AUTO", ON_GPU, [CUDA, CPU]),
        (["auto"], "KIND_CPU", ON_GPU, [CPU]),
        (["auto"], "KIND_GPU", ON_GPU, [CUDA, CPU]),
        (["auto"], "KIND_AUTO", [OPENVINO, CPU], [CPU]),
        (["auto"], "KIND_AUTO", [COREML, CPU], [COREML, CPU]),
        (["auto"], "KIND_CPU", [COREML, CPU], [COREML, CPU]),
        (["openvino"], "KIND_CPU", [OPENVINO, CPU], [OPENVINO, CPU]),
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


@pytest.mark.parametrize(
    ("names", "kind", "chosen", "required"),
    [
        (["auto"], "KIND_AUTO", [CUDA, CPU], [CPU]),
        (["auto"], "KIND_GPU", [CUDA, CPU], [CUDA, CPU]),
        (["tensorrt", "auto"], "KIND_AUTO", [TRT, CUDA, CPU], [TRT, CPU]),
        (["cuda"], "KIND_AUTO", [CUDA, CPU], [CUDA, CPU]),
        ([CUDA, "auto"], "KIND_AUTO", [CUDA, CPU], [CUDA, CPU]),
        (["cpu"], "KIND_AUTO", [CPU], [CPU]),
    ],
)
def test_what_was_asked_for_by_name_is_required(
    names: list[str], kind: str, chosen: list[str], required: list[str]
) -> None:
    assert required_providers(names, kind, chosen) == required


def test_a_provider_that_onnx_runtime_left_out_is_named() -> None:
    check_started([CUDA, CPU], [CUDA, CPU], "")
    reason = f"execution_providers: {CUDA} could not be started on this machine: no driver"
    with pytest.raises(ConfigError, match=reason):
        check_started([CUDA, CPU], [CPU], "no driver")


def test_tensors_lie_where_the_first_provider_has_them() -> None:
    devices = [
        device_of(providers) for providers in ([CUDA, CPU], [TRT, CUDA, CPU], [DML, CPU], [OPENVINO, CPU], [CPU])
    ]
    assert devices == ["cuda", "cuda", "dml", None, None]


def test_a_provider_that_cannot_be_started_is_done_without_where_nobody_named_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = onnx.save(onnx.identity(), tmp_path / "model.onnx")
    absent = "CANNExecutionProvider"
    assert _start(path, [absent, CPU], [CPU], 1).get_providers() == [CPU]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path} runs on {CPU}, without {absent}: ")
    with pytest.raises(ConfigError, match=f"execution_providers: {absent} could not be started on this machine: "):
        _start(path, [absent, CPU], [absent, CPU], 1)
    path.write_bytes(b"no model")
    with pytest.raises(ConfigError, match="Protobuf parsing failed"):
        _start(path, [absent, CPU], [CPU], 1)
    assert capfd.readouterr().out == ""


def test_a_model_says_what_this_onnxruntime_lacks(tmp_path: Path) -> None:
    path = onnx.save(onnx.identity(), tmp_path / "model.onnx")
    assert LoadedModel(path, ModelConfig(execution_providers=["cpu"])).model.providers == [CPU]
    assert LoadedModel(path, ModelConfig(instance_group=InstanceGroup(1, "KIND_CPU"))).model.providers == [CPU]
    with pytest.raises(ConfigError, match=r"this onnxruntime has no 'cann', it has .*cpu") as caught:
        LoadedModel(path, ModelConfig(execution_providers=["cann"]))
    assert str(caught.value).startswith(f"{path}: execution_providers: ")
