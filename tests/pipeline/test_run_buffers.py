"""Small batches run in bound buffers on the CPU: the outputs are those of a run without, and their owner's."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.run_buffers import MOST_ROWS
from tests import onnx_models as onnx
from tests.pipeline.runtime_parts import load, outputs_of, reference, rows_of, samples


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int8", "int32", "int64", "uint8", "uint64", "bool"]
)
@pytest.mark.parametrize("count", [1, 2, MOST_ROWS, MOST_ROWS + 1])
def test_every_size_and_type_gives_what_a_run_without_buffers_gives(dtype: str, count: int, tmp_path: Path) -> None:
    proto = onnx.identity(dtype, ("N", 2, 3))
    model, batch = load(proto, tmp_path), samples(dtype, (count, 2, 3))
    (expected,) = reference(proto, x=batch)
    for _ in range(2):
        assert np.array([row["y"] for row in outputs_of(model, rows_of(batch))]).tolist() == expected.tolist()


@pytest.mark.parametrize("count", [1, 3, MOST_ROWS + 1])
def test_several_inputs_are_filled_each_in_its_place(count: int, tmp_path: Path) -> None:
    proto = onnx.add()
    model = load(proto, tmp_path)
    a, b = samples("float32", (count, 3)), 10 * samples("float32", (count, 3))
    (expected,) = reference(proto, a=a, b=b)
    assert [row["sum"] for row in outputs_of(model, rows_of(a, b))] == expected.tolist()


def test_a_result_is_not_touched_by_the_next_run(tmp_path: Path) -> None:
    model = load(onnx.identity(), tmp_path)
    first = model.run([(np.array([1, 2, 3], np.float32).tobytes(),)])
    second = model.run([(np.array([4, 5, 6], np.float32).tobytes(),)])
    assert first.rows(lists=True) == [{"y": [1, 2, 3]}]
    assert second.rows(lists=True) == [{"y": [4, 5, 6]}]


def test_runs_at_the_same_time_have_buffers_of_their_own(tmp_path: Path) -> None:
    model = load(onnx.identity(), tmp_path)

    def run(number: int) -> bool:
        row = np.full(3, number, np.float32)
        return all(model.run([(row.tobytes(),)]).rows(lists=True) == [{"y": row.tolist()}] for _ in range(200))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(run, range(8)))


def test_a_graph_that_claims_another_shape_than_it_gives_runs_without(tmp_path: Path) -> None:
    """ONNX Runtime refuses a buffer of the declared size; the outputs come as they are."""
    model = load(onnx.identity(dims=("N", 3), out_dims=("N", 5)), tmp_path)
    for count in (1, 2, 1):
        batch = samples("float32", (count, 3))
        assert [row["y"] for row in outputs_of(model, rows_of(batch))] == batch.tolist()
