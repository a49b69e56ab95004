"""Versions come, go and break while clients use them."""

import asyncio
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, ModelUnavailable, UnknownModel
from pipeline.messages import Gap
from pipeline.stats import ServerStats
from tests import onnx_models as onnx
from tests.pipeline.session_parts import Client
from tests.pipeline.test_repository import repository
from tests.pipeline.version_parts import configure, put_constant, refreshed, serving, states, values


async def test_a_new_version_takes_over_and_the_old_one_is_retired(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    stats = ServerStats()
    async with repository(tmp_path, stats=stats) as models:
        old, route = models.get("m"), models.route("m")
        put_constant(tmp_path, "2")
        await refreshed(models)
        assert route.current is models.get("m") is models.get("m", "2")
        assert states(models) == {"m/1": "unavailable", "m/2": "ready"}
        assert old.room == 0
        assert list(stats.models) == [("m", "2")]
        assert models.states() == [("m", "2", "ready")]


async def test_a_client_is_served_through_swaps_without_a_gap(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    async with repository(tmp_path) as models:
        client = Client(models.get("m"), served=models)
        for version in ("2", "3", "4"):
            put_constant(tmp_path, version)
            client.send([1])
            await refreshed(models)
            client.send([1])
            await models.drained()
        assert values(client) == [[1.0], [2.0], [2.0], [3.0], [3.0], [4.0]]


async def test_an_old_version_answers_what_it_has_before_it_is_closed(tmp_path: Path) -> None:
    onnx.save(onnx.slow(512, 8), tmp_path / "m" / "1" / "model.onnx")
    configure(tmp_path, "max_batch_size = 4\ninline_below_microseconds = 0\n")
    async with repository(tmp_path) as models:
        old = models.get("m")
        client = Client(old, served=models)
        for _ in range(40):
            client.send([1.0] * 512)
        models._models["m"].ready["2"] = old  # another version beside it
        unloading = asyncio.create_task(models.unload("m"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert states(models)["m/1"] == "unloading"
        with pytest.raises(ModelUnavailable, match="being unloaded"):
            models.get("m")
        await unloading
        assert len(client.predictions()) == 40
        assert old.room == 0


@pytest.mark.parametrize("broken", ["garbage", "never runs", "config"])
async def test_a_broken_version_never_replaces_a_good_one(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_constant(tmp_path, "1")
    async with repository(tmp_path) as models:
        good, path = models.get("m"), tmp_path / "m" / "2" / "model.onnx"
        if broken == "never runs":
            onnx.save(onnx.never_runs(), path)
        else:
            put_constant(tmp_path, "2")
        if broken == "garbage":
            path.write_bytes(b"garbage")
        elif broken == "config":
            configure(tmp_path, "max_batch_siz = 1")
        await refreshed(models)
        assert models.get("m") is good
        assert await serving(models) == 1.0
        assert models.broken == []
        told = models.describe("m").versions
        assert told is not None
        assert [(info.version, info.state, bool(info.reason)) for info in told] == [
            ("1", "ready", False),
            ("2", "unavailable", True),
        ]
        (record,) = caplog.records
        assert record.getMessage() == f"version 2 of model m is not served: {told[1].reason}"
        with pytest.raises(ModelUnavailable, match="version 2 of 'm' could not be loaded: "):
            models.get("m", "2")
        with pytest.raises(ConfigError):
            await models.load("m")
        put_constant(tmp_path, "2")
        configure(tmp_path, "")
        await refreshed(models)
        assert await serving(models) == 2.0
        assert models.describe("m").reason is None


async def test_a_version_that_is_broken_in_place_is_served_as_it_was(tmp_path: Path) -> None:
    path = put_constant(tmp_path, "1")
    async with repository(tmp_path) as models:
        path.write_bytes(b"garbage")
        await refreshed(models)
        assert await serving(models) == 1.0
        info = models.describe("m")
        assert info.state == "ready"
        assert "model.onnx: " in (info.reason or "")
        onnx.save(onnx.gemm([[0.0]], [5.0]), path)
        await refreshed(models)
        assert (await serving(models), models.describe("m").reason) == (5.0, None)


async def test_where_the_newest_is_broken_at_the_start_the_next_is_served(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    put_constant(tmp_path, "2").write_bytes(b"garbage")
    async with repository(tmp_path) as models:
        assert await serving(models) == 1.0


async def test_what_is_gone_from_the_disk_is_retired(tmp_path: Path) -> None:
    for version in ("1", "2"):
        put_constant(tmp_path, version)
    async with repository(tmp_path) as models:
        route = models.route("m")
        (tmp_path / "m" / "2" / "model.onnx").unlink()
        await refreshed(models)
        assert await serving(models) == 1.0
        (tmp_path / "m" / "1" / "model.onnx").unlink()
        await refreshed(models)
        assert route.current is None
        assert models.index() == []
        with pytest.raises(UnknownModel):
            models.get("m")
        put_constant(tmp_path, "3")
        await refreshed(models)
        assert await serving(models) == 3.0


async def test_a_window_is_kept_where_the_next_version_takes_the_same_and_dropped_where_not(tmp_path: Path) -> None:
    for version in ("1", "2"):
        onnx.save(
            onnx.mean_over_time(("N", "T", 2)), tmp_path.parent / f"{tmp_path.name}-later" / version / "model.onnx"
        )
    (tmp_path / "m").mkdir()
    configure(tmp_path, "[window]\nlength = 3\nhop = 1\n")
    (tmp_path.parent / f"{tmp_path.name}-later" / "1").rename(tmp_path / "m" / "1")
    async with repository(tmp_path) as models:
        client = Client(models.get("m"), served=models)
        client.send([[1, 1], [2, 2]], key="k")
        (tmp_path.parent / f"{tmp_path.name}-later" / "2").rename(tmp_path / "m" / "2")
        await refreshed(models)
        client.send([[3, 3]], key="k")
        await models.drained()
        assert values(client) == [[2.0, 2.0]]
        configure(tmp_path, "[window]\nlength = 2\nhop = 1\n")
        await refreshed(models)
        client.send([[8, 8], [10, 10]], key="k")
        assert client.gaps() == [Gap(2, "model_changed", "k")]
        await models.drained()
        assert values(client) == [[9.0, 9.0]]


async def test_predictions_of_versions_that_are_gone_stay_in_the_sum(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    stats = ServerStats()
    async with repository(tmp_path, stats=stats) as models:
        for made in (1, 2):
            await serving(models)
            assert stats.predictions == made
            (tmp_path / "m" / "1" / "model.onnx").unlink()
            put_constant(tmp_path, "1")  # the same number in the same place
            await refreshed(models)
            assert stats.predictions == made
            assert stats.models["m", "1"].predictions == 0
        await serving(models)
        await models.unload("m")
        assert (stats.predictions, stats.models, stats.counted()) == (3, {}, [])
