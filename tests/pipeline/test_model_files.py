"""Model files are checked before they are opened: their place, size and digest, and those of their external data."""

import hashlib
from pathlib import Path

import numpy as np
import onnx as onnx_package
import pytest

from pipeline.errors import ConfigError
from pipeline.loaded_model import LoadedModel
from pipeline.model_config import ModelConfig
from pipeline.model_files import check_model_file
from tests import onnx_models as onnx

ZEROS = "0" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return onnx.save(onnx.gemm(np.eye(3), np.zeros(3)), tmp_path / "root" / "m" / "1" / "model.onnx")


def with_weights_at(location: str, path: Path) -> Path:
    """Write a model whose constants claim to lie at `location`, and weights beside the model."""
    onnx.save_with_external_data(onnx.gemm(np.eye(3), np.zeros(3)), path)
    proto = onnx_package.load(str(path), load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    return onnx.save(proto, path)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refusal(path: Path, root: Path | None = None, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        check_model_file(path, root, **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_a_file_tells_its_opsets_and_where_its_weights_lie(path: Path) -> None:
    header = check_model_file(path)
    assert header.opsets == {"": onnx.OPSET, "ai.onnx.ml": 3}
    assert header.locations == set()
    onnx.save_with_external_data(onnx.gemm(np.eye(3), np.zeros(3)), path)
    assert check_model_file(path).locations == {"weights.bin"}


def test_weights_in_a_folder_beside_the_model_are_fine(path: Path) -> None:
    with_weights_at("data/weights.bin", path)
    (path.parent / "data").mkdir()
    (path.parent / "weights.bin").rename(path.parent / "data" / "weights.bin")
    row = np.array([1, 2, 3], np.float32).tobytes()
    assert LoadedModel(path, ModelConfig()).model.run([(row,)]).rows(lists=False) == [{"scores": row}]


@pytest.mark.parametrize(
    "location",
    [
        "../weights.bin",
        "a/../../weights.bin",
        "/etc/hostname",
        "..",
        "C:\\weights.bin",
        "..\\weights.bin",
        "a\0b",
        "\\\\host\\w",
    ],
)
def test_external_data_outside_the_models_folder_is_refused(location: str, path: Path) -> None:
    with_weights_at(location, path)
    (path.parent.parent / "weights.bin").write_bytes(bytes(4096))
    assert "expected a path below the model's folder" in refusal(path, path.parents[2])


@pytest.mark.parametrize("location", ["missing.bin", ".", "*/_ORT_MEM_ADDR_/*"])
def test_external_data_that_is_no_file_is_refused(location: str, path: Path) -> None:
    with_weights_at(location, path)
    assert "external data" in refusal(path)


def test_links_may_not_lead_out_of_the_repository(path: Path, tmp_path: Path) -> None:
    outside = onnx.save(onnx.identity(), tmp_path / "outside.onnx")
    path.unlink()
    path.symlink_to(outside)
    assert "leads out of" in refusal(path, tmp_path / "root")
    with pytest.raises(ConfigError, match="leads out of"):
        LoadedModel(path, ModelConfig(), tmp_path / "root")
    inside = onnx.save(onnx.identity(), tmp_path / "root" / "blobs" / "a.onnx")
    path.unlink()
    path.symlink_to(inside)
    assert check_model_file(path, tmp_path / "root").has_graph


def test_links_of_external_data_may_not_lead_out_either(path: Path, tmp_path: Path) -> None:
    weights = onnx.save_with_external_data(onnx.gemm(np.eye(3), np.zeros(3)), path)
    weights.rename(tmp_path / "secret.bin")
    weights.symlink_to(tmp_path / "secret.bin")
    assert "external data 'weights.bin': leads out of" in refusal(path, tmp_path / "root")


def test_links_in_a_circle_are_refused(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)
    assert str(path) in refusal(path)


def test_a_file_may_not_be_larger_than_allowed(path: Path) -> None:
    size = path.stat().st_size
    assert check_model_file(path, max_bytes=size).has_graph
    assert f"{size} bytes, more than the {size - 1} that are allowed" in refusal(path, max_bytes=size - 1)
    weights = onnx.save_with_external_data(onnx.gemm(np.eye(64), np.zeros(64)), path)
    assert weights.stat().st_size > 4096 > path.stat().st_size
    assert "external data 'weights.bin'" in refusal(path, max_bytes=4096)


def test_a_digest_is_enforced(path: Path) -> None:
    digest = digest_of(path)
    assert check_model_file(path, sha256={"model.onnx": digest.upper()}).has_graph
    LoadedModel(path, ModelConfig(sha256={"1": digest, "2": ZEROS}))
    with pytest.raises(ConfigError, match=f"sha256: expected {ZEROS} of model.onnx, it is {digest}"):
        LoadedModel(path, ModelConfig(sha256=ZEROS))


@pytest.mark.parametrize("location", ["weights.bin", "./data/weights.bin"])
def test_digests_cover_external_data(location: str, path: Path) -> None:
    with_weights_at(location, path)
    name = location.removeprefix("./")
    (path.parent / name).parent.mkdir(exist_ok=True)
    weights = (path.parent / "weights.bin").rename(path.parent / name)
    digests = {"model.onnx": digest_of(path), name: digest_of(weights).upper()}
    assert check_model_file(path, sha256=digests).locations == {location}
    LoadedModel(path, ModelConfig(sha256={"1": digests}))
    assert f"sha256: there is none for {name!r}" in refusal(path, sha256={"model.onnx": digests["model.onnx"]})
    with pytest.raises(ConfigError, match=f"sha256: there is none for {name!r}"):
        LoadedModel(path, ModelConfig(sha256=digests["model.onnx"]))
    assert "sha256: there is none for 'model.onnx'" in refusal(path, sha256={name: digests[name]})
    other = refusal(path, sha256={**digests, "typo.bin": ZEROS})
    assert f"sha256: 'typo.bin' is no file of this model, it has model.onnx, {name}" in other
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert f"sha256: expected {digests[name].lower()} of {name}, it is {digest_of(weights)}" in refusal(
        path, sha256=digests
    )


@pytest.mark.parametrize(
    ("domain", "version", "reason"),
    [("", 99, "opset 99 of ai.onnx is too new: onnxruntime"), ("ai.onnx.ml", 77, "opset 77 of ai.onnx.ml is too new")],
)
def test_an_opset_of_the_future_is_named(domain: str, version: int, reason: str, path: Path) -> None:
    proto = onnx.identity()
    del proto.opset_import[:]
    proto.opset_import.extend([onnx_package.helper.make_opsetid(*pair) for pair in {"": 21, domain: version}.items()])
    onnx.save(proto, path)
    with pytest.raises(ConfigError) as caught:
        LoadedModel(path, ModelConfig())
    assert f"{path}: {reason}" in str(caught.value)


def test_an_ir_version_of_the_future_is_named(path: Path) -> None:
    proto = onnx.identity()
    proto.ir_version = 99
    onnx.save(proto, path)
    with pytest.raises(ConfigError, match="IR version 99 is too new: onnxruntime"):
        LoadedModel(path, ModelConfig())
