"""Ensembles in a repository that changes: they follow their steps, and nothing that they had taken is lost."""

import asyncio
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, ModelUnavailable
from pipeline.messages import Prediction
from pipeline.repository import Repository
from tests import onnx_models as onnx
from tests.pipeline.ensemble_parts import SCALED, ask, outputs, put_ensemble, put_model, put_scaled
from tests.pipeline.test_repository import repository, unloaded
from tests.pipeline.version_parts import refreshed

NAMED = """
[[ensemble_scheduling.step]]
model_name = "whole"
input_map = { raw = "x" }
output_map = { class = "class" }
[[ensemble_scheduling.step]]
model_name = "name"
input_map = { index = "class" }
output_map = { value = "value" }
"""


def served(models: Repository) -> list[str]:
    return [model.name for model in models]


def put_scale(root: Path, version: str, last: float) -> None:
    put_model(root, "scale", onnx.gemm([[1, 0, 0], [0, 1, 0], [0, 0, last]], [0, 0, 0]), version=version)


async def test_a_new_version_of_a_step_is_taken_up(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    async with repository(tmp_path) as models:
        before = models.get("whole")
        assert await outputs(models, [0, 2, 1]) == [{"class": 1}]
        put_scale(tmp_path, "2", last=100)
        await refreshed(models)
        assert models.get("whole") is not before
        assert await outputs(models, [0, 2, 1]) == [{"class": 2}]
        assert [step.version for step in models.describe("whole").steps or ()] == ["2", "1"]
        assert models.index()[1].name == "scale"


async def test_what_is_under_way_ends_with_the_models_that_it_began_with(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    waits = "max_batch_size = 8\n[dynamic_batching]\nmax_queue_delay_microseconds = 300000\n"
    put_model(tmp_path, "classify", onnx.argmax(), waits)
    async with repository(tmp_path) as models:
        former = models.get("classify")
        under_way = asyncio.create_task(ask(models, *[[0, 2, 1]] * 3))
        await asyncio.wait([under_way], timeout=0.05)  # the first step is done, the second waits for more rows
        assert former.engine.is_busy
        put_model(tmp_path, "classify", onnx.argmax(), version="2")
        while not await models.refresh():
            pass
        assert models.get("classify") is not former
        answers = await under_way
        assert [answer.outputs for answer in answers if isinstance(answer, Prediction)] == [{"class": 1}] * 3
        assert former.engine.stats.predictions == 3
        await models.drained()


async def test_a_version_that_does_not_fit_leaves_the_ensemble_with_the_one_before(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    async with repository(tmp_path) as models:
        put_model(tmp_path, "scale", onnx.identity(dims=("N", 4)), version="2")
        await refreshed(models)
        assert models.get("scale").version == "2"
        assert await outputs(models, [0, 2, 1]) == [{"class": 1}]
        assert "output_map.scores: scale has no such output" in (models.describe("whole").reason or "")
        assert [step.version for step in models.describe("whole").steps or ()] == ["1", "1"]
        put_scale(tmp_path, "3", last=100)
        await refreshed(models)
        assert await outputs(models, [0, 2, 1]) == [{"class": 2}]
        assert models.describe("whole").reason is None


async def test_an_ensemble_goes_and_comes_with_a_step(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "name", onnx.lookup([10, 20, 30]))
    put_ensemble(tmp_path, NAMED, "all")
    async with repository(tmp_path) as models:
        assert served(models) == ["all", "classify", "name", "scale", "whole"]
        await models.unload("scale")
        assert served(models) == ["classify", "name"]
        with pytest.raises(ModelUnavailable, match=r"could not be loaded: .*all.config\.toml: .*'whole' could not be"):
            models.get("all")
        await models.load("scale")
        assert served(models) == ["all", "classify", "name", "scale", "whole"]
        assert await outputs(models, [0, 0, 1], model="all") == [{"value": 30}]


async def test_an_ensemble_ends_when_the_folder_of_a_step_does(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    async with repository(tmp_path) as models:
        for path in sorted((tmp_path / "scale").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (tmp_path / "scale").rmdir()
        await refreshed(models)
        assert served(models) == ["classify"]
        put_scale(tmp_path, "1", last=1)
        await refreshed(models)
        assert served(models) == ["classify", "scale", "whole"]


async def test_everything_that_comes_at_once_is_served_without_complaint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_model(tmp_path, "first", onnx.identity())
    async with repository(tmp_path) as models:
        put_scaled(tmp_path)
        put_model(tmp_path, "name", onnx.lookup([10, 20, 30]))
        put_ensemble(tmp_path, NAMED, "all")
        await refreshed(models)
        assert served(models) == ["all", "classify", "first", "name", "scale", "whole"]
    assert "is not served" not in caplog.text


async def test_the_steps_come_with_an_ensemble_and_go_with_it_where_asked(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "name", onnx.lookup([10, 20, 30]))
    put_ensemble(tmp_path, NAMED, "all")
    async with repository(tmp_path, only=()) as models:
        assert served(models) == []
        await models.load("all")
        assert served(models) == ["all", "classify", "name", "scale", "whole"]
        await models.unload("all")
        assert served(models) == ["classify", "name", "scale", "whole"]
        await models.load("all")
        await models.unload("all", with_steps=True)
        assert served(models) == []
        await models.load("whole")
        await models.load("all")
        await models.unload("whole", with_steps=True)
        assert served(models) == ["name"]


async def test_the_steps_of_another_ensemble_stay(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_ensemble(tmp_path, SCALED, "other")
    async with repository(tmp_path) as models:
        await models.unload("whole", with_steps=True)
        assert served(models) == ["classify", "other", "scale"]


async def test_an_ensemble_that_is_named_at_the_start_brings_its_steps(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "idle", onnx.identity())
    async with unloaded(tmp_path, only=["whole"]) as models:
        await models.load_all()
        assert served(models) == ["classify", "scale", "whole"]


async def test_an_ensemble_without_one_of_its_models_says_which(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    async with repository(tmp_path, only=()) as models:
        put_model(tmp_path, "scale", onnx.never_runs())
        with pytest.raises(ConfigError, match=r"step\[0\]: model 'scale' could not be loaded"):
            await models.load("whole")


async def test_versions_of_an_ensemble_are_its_folders(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    for version in ("1", "3"):
        (tmp_path / "whole" / version).mkdir()
    async with repository(tmp_path) as models:
        assert models.versions("whole") == ["3"]
        put_ensemble(tmp_path, "version_policy.all = {}\nversion_labels = { stable = 1 }\n" + SCALED)
        await refreshed(models)
        assert models.versions("whole") == ["1", "3"]
        assert models.get("whole", "stable").version == "1"


async def test_a_step_may_name_a_label(tmp_path: Path) -> None:
    put_scaled(tmp_path, SCALED.replace('"scale"', '"scale"\nmodel_version = "stable"', 1))
    put_scale(tmp_path, "2", last=100)
    config = "version_policy.all = {}\nversion_labels.stable = "
    (tmp_path / "scale" / "config.toml").write_text(config + "1")
    async with repository(tmp_path) as models:
        assert await outputs(models, [0, 2, 1]) == [{"class": 1}]
        (tmp_path / "scale" / "config.toml").write_text(config + "2")
        await refreshed(models)
        assert await outputs(models, [0, 2, 1]) == [{"class": 2}]
