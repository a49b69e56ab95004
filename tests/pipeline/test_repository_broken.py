"""A model that cannot be served is reported by name, with its file, its key and the reason; the others are served."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ModelUnavailable
from tests import onnx_models as onnx
from tests.pipeline.test_repository import CORES, put, repository


def garbage(root: Path) -> None:
    put(root, "bad").write_bytes(b"garbage")


def truncated(root: Path) -> None:
    path = put(root, "bad")
    path.write_bytes(path.read_bytes()[:-10])


def without_weights(root: Path) -> None:
    onnx.save_with_external_data(onnx.gemm([[1.0]], [1.0]), root / "bad" / "1" / "model.onnx").unlink()


def zipmap(root: Path) -> None:
    onnx.save(onnx.zipmap(), root / "bad" / "1" / "model.onnx")


def never_runs(root: Path) -> None:
    onnx.save(onnx.never_runs(), root / "bad" / "1" / "model.onnx")


def larger_than_memory(root: Path) -> None:
    onnx.save(onnx.identity(dims=("N", 2**40, 2**40)), root / "bad" / "1" / "model.onnx")


def configured(config: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        put(root, "bad", config=config)

    return spoil


def not_utf8(root: Path) -> None:
    put(root, "bad")
    (root / "bad" / "config.toml").write_bytes(b'labels = "\xff"')


def a_folder_for_a_config(root: Path) -> None:
    put(root, "bad")
    (root / "bad" / "config.toml").mkdir()


BROKEN = [
    pytest.param(garbage, "bad/1/model.onnx: ", id="garbage"),
    pytest.param(truncated, "bad/1/model.onnx: ", id="truncated"),
    pytest.param(without_weights, "bad/1/model.onnx: ", id="no external data"),
    pytest.param(zipmap, "zipmap=False", id="map output"),
    pytest.param(never_runs, "idx=7", id="never runs"),
    pytest.param(larger_than_memory, "bad/1/model.onnx: ", id="larger than memory"),
    pytest.param(configured("max_batch_size = "), "bad/config.toml: ", id="no toml"),
    pytest.param(configured("max_batch_siz = 3"), "max_batch_siz", id="unknown key"),
    pytest.param(configured("max_batch_size = -1"), "max_batch_size: ", id="value out of range"),
    pytest.param(configured("[dynamic_batching]\nmax_queue_delay_microseconds = 0.5"), "max_queue_delay", id="type"),
    pytest.param(configured(f"[instance_group]\ncount = {CORES + 1}"), "instance_group.count", id="too many instances"),
    pytest.param(
        configured(f"intra_op_num_threads = {CORES // 2 + 1}\n[instance_group]\ncount = 2"),
        "intra_op_num_threads",
        id="too many threads",
    ),
    pytest.param(configured('[labels]\ny = ["a"]'), "labels.y: expected 3 names, got 1", id="labels"),
    pytest.param(configured("[window]\nlength = 4\nhop = 1"), "window.length: 4 does not fit", id="window"),
    pytest.param(configured("[window]\nlength = 0\nhop = 1"), "window.length", id="no window"),
    pytest.param(not_utf8, "bad/config.toml: ", id="config not utf-8"),
    pytest.param(a_folder_for_a_config, "bad/config.toml: ", id="config is a folder"),
]


@pytest.mark.parametrize(("spoil", "reason"), BROKEN)
async def test_a_broken_model_is_reported_and_does_not_stop_the_others(
    spoil: Callable[[Path], None], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("alpha", "another", "zeta"):
        put(tmp_path, name)
    spoil(tmp_path)
    async with repository(tmp_path) as models:
        assert [model.name for model in models] == ["alpha", "another", "zeta"]
        assert models.broken == ["bad"]
        info = models.describe("bad")
        assert (info.name, info.version, info.state) == ("bad", "1", "unavailable")
        assert info.reason
        assert reason in info.reason
        with pytest.raises(ModelUnavailable) as caught:
            models.get("bad")
        assert info.reason in str(caught.value)
        assert [info.name for info in models.describe_all()] == ["alpha", "another", "bad", "zeta"]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage() == f"model bad is not served: {info.reason}"
    assert record.exc_info is None, "a fault of the operator's needs no traceback"


async def test_a_fault_that_nobody_foresaw_is_reported_in_full_and_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.graph_spec.MAX_ROW_BYTES", 2**70)
    put(tmp_path, "alpha")
    bad = onnx.save(onnx.identity("string", ("N", 2**30, 2**30)), tmp_path / "bad" / "1" / "model.onnx")
    put(tmp_path, "zeta")
    async with repository(tmp_path) as models:
        assert [model.name for model in models] == ["alpha", "zeta"]
        assert (models.describe("bad").reason or "").startswith(f"{bad}: MemoryError")
    (record,) = caplog.records
    assert record.exc_info is not None


@pytest.mark.parametrize("config", ["", "# nothing\n", f"[instance_group]\ncount = {CORES}"])
async def test_a_config_that_says_little_is_fine(config: str, tmp_path: Path) -> None:
    put(tmp_path, "m", config=config)
    async with repository(tmp_path) as models:
        assert models.get("m").max_batch_size > 1
