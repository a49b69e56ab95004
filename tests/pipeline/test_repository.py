"""Models on disk: the newest version of each is served, and one that cannot be does not stop the others."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, ModelUnavailable, UnknownModel
from pipeline.model_folder import Look, find_models, single_model
from pipeline.repository import Repository
from pipeline.stats import ServerStats
from pipeline.workers import WorkerPool
from tests import onnx_models as onnx
from tests.pipeline.session_parts import Client

CORES = 4


def put(root: Path, name: str, version: str = "1", config: str | None = None) -> Path:
    """Put a good model into a repository; return its file."""
    path = onnx.save(onnx.identity(), root / name / version / "model.onnx")
    if config is not None:
        (root / name / "config.toml").write_text(config)
    return path


@asynccontextmanager
async def unloaded(
    root: Path, stats: ServerStats | None = None, look: Callable[[], Look] | None = None, **options: Any
) -> AsyncIterator[Repository]:
    """Give a repository that has not loaded anything yet."""
    workers = WorkerPool(1)
    look = look or partial(find_models, root)
    models = Repository(stats or ServerStats(), workers, CORES, look, settle_seconds=0.05, **options)
    yield models
    models.close()
    await models.drained()
    workers.shutdown()


@asynccontextmanager
async def repository(root: Path, **options: Any) -> AsyncIterator[Repository]:
    """Give a repository that has loaded what is there."""
    async with unloaded(root, **options) as models:
        await models.load_all()
        yield models


def found_in(root: Path) -> list[str]:
    """Return the names of the models that are found."""
    return list(find_models(root).models)


def names(models: Repository) -> list[str]:
    return [model.name for model in models]


def test_a_folder_with_nothing_but_a_first_version_is_a_model(tmp_path: Path) -> None:
    path = put(tmp_path, "tiny")
    look = find_models(tmp_path)
    assert list(look.models) == ["tiny"]
    assert look.models["tiny"].versions["1"].path == path


def test_the_newest_version_is_the_largest_number(tmp_path: Path) -> None:
    for version in ("1", "9", "10", "2"):
        put(tmp_path, "m", version)
    (tmp_path / "m" / "11").mkdir()
    (tmp_path / "m" / "12").write_text("a file")
    put(tmp_path, "m", "latest")
    put(tmp_path, "m", "-13")
    put(tmp_path, "m", "1.5")
    found = find_models(tmp_path).models["m"]
    assert (found.newest, sorted(found.versions)) == ("10", ["1", "10", "2", "9"])


@pytest.mark.parametrize("odd", ["02", "007", "２"])  # noqa: RUF001
async def test_a_version_written_oddly_does_not_keep_a_model_from_being_served(odd: str, tmp_path: Path) -> None:
    put(tmp_path, "m")
    put(tmp_path, "m", odd)
    async with repository(tmp_path) as models:
        assert (names(models), models.broken) == (["m"], [])


def test_models_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("zebra", "Ant", "a.b-c_d", "0", "x" * 128):
        put(tmp_path, name)
    assert found_in(tmp_path) == ["0", "Ant", "a.b-c_d", "x" * 128, "zebra"]


@pytest.mark.parametrize("name", ["two words", "ümlaut", "-dash", "a+b", "x" * 129, "a\nb"])
async def test_a_folder_whose_name_is_no_name_is_skipped_and_said_so(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, name)
    put(tmp_path, "good")
    async with repository(tmp_path) as models:
        assert names(models) == ["good"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert name in caplog.records[0].getMessage()


@pytest.mark.parametrize("name", [".git", "_drafts"])
def test_hidden_folders_and_files_are_skipped_without_a_word(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)
    (tmp_path / "README.md").write_text("about")
    assert find_models(tmp_path) == Look()


def test_a_folder_without_a_version_is_skipped_and_told_what_was_expected(tmp_path: Path) -> None:
    onnx.save(onnx.identity(), tmp_path / "flat" / "model.onnx")
    look = find_models(tmp_path)
    assert look.models == {}
    (complaint,) = look.complaints
    assert str(tmp_path / "flat" / "1" / "model.onnx") in complaint


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_a_repository_that_is_no_folder_is_a_config_error(what: str, tmp_path: Path) -> None:
    root = tmp_path / "models"
    if what == "a file":
        root.write_text("")
    with pytest.raises(ConfigError, match=r"^models: .* is not a folder"):
        find_models(root)


def test_an_empty_repository_has_no_models(tmp_path: Path) -> None:
    assert find_models(tmp_path) == Look()


def test_a_single_file_is_served_under_its_stem(tmp_path: Path) -> None:
    path = onnx.save(onnx.identity(), tmp_path / "my.model-2.onnx")
    (found,) = single_model(path).models.values()
    assert (found.name, found.versions["1"].path, found.config_path) == ("my.model-2", path, None)


@pytest.mark.parametrize("name", ["two words.onnx", ".onnx", "é.onnx"])
def test_a_single_file_whose_stem_is_no_name_is_refused(name: str, tmp_path: Path) -> None:
    path = onnx.save(onnx.identity(), tmp_path / name)
    with pytest.raises(ConfigError, match="is no model name"):
        single_model(path)


def test_a_single_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.onnx"):
        with pytest.raises(ConfigError, match="is not a file"):
            single_model(path)


async def test_loaded_models_are_found_by_name_and_version(tmp_path: Path) -> None:
    put(tmp_path, "b", "3")
    put(tmp_path, "a")
    async with repository(tmp_path) as models:
        assert names(models) == ["a", "b"]
        assert models.get("b") is models.get("b", "3")
        assert (models.get("b").version, models.get("a").version) == ("3", "1")
        assert [info.state for info in models.describe_all()] == ["ready", "ready"]
        assert models.describe("b") == models.get("b").info()
        assert repr(models) == "<Repository ready=['a', 'b'] broken=[]>"


@pytest.mark.parametrize(("name", "version"), [("nobody", None), ("", None), ("a", "2"), ("a", "01"), ("A", None)])
async def test_what_is_not_there_is_an_unknown_model(name: str, version: str | None, tmp_path: Path) -> None:
    put(tmp_path, "a")
    async with repository(tmp_path) as models:
        with pytest.raises(UnknownModel):
            models.get(name, version)
        with pytest.raises(UnknownModel):
            models.describe("nobody")


async def test_a_model_is_unavailable_while_it_is_loaded(tmp_path: Path) -> None:
    put(tmp_path, "m")
    async with unloaded(tmp_path) as models:
        loading = asyncio.create_task(models.load_all())
        while not models.index():  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0)
        with pytest.raises(ModelUnavailable, match="being loaded"):
            models.get("m")
        assert [info.state for info in models.index()] == ["loading"]
        await loading
        assert models.get("m").name == "m"


async def test_every_model_has_its_statistics(tmp_path: Path) -> None:
    put(tmp_path, "m", "7")
    stats, workers = ServerStats(), WorkerPool(1)
    models = Repository(stats, workers, CORES, partial(find_models, tmp_path))
    await models.load_all()
    assert stats.models == {("m", "7"): models.get("m").engine.stats}
    models.close()


async def test_each_model_that_is_ready_is_one_line_of_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "m", "7", "max_batch_size = 8")
    caplog.set_level(logging.INFO)
    async with repository(tmp_path):
        pass
    assert [record.getMessage() for record in caplog.records] == ["model m version 7 is ready: batches of up to 8"]


async def test_drained_waits_for_what_is_under_way_in_any_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path, name)
    async with repository(tmp_path) as models:
        clients = [Client(model) for model in models]
        for client in clients:
            client.send([1, 2, 3])
        await models.drained()
        assert [len(client.predictions()) for client in clients] == [1, 1]


async def test_a_closed_repository_serves_nothing_more(tmp_path: Path) -> None:
    put(tmp_path, "m")
    async with repository(tmp_path) as models:
        models.close()
        assert models.get("m").room == 0
        await models.drained()
