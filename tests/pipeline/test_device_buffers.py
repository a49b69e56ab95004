"""Batches run in buffers on a device, which is the CPU here: nothing but the device's name differs from a GPU's run."""

import gc
import struct
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from pipeline.errors import InferenceFailed
from pipeline.run_buffers import MOST_SIZES, Bound, DeviceRun, RunBuffers
from pipeline.runtime import OnnxModel
from pipeline.tensors import Array, Row
from tests import onnx_models as onnx
from tests.pipeline.runtime_parts import load, outputs_of, reference, rows_of, samples

NUMERIC = [
    "float16",
    "float32",
    "float64",
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
]


def on_device(proto: ModelProto, folder: Path, batched: bool | None = None) -> OnnxModel:
    """Load a model whose runs are bound as on a device."""
    model = load(proto, folder, batched)
    model.bind("cpu")
    return model


def buffers_of(model: OnnxModel) -> RunBuffers:
    assert model._buffers is not None
    return model._buffers


@pytest.mark.parametrize("dtype", NUMERIC)
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_every_size_and_type_gives_what_a_run_without_buffers_gives(dtype: str, count: int, tmp_path: Path) -> None:
    proto = onnx.identity(dtype, ("N", 2, 3))
    model = on_device(proto, tmp_path)
    for seed in range(3):
        batch = np.roll(samples(dtype, (count, 2, 3)), seed)
        (expected,) = reference(proto, x=batch)
        assert buffers_of(model).run(rows_of(batch)) is not None
        assert np.array([row["y"] for row in outputs_of(model, rows_of(batch))]).tolist() == expected.tolist()
    assert repr(buffers_of(model)) == f"<RunBuffers {count}: 1 free>"


@pytest.mark.parametrize("dims", [[2, 3], [1], []], ids=str)
def test_a_graph_without_a_batch_dimension_runs_row_by_row(dims: list[int], tmp_path: Path) -> None:
    model = on_device(onnx.identity(dims=dims), tmp_path)
    row = samples("float32", (1, *dims))
    outputs = buffers_of(model).run(rows_of(row))
    assert outputs is not None
    np.testing.assert_array_equal(outputs[0], row)


def test_several_inputs_and_outputs_are_each_in_their_place(tmp_path: Path) -> None:
    proto = onnx.two_by_two()
    model = on_device(proto, tmp_path)
    for count in (1, 5, 300, 5):
        mask, number = samples("bool", (count, 2)), samples("int64", (count,))
        flipped, doubled = reference(proto, mask=mask, count=number)
        rows = outputs_of(model, rows_of(mask, number))
        assert [row["flipped"] for row in rows] == flipped.tolist()
        assert [row["doubled"] for row in rows] == doubled.tolist()
    assert repr(buffers_of(model)) == "<RunBuffers 1: 1 free, 300: 1 free, 5: 1 free>"


def test_a_result_is_not_touched_by_the_next_run(tmp_path: Path) -> None:
    model = on_device(onnx.identity(), tmp_path)
    first = model.run([(np.array([1, 2, 3], np.float32).tobytes(),)])
    second = model.run([(np.array([4, 5, 6], np.float32).tobytes(),)])
    assert first.rows(lists=True) == [{"y": [1, 2, 3]}]
    assert second.rows(lists=True) == [{"y": [4, 5, 6]}]


def test_many_sizes_in_any_order_are_answered_right(tmp_path: Path) -> None:
    proto = onnx.gemm(np.arange(12).reshape(3, 4), np.ones(4))
    model = on_device(proto, tmp_path)
    random = np.random.default_rng(0)
    for count in random.integers(1, 100, 200).tolist():
        batch = random.normal(size=(count, 3)).astype(np.float32)
        (expected,) = reference(proto, x=batch)
        rows = model.run(rows_of(batch)).arrays[0]
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)
    assert len(buffers_of(model).sizes) == MOST_SIZES


class Echo:
    """A bound run of so many rows that says who it is."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def run(self, rows: list[Row]) -> list[Array]:
        assert len(rows) == self.rows
        return [np.array(rows)]


def test_the_size_that_was_not_used_for_longest_is_freed() -> None:
    made: list[int] = []
    alive: weakref.WeakSet[Bound] = weakref.WeakSet()

    def make(rows: int) -> Bound:
        made.append(rows)
        bound: Any = Echo(rows)
        alive.add(bound)
        return bound  # type: ignore[no-any-return]

    buffers = RunBuffers(make, most_sizes=3)
    for count in (1, 2, 3, 1, 4, 1, 3, 2):
        assert buffers.run([(b"",)] * count) is not None
    assert made == [1, 2, 3, 4, 2]
    gc.collect()
    assert sorted(bound.rows for bound in alive) == [1, 2, 3]  # type: ignore[attr-defined]


def test_a_run_whose_size_was_freed_meanwhile_is_freed_as_it_ends() -> None:
    alive: weakref.WeakSet[Bound] = weakref.WeakSet()
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Echo):
        def run(self, rows: list[Row]) -> list[Array]:
            if self.rows == 1:
                begun.set()
                assert go_on.wait(10)
            return super().run(rows)

    def make(rows: int) -> Bound:
        bound: Any = Slow(rows)
        alive.add(bound)
        return bound  # type: ignore[no-any-return]

    buffers = RunBuffers(make, most_sizes=2)
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(buffers.run, [(b"",)])
        assert begun.wait(10)
        for count in (2, 3):
            buffers.run([(b"",)] * count)
        go_on.set()
        assert run.result() is not None
    gc.collect()
    assert sorted(bound.rows for bound in alive) == [2, 3]  # type: ignore[attr-defined]


def test_runs_at_the_same_time_have_buffers_of_their_own(tmp_path: Path) -> None:
    model = on_device(onnx.identity(), tmp_path)
    together = threading.Barrier(4)

    def run(number: int) -> bool:
        together.wait(10)
        for turn in range(200):
            count = 1 + (number + turn) % 24
            batch = np.full((count, 3), 1000 * number + turn, np.float32)
            if not np.array_equal(model.run(rows_of(batch)).arrays[0], batch):
                return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(run, range(4)))
    kept = buffers_of(model)._sizes
    assert len(kept) <= MOST_SIZES
    assert all(len(size.free) <= 4 for size in kept.values())


def test_a_row_that_the_graph_refuses_fails_and_the_next_runs_bound(tmp_path: Path) -> None:
    model = on_device(onnx.lookup([10, 20, 30]), tmp_path)
    good, bad = struct.pack("<q", 2), struct.pack("<q", 7)
    for _ in range(2):
        with pytest.raises(InferenceFailed, match="idx=7"):
            model.run([(good,), (bad,)])
        assert buffers_of(model).run([(good,), (good,)]) is not None
        assert outputs_of(model, [(good,), (good,)]) == [{"value": 30.0}] * 2


def test_a_graph_that_claims_another_shape_than_it_gives_runs_without(tmp_path: Path) -> None:
    model = on_device(onnx.identity(dims=("N", 3), out_dims=("N", 5)), tmp_path)
    for count in (1, 2, 1):
        batch = samples("float32", (count, 3))
        assert [row["y"] for row in outputs_of(model, rows_of(batch))] == batch.tolist()
    assert model._buffers is None


def test_where_the_device_has_no_memory_the_model_runs_without(tmp_path: Path) -> None:
    model = on_device(onnx.identity(), tmp_path)

    def allocate(shape: object, dtype: object) -> Any:
        raise RuntimeError("out of memory")

    spec = model.spec
    model._buffers = RunBuffers(
        lambda rows: DeviceRun(model._session, spec.inputs, spec.outputs, rows, spec.batched, allocate)
    )
    batch = samples("float32", (2, 3))
    assert [row["y"] for row in outputs_of(model, rows_of(batch))] == batch.tolist()
    assert model._buffers is None


@pytest.mark.parametrize(
    "proto",
    [onnx.identity("string"), onnx.identity("bfloat16"), onnx.identity("float8e5m2"), onnx.mean_over_time()],
    ids=["strings", "bfloat16", "float8", "dynamic"],
)
def test_what_cannot_be_bound_runs_without(proto: ModelProto, tmp_path: Path) -> None:
    assert on_device(proto, tmp_path)._buffers is None
