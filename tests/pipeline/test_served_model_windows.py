"""Models over windows: samples go in one by one or in chunks, whatever the graph declares of its time axis."""

from pathlib import Path

import numpy as np
import pytest
from msgspec import UNSET
from onnx import ModelProto

from pipeline.codec import MSGPACK
from pipeline.errors import ConfigError, InvalidInput
from pipeline.loaded_model import LoadedModel
from pipeline.messages import Failure
from pipeline.model_config import DynamicBatching, ModelConfig, WindowConfig
from tests import onnx_models as onnx
from tests.pipeline.served_parts import Served
from tests.pipeline.session_parts import Client

WINDOW = ModelConfig(window=WindowConfig(3, 2))
SAMPLES = [[float(n), 10.0 * n] for n in range(7)]
MEANS = [{"mean": [float(middle), 10.0 * middle]} for middle in (1, 3, 5)]


@pytest.mark.parametrize("dims", [("N", 3, 2), ("N", "T", 2)], ids=["fixed time axis", "dynamic time axis"])
async def test_a_window_slides_over_the_samples(dims: tuple[str | int, ...], tmp_path: Path) -> None:
    async with Served(onnx.mean_over_time(dims), tmp_path, WINDOW) as served:
        assert await served.ask(*SAMPLES, answers=3) == MEANS
        assert await served.ask(SAMPLES, answers=3) == MEANS
        assert await served.ask(SAMPLES[:4], *SAMPLES[4:], answers=3) == MEANS


async def test_samples_may_be_bytes_and_may_name_their_input(tmp_path: Path) -> None:
    async with Served(onnx.mean_over_time(("N", 3, 2)), tmp_path, WINDOW) as served:
        raw = np.array(SAMPLES, np.float32).tobytes()
        expected = [{"mean": np.array(answer["mean"], np.float32).tobytes()} for answer in MEANS]
        assert await served.ask(raw[:8], {"x": raw[8:]}, codec=MSGPACK, answers=3) == expected


async def test_samples_that_do_not_fit_are_named(tmp_path: Path) -> None:
    async with Served(onnx.mean_over_time(("N", 3, 2)), tmp_path, WINDOW) as served:
        assert await served.ask([1, 2, 3]) == ["data: expected 2 numbers per sample, got 3"]
        assert await served.ask(b"1234567", codec=MSGPACK) == [
            "data: expected whole samples of 8 bytes, got 7 bytes",
        ]
        with pytest.raises(InvalidInput, match=r"^data: missing, expected a sample"):
            served.model.samples(UNSET)


async def test_samples_of_a_priority_that_the_model_does_not_have_are_not_taken(tmp_path: Path) -> None:
    batching = DynamicBatching(priority_levels=2, default_priority_level=1)
    config = ModelConfig(window=WindowConfig(3, 2), dynamic_batching=batching)
    async with Served(onnx.mean_over_time(("N", 3, 2)), tmp_path, config) as served:
        client = Client(served.model)
        client.send(SAMPLES[:2])
        client.send(SAMPLES[2:3], priority=3)
        (refused,) = client.read_all(Failure)
        assert refused.error.message == "priority: expected 0 to 2, got 3"
        client.send(SAMPLES[2:3], priority=2)
        await served.model.engine.drained()
        (answer,) = client.predictions()
        assert answer.outputs == MEANS[0]


async def test_a_window_over_a_graph_without_a_batch_dimension(tmp_path: Path) -> None:
    proto = onnx.identity(dims=[3, 2])
    async with Served(proto, tmp_path, WINDOW) as served:
        assert await served.ask(SAMPLES[:3], answers=1) == [{"y": SAMPLES[:3]}]


async def test_a_model_without_a_window_gives_none(tmp_path: Path) -> None:
    async with Served(onnx.identity(), tmp_path) as served:
        assert served.model.new_window() is None


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (onnx.mean_over_time(("N", 4, 2)), "window.length: 3 does not fit the input x float32[4, 2]"),
        (onnx.identity(dims=("N",)), "window.length: 3 does not fit the input x float32[]"),
        (onnx.add(), "window: needs a model with one numeric input"),
        (onnx.identity("string", ("N", 3)), "window: needs a model with one numeric input"),
        (onnx.identity(dims=("N", 3, "K")), "window: a sample of x must have a fixed, non-zero size"),
        (onnx.identity(dims=("N", 3, 0)), "window: a sample of x must have a fixed, non-zero size"),
    ],
    ids=["other length", "no time axis", "two inputs", "strings", "dynamic sample", "empty sample"],
)
def test_a_window_that_does_not_fit_is_refused_by_name(proto: ModelProto, reason: str, tmp_path: Path) -> None:
    path = onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ConfigError) as caught:
        LoadedModel(path, WINDOW)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
