"""A file that cannot be served is refused when it is loaded, with a reason that names it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from pipeline.errors import ConfigError
from pipeline.loaded_model import LoadedModel
from pipeline.model_config import ModelConfig
from pipeline.runtime import OnnxModel
from tests import onnx_models as onnx


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no model\n" * 20)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    onnx.save(onnx.gemm(np.ones((64, 64)), np.ones(64)), path)
    path.write_bytes(path.read_bytes()[:-5000])


def without_its_weights(path: Path) -> None:
    onnx.save_with_external_data(onnx.gemm(np.ones((64, 64)), np.ones(64)), path).unlink()


def a_folder(path: Path) -> None:
    path.mkdir()


def missing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize("spoil", [garbage, empty, truncated, without_its_weights, a_folder, missing])
def test_a_file_that_is_no_model_is_refused_by_path(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    spoil(path)
    with pytest.raises(ConfigError) as caught:
        OnnxModel(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_weights_beside_the_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save_with_external_data(onnx.gemm(np.eye(3), np.zeros(3)), path)
    model = OnnxModel(path)
    model.probe()
    row = np.array([1, 2, 3], np.float32).tobytes()
    assert model.run([(row,)]).rows(lists=False) == [{"scores": row}]


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (onnx.sequence(), "pieces: type seq(tensor(float)) cannot be served"),
        (onnx.zipmap(), "zipmap=False"),
        (onnx.identity("complex64"), "complex64"),
        (onnx.never_runs(), "idx=7"),
        (onnx.never_runs([3]), "idx=7"),
        (onnx.identity(dims=("N", 2**40, 2**40)), ""),
    ],
    ids=["sequence", "zipmap", "complex", "never runs", "never runs, no batch", "larger than memory"],
)
def test_a_graph_that_cannot_be_served_is_refused_by_path_and_reason(
    proto: ModelProto, reason: str, tmp_path: Path
) -> None:
    path = onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ConfigError) as caught:
        LoadedModel(path, ModelConfig())
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("dims", [[1, 3], [3], []], ids=str)
def test_max_batch_size_needs_a_dynamic_first_dimension(dims: list[int], tmp_path: Path) -> None:
    path = onnx.save(onnx.identity(dims=dims), tmp_path / "model.onnx")
    with pytest.raises(ConfigError) as caught:
        LoadedModel(path, ModelConfig(max_batch_size=8))
    assert "max_batch_size" in str(caught.value)
    assert "'x'" in str(caught.value)


@pytest.mark.parametrize(
    ("proto", "labels", "reason"),
    [
        (onnx.identity(), {"z": ["a", "b", "c"]}, "labels.z: the model has no such output, expected one of ['y']"),
        (onnx.identity(), {"y": ["a", "b"]}, "labels.y: expected 3 names, got 2"),
        (onnx.identity(), {"y": []}, "labels.y"),
        (onnx.identity("string"), {"y": ["a", "b", "c"]}, "labels.y: the output is strings already"),
        (onnx.identity(dims=("N", 1)), {"y": []}, "labels.y"),
        (onnx.identity(dims=("N", 0)), {"y": ["a"]}, "labels.y"),
        (onnx.undeclared_classes([0, 0, 1]), {"scores": ["a", "b"]}, "labels.scores"),
    ],
    ids=["unknown", "too few", "none", "strings", "none for one", "no classes", "found too few while warming"],
)
def test_labels_that_do_not_fit_are_refused_by_name(
    proto: ModelProto, labels: dict[str, list[str]], reason: str, tmp_path: Path
) -> None:
    path = onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ConfigError) as caught:
        LoadedModel(path, ModelConfig(labels=labels))
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_labels_that_fit_are_taken(tmp_path: Path) -> None:
    path = onnx.save(onnx.undeclared_classes([0, 0, 1]), tmp_path / "model.onnx")
    loaded = LoadedModel(path, ModelConfig(labels={"scores": ["a", "b", "c"]}))
    assert loaded.model.run([loaded.model.blank_row()[0]]).labels == ["c"]
