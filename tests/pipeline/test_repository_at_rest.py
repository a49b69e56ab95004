"""Looks at a folder that changes: what is half there is not loaded, and what has not changed is left alone."""

import asyncio
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.model_folder import Look, find_models
from tests.pipeline.test_repository import put, repository
from tests.pipeline.version_parts import put_constant, refreshed, serving


async def test_a_file_that_is_still_copied_is_not_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put_constant(tmp_path, "1")
    whole = put_constant(tmp_path, "9", name="elsewhere").read_bytes()
    async with repository(tmp_path) as models:
        path = tmp_path / "m" / "2" / "model.onnx"
        path.parent.mkdir()
        copying = asyncio.create_task(copy_slowly(whole, path, 0.5))
        while not copying.done():
            await models.refresh()
            assert copying.done() or await serving(models) == 1.0
        await refreshed(models)
        assert await serving(models) == 9.0
    assert caplog.records == []


async def copy_slowly(whole: bytes, path: Path, seconds: float) -> None:
    """Write a file piece by piece, the last of them at the end."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    with path.open("wb", buffering=0) as file:
        file.write(whole[:-1])
        while loop.time() < end:
            file.seek(0)
            file.write(whole[:-1])
            await asyncio.sleep(0.002)
        file.write(whole[-1:])


async def test_what_fails_while_its_files_change_was_not_there_yet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def look() -> Look:
        seen = find_models(tmp_path)
        if copied.exists():
            looks.append(seen)
            if len(looks) == 2:
                copied.write_bytes(whole[:-8])
        return seen

    put_constant(tmp_path, "1")
    whole = put_constant(tmp_path, "2", name="elsewhere").read_bytes()
    copied = tmp_path / "m" / "2" / "model.onnx"
    looks: list[Look] = []
    async with repository(tmp_path, look=look) as models:
        copied.parent.mkdir()
        copied.write_bytes(whole[:-9])
        assert not await models.refresh()
        assert looks[0] == looks[1]
        assert await serving(models) == 1.0
        copied.write_bytes(whole)
        await refreshed(models)
        assert await serving(models) == 2.0
    assert caplog.records == []


async def test_a_refresh_without_changes_loads_nothing(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    put(tmp_path, "bad").write_bytes(b"garbage")
    async with repository(tmp_path) as models:
        good = models.get("m")
        assert await models.refresh()
        assert models.get("m") is good


async def test_a_complaint_about_a_folder_is_made_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with repository(tmp_path) as models:
        (tmp_path / "empty").mkdir()
        for _ in range(3):
            await refreshed(models)
    assert len(caplog.records) == 1


async def test_a_repository_that_cannot_be_looked_at_serves_on(tmp_path: Path) -> None:
    put_constant(tmp_path / "root", "1")
    async with repository(tmp_path / "root") as models:
        (tmp_path / "root").rename(tmp_path / "away")
        with pytest.raises(ConfigError, match="is not a folder"):
            await models.refresh()
        assert await serving(models) == 1.0
