"""ONNX Runtime's execution providers by short names, and which of them a model runs on."""

from collections.abc import Sequence
from typing import Final

from pipeline.errors import ConfigError

CPU: Final = "CPUExecutionProvider"
AUTO: Final = "auto"

PROVIDERS: Final[dict[str, str]] = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt_rtx": "NvTensorRTRTXExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "cann": "CANNExecutionProvider",
    "vitisai": "VitisAIExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "dnnl": "DnnlExecutionProvider",
    "acl": "ACLExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
}
GPUS: Final = ("tensorrt", "tensorrt_rtx", "cuda", "migraphx", "rocm", "directml", "webgpu")
# What `auto` takes, best first. TensorRT is not among them: it compiles for minutes, and is listed wherever CUDA is.
# OpenVINO neither: it calculates int64 in 32 bits, and gives a number where an index is out of range.
BEST: Final = ("cuda", "migraphx", "rocm", "directml", "coreml")
# Where tensors lie that a provider takes and gives without copying, as `onnxruntime.OrtValue` calls it.
DEVICES: Final = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}


def choose_providers(names: Sequence[str], kind: str, present: Sequence[str]) -> list[str]:
    """Return ONNX Runtime's names, most wanted first and the CPU last, of short or full `names`.

    `kind` is Triton's `KIND_AUTO`, `KIND_CPU` or `KIND_GPU`; `present` is what the installed onnxruntime has. Raises
    `ConfigError` that names the key and what is present.
    """
    short = {full: name for name, full in PROVIDERS.items()}
    here = [short[full] for full in present if full in short]
    chosen: list[str] = []
    for given in names:
        name = short.get(given, given)
        if name == AUTO:
            chosen += _best(kind, here)
        elif name not in PROVIDERS:
            raise ConfigError(f"execution_providers: unknown provider {name[:64]!r}, expected {_list([AUTO, *here])}")
        elif name not in here:
            raise ConfigError(f"execution_providers: this onnxruntime has no {name!r}, it has {_list(here)}")
        elif kind == "KIND_CPU" and name in GPUS:
            raise ConfigError(f"instance_group.kind: KIND_CPU does not go with the execution provider {name!r}")
        else:
            chosen.append(name)
    if kind == "KIND_GPU" and not set(chosen) & set(GPUS):
        raise ConfigError(
            f"instance_group.kind: KIND_GPU needs one of {_list(GPUS)}, this model would run on {_list(chosen)}"
        )
    return [PROVIDERS[name] for name in dict.fromkeys([*(name for name in chosen if name != "cpu"), "cpu"])]


def required_providers(names: Sequence[str], kind: str, chosen: Sequence[str]) -> list[str]:
    """Return those of the `chosen` providers without which a model is refused: `auto` alone may do with the CPU."""
    named = {PROVIDERS.get(name, name) for name in names}
    return [name for name in chosen if kind == "KIND_GPU" or name == CPU or name in named]


def check_started(required: Sequence[str], started: Sequence[str], why: str) -> None:
    """Raise `ConfigError` where a provider is not there, as ONNX Runtime silently leaves it out without its driver."""
    if missing := [name for name in required if name not in started]:
        raise ConfigError(f"execution_providers: {_list(missing)} could not be started on this machine: {why}")


def device_of(providers: Sequence[str]) -> str | None:
    """Return the device of the provider that goes first, None where that is the CPU or not known."""
    return DEVICES.get(providers[0])


def _best(kind: str, here: Sequence[str]) -> list[str]:
    best = [name for name in BEST if name in here and not (kind == "KIND_CPU" and name in GPUS)]
    return best[:1] or ["cpu"]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
