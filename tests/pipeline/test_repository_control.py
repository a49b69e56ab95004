"""Models are loaded and unloaded by name."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, ModelUnavailable, UnknownModel
from tests.pipeline.test_repository import repository, unloaded
from tests.pipeline.version_parts import put_constant, refreshed, serving, states


async def test_with_explicit_control_only_what_was_named_is_loaded(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    put_constant(tmp_path, "1", name="other")
    async with repository(tmp_path, only=["other"]) as models:
        assert states(models) == {"m/1": "unavailable", "other/1": "ready"}
        assert models.describe("m").reason == "not loaded"
        with pytest.raises(ModelUnavailable, match="'m' is not loaded"):
            models.get("m")
        await refreshed(models)
        assert models.versions("m") == []
        await models.load("m")
        assert await serving(models) == 1.0
        put_constant(tmp_path, "2")
        await models.load("m")
        assert await serving(models) == 2.0
        await models.unload("m")
        await refreshed(models)
        with pytest.raises(ModelUnavailable, match="'m' is not loaded"):
            models.get("m")
        assert models.get("other").name == "other"


async def test_loading_and_unloading_what_is_not_there(tmp_path: Path) -> None:
    put_constant(tmp_path, "1").write_bytes(b"garbage")
    async with repository(tmp_path, only=[]) as models:
        for change in (models.load, models.unload):
            with pytest.raises(UnknownModel):
                await change("nobody")
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"1/model\.onnx: "):
                await models.load("m")


async def test_a_model_to_load_at_the_start_must_be_there(tmp_path: Path) -> None:
    async with unloaded(tmp_path, only=["nobody"]) as models:
        with pytest.raises(ConfigError, match="load_models: there is no model 'nobody'"):
            await models.load_all()


async def test_what_was_unloaded_stays_so_until_it_is_loaded(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    async with repository(tmp_path) as models:
        await models.unload("m")
        put_constant(tmp_path, "2")
        await refreshed(models)
        assert models.versions("m") == []
        await models.load("m")
        assert await serving(models) == 2.0
