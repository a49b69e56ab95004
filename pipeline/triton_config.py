"""Triton's `config.pbtxt`, read for those who come from there: protobuf text, in Triton's own message classes.

Needs the packages of `requirements-triton.txt`, and is imported only where there is such a file.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.ensemble_config import NEWEST
from pipeline.errors import ConfigError
from pipeline.graph_spec import TRITON_TYPES
from pipeline.model_config import MAX_WARMUP_RUNS, ModelConfig, to_config

MAX_TEXT_BYTES = 1 << 20
MAX_LABELS_BYTES = 16 << 20

_REFUSED = {  # without these the answers would be other ones
    "sequence_batching": "models that keep state between requests are not served",
    "batch_input": "inputs that the server makes up are not served",
    "batch_output": "outputs that are scattered over a batch are not served",
}
_ACCELERATORS = {"tensorrt": "tensorrt", "openvino": "openvino", "cuda": "cuda"}


def read_triton_config(path: Path) -> tuple[ModelConfig, list[str]]:
    """Return the configuration, and the names of the fields that are not honoured.

    Raises `ConfigError` with file, field and reason, also where the packages that read the file are not installed.
    """
    try:
        return _Reader(_parse(path), path.parent).config()
    except (ValueError, OSError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error.__cause__


def _load_messages() -> Any:
    """Return tritonclient's message classes alone: its package wants gRPC and claims names that others claim too."""
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        raise ImportError("tritonclient")
    path = Path(package.submodule_search_locations[0], "grpc", "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("tritonclient_model_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _parse(path: Path) -> Any:
    try:
        from google.protobuf import text_format

        messages = _load_messages()
    except (ImportError, OSError) as error:
        raise ConfigError("needs the packages of requirements-triton.txt (tritonclient), or a config.toml") from error
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ConfigError(f"more than {MAX_TEXT_BYTES} bytes")
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), messages.ModelConfig())
    except text_format.ParseError as error:
        raise ConfigError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply") from error


class _Reader:
    """Goes through the fields of one message; what it has no use for is noted in `_ignored`."""

    def __init__(self, message: Any, folder: Path) -> None:
        self._message = message
        self._folder = folder
        self._table: dict[str, Any] = {}
        self._ignored: list[str] = []

    def config(self) -> tuple[ModelConfig, list[str]]:
        """Return what `read_triton_config` does, or raise what it catches."""
        known: dict[str, Callable[[Any], None]] = {
            "name": self._name,
            "platform": self._backend,
            "backend": self._backend,
            "max_batch_size": lambda value: self._table.update(max_batch_size=value),
            "input": self._inputs,
            "output": self._outputs,
            "version_policy": self._version_policy,
            "dynamic_batching": self._dynamic_batching,
            "instance_group": self._instance_groups,
            "optimization": self._optimization,
            "ensemble_scheduling": self._steps,
            "default_model_filename": self._file_name,
            "parameters": self._parameters,
            "model_warmup": self._warmups,
        }
        for field, value in self._message.ListFields():
            if field.name in _REFUSED:
                raise ConfigError(f"{field.name}: {_REFUSED[field.name]}")
            if field.name in known:
                known[field.name](value)
            else:
                self._ignored.append(field.name)
        if self._message.input and "ensemble_scheduling" not in self._table:
            self._table.setdefault("max_batch_size", 0)  # Triton's default, as far as the shapes can tell
        return to_config(self._table), self._ignored

    def _name(self, name: str) -> None:
        if name != self._folder.name:
            raise ConfigError(f"name: expected the name of the folder, {self._folder.name!r}, got {name!r}")

    def _backend(self, name: str) -> None:
        if name not in ("onnxruntime", "onnxruntime_onnx", "ensemble"):
            raise ConfigError(f"backend: {name!r} is not served, expected onnxruntime")
        if (name == "ensemble") is not self._message.HasField("ensemble_scheduling"):
            raise ConfigError(f"platform: {name!r}, but ensemble_scheduling is what makes an ensemble")

    def _inputs(self, tensors: Any) -> None:
        self._table["input"] = [{**self._declared(tensor, "input"), "optional": tensor.optional} for tensor in tensors]
        for tensor in tensors:
            self._ignore(tensor, f"input[{tensor.name}]", {"name", "data_type", "dims", "format", "optional"})

    def _outputs(self, tensors: Any) -> None:
        self._table["output"] = [self._declared(tensor, "output") for tensor in tensors]
        for tensor in tensors:
            self._ignore(tensor, f"output[{tensor.name}]", {"name", "data_type", "dims", "label_filename"})
            if tensor.label_filename:
                labels = self._table.setdefault("labels", {})
                labels[tensor.name] = self._labels(tensor.label_filename, tensor.name)

    def _declared(self, tensor: Any, kind: str) -> dict[str, Any]:
        dims = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
        return {"name": tensor.name, "data_type": _type_name(tensor, f"{kind}[{tensor.name}]"), "dims": dims}

    def _labels(self, file: str, output: str) -> list[str]:
        where = f"output[{output}].label_filename"
        path = (self._folder / file).resolve()
        if not path.is_relative_to(self._folder.resolve()) or not path.is_file():
            raise ConfigError(f"{where}: {file!r} is no file below the model's folder")
        if path.stat().st_size > MAX_LABELS_BYTES:
            raise ConfigError(f"{where}: {file!r} has more than {MAX_LABELS_BYTES} bytes")
        try:
            return path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{where}: {file!r} is not UTF-8") from error

    def _version_policy(self, policy: Any) -> None:
        if choice := policy.WhichOneof("policy_choice"):
            told = {
                "latest": {"num_versions": policy.latest.num_versions or 1},
                "specific": {"versions": list(policy.specific.versions)},
                "all": {},
            }
            self._table["version_policy"] = {choice: told[choice]}

    def _dynamic_batching(self, batching: Any) -> None:
        if preferred := sorted(set(batching.preferred_batch_size)):  # in any order, as Triton takes them
            self._set("dynamic_batching", "preferred_batch_size", preferred)
        for name in ("max_queue_delay_microseconds", "priority_levels", "default_priority_level"):
            if value := getattr(batching, name):
                self._set("dynamic_batching", name, value)
        known = {"preferred_batch_size", "max_queue_delay_microseconds", "priority_levels", "default_priority_level"}
        self._ignore(batching, "dynamic_batching", known | {"default_queue_policy", "preserve_ordering"})
        if batching.HasField("default_queue_policy"):
            policy = batching.default_queue_policy
            told = {
                "timeout_action": "DELAY" if policy.timeout_action else "REJECT",
                "allow_timeout_override": policy.allow_timeout_override,
                "default_timeout_microseconds": policy.default_timeout_microseconds,
            }
            if policy.max_queue_size:
                told["max_queue_size"] = policy.max_queue_size
            self._set("dynamic_batching", "default_queue_policy", told)

    def _instance_groups(self, groups: Any) -> None:
        kinds = {group.Kind.Name(group.kind) for group in groups}
        if len(kinds) > 1:
            raise ConfigError(f"instance_group: groups of different kinds cannot be served: {', '.join(sorted(kinds))}")
        for at, group in enumerate(groups):
            self._ignore(group, f"instance_group[{at}]", {"name", "count", "kind"})
        (kind,) = kinds
        if kind == "KIND_MODEL":
            self._ignored.append("instance_group.kind (KIND_MODEL)")
            kind = "KIND_AUTO"
        count = sum(max(group.count, 1) for group in groups)
        self._table["instance_group"] = {"count": count, "kind": kind}

    def _optimization(self, optimization: Any) -> None:
        self._ignore(optimization, "optimization", {"execution_accelerators"})
        accelerators = optimization.execution_accelerators
        names: list[str] = []
        for kind in ("gpu_execution_accelerator", "cpu_execution_accelerator"):
            for accelerator in getattr(accelerators, kind):
                where = f"optimization.execution_accelerators.{kind}[{accelerator.name}]"
                if accelerator.name not in _ACCELERATORS:
                    self._ignored.append(where)
                    continue
                names.append(_ACCELERATORS[accelerator.name])
                self._ignored.extend(f"{where}.parameters[{key}]" for key in sorted(accelerator.parameters))
        if names:
            self._table["execution_providers"] = [*names, "auto"]

    def _file_name(self, name: str) -> None:
        if name != "model.onnx":
            raise ConfigError(f"default_model_filename: expected model.onnx, got {name!r}")

    def _parameters(self, parameters: Any) -> None:
        for name in sorted(parameters):
            value = parameters[name].string_value
            if name == "intra_op_thread_count" and value.isdecimal() and int(value):
                self._table["intra_op_num_threads"] = int(value)
            elif name != "intra_op_thread_count":
                self._ignored.append(f"parameters[{name}]")

    def _warmups(self, warmups: Any) -> None:
        told: list[dict[str, Any]] = []
        for at, warmup in enumerate(warmups):
            files = [
                name for name, data in warmup.inputs.items() if data.WhichOneof("input_data_type") == "input_data_file"
            ]
            if files:
                self._ignored.append(f"model_warmup[{at}].inputs[{sorted(files)[0]}].input_data_file")
                continue
            inputs = {
                name: _warmup_input(data, f"model_warmup[{at}].inputs[{name}]") for name, data in warmup.inputs.items()
            }
            runs = {"batch_size": max(warmup.batch_size, 1), "count": min(max(warmup.count, 1), MAX_WARMUP_RUNS)}
            told.append({"name": warmup.name, "inputs": inputs, **runs})
        self._table["model_warmup"] = told

    def _steps(self, scheduling: Any) -> None:
        """Read the steps of an ensemble; a version of 0 is one that was not given."""
        self._table["ensemble_scheduling"] = {
            "step": [
                {
                    "model_name": step.model_name,
                    "model_version": step.model_version or NEWEST,
                    "input_map": dict(step.input_map),
                    "output_map": dict(step.output_map),
                }
                for step in scheduling.step
            ]
        }
        for at, step in enumerate(scheduling.step):
            known = {"model_name", "model_version", "input_map", "output_map"}
            self._ignore(step, f"ensemble_scheduling.step[{at}]", known)

    def _set(self, table: str, key: str, value: Any) -> None:
        self._table.setdefault(table, {})[key] = value

    def _ignore(self, message: Any, where: str, known: set[str]) -> None:
        """Note the fields of `message` that are set and not known."""
        self._ignored.extend(f"{where}.{field.name}" for field, _ in message.ListFields() if field.name not in known)


def _type_name(message: Any, where: str) -> str:
    field = message.DESCRIPTOR.fields_by_name["data_type"]
    value = field.enum_type.values_by_number.get(message.data_type)
    if value is None or value.name not in TRITON_TYPES:
        raise ConfigError(f"{where}.data_type: expected one of {', '.join(TRITON_TYPES)}")
    return TRITON_TYPES[value.name]


def _warmup_input(data: Any, where: str) -> dict[str, Any]:
    told = {"data_type": _type_name(data, where), "dims": list(data.dims)}
    random = data.WhichOneof("input_data_type") == "random_data" and data.random_data
    return {**told, "random_data": random, "zero_data": not random}
