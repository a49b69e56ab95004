"""The repository follows its folder: by the kernel's word, or by polling where the kernel has none."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from watchfiles import awatch

from pipeline.errors import WaterspoutError
from pipeline.model_watch import ModelWatch
from pipeline.repository import Repository
from tests import onnx_models as onnx
from tests.pipeline.test_repository import put, repository
from tests.pipeline.version_parts import put_constant


@asynccontextmanager
async def watched(root: Path, **options: Any) -> AsyncIterator[tuple[Repository, ModelWatch]]:
    """Give a repository that follows its folder."""
    async with repository(root) as models:
        watch = ModelWatch(models, root, **options)
        watch.start()
        await asyncio.sleep(0)  # the watch is set
        yield models, watch
        await watch.stop()


async def serves(models: Repository, name: str, version: str) -> None:
    """Wait until a version is the newest that is ready."""
    while True:
        try:
            if models.get(name).version == version:
                return
        except WaterspoutError:
            pass
        await asyncio.sleep(0.01)


async def test_what_comes_is_loaded_and_what_goes_is_retired(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    async with watched(tmp_path) as (models, watch):
        assert repr(watch) == f"<ModelWatch {tmp_path}>"
        put_constant(tmp_path, "2")
        await serves(models, "m", "2")
        put(tmp_path, "other")
        await serves(models, "other", "1")
        (tmp_path / "m" / "2" / "model.onnx").unlink()
        await serves(models, "m", "1")


async def test_where_the_kernel_tells_nothing_the_folder_is_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def without_inotify(*folders: Path, **options: Any) -> AsyncIterator[Any]:
        if not options["force_polling"]:
            raise OSError("inotify watch limit reached")
        polling.set()
        return awatch(*folders, **options)

    monkeypatch.setattr("pipeline.model_watch.RETRY_SECONDS", 0.0)
    polling = asyncio.Event()
    put_constant(tmp_path, "1")
    async with watched(tmp_path, changes=without_inotify) as (models, watch):
        await polling.wait()
        assert repr(watch) == f"<ModelWatch {tmp_path} polling>"
        await asyncio.sleep(0)
        put_constant(tmp_path, "2")
        await serves(models, "m", "2")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "inotify watch limit reached" in record.getMessage()


async def test_a_folder_that_goes_away_is_told_once_and_followed_again_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ticks(*folders: Path, **options: Any) -> AsyncIterator[Any]:
        while True:
            await asyncio.sleep(0.01)
            if not root.exists():
                failing.release()
            yield set()

    failing = asyncio.Semaphore(0)

    monkeypatch.setattr("pipeline.model_watch.RETRY_SECONDS", 0.0)
    root = tmp_path / "models"
    put_constant(root, "1")
    async with watched(root, changes=ticks) as (models, _):
        root.rename(tmp_path / "away")
        await failing.acquire()
        while not caplog.records:  # noqa: ASYNC110 - the log is what is waited for
            await asyncio.sleep(0.01)
        assert models.get("m").version == "1"
        (tmp_path / "away").rename(root)
        onnx.save(onnx.identity(), root / "m" / "2" / "model.onnx")
        await serves(models, "m", "2")
    (record,) = caplog.records
    assert record.getMessage() == f"models: {root} is not a folder; what is served stays"


async def test_a_watch_that_was_never_started_may_be_stopped(tmp_path: Path) -> None:
    async with repository(tmp_path) as models:
        await ModelWatch(models, tmp_path).stop()
