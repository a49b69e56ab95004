"""Orders as one process carries them out, on models that are real."""

import logging
from pathlib import Path

import pytest

from handlers.heartbeat import Heartbeat, HeartbeatOptions
from handlers.orders import Executor
from pipeline.catalogue import Catalogue
from pipeline.errors import ModelUnavailable
from pipeline.orders import CloseSession, Did, DrainModel, Listed, ListSessions, Order, ResumeModel, SetLogLevel, Task
from pipeline.standing import Mark, Standing
from tests.pipeline.test_repository import repository
from tests.pipeline.version_parts import put_constant, refreshed, serving


class Process:
    """One without sockets."""

    def __init__(self, models: Catalogue | None) -> None:
        self.standing = Standing()
        self._execute = Executor(Heartbeat(HeartbeatOptions()), models, self.standing)

    async def told(self, task: Task) -> object:
        return await self._execute(Order("root", task))


async def test_a_model_is_drained_and_resumed_and_the_last_order_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_constant(tmp_path, "1")
    async with repository(tmp_path) as models:
        process = Process(models)
        assert await process.told(DrainModel("m", at=5)) == Did(True)
        with pytest.raises(ModelUnavailable, match="drained by an operator"):
            models.get("m")
        assert await process.told(DrainModel("m", at=5)) == Did(True)
        assert await process.told(ResumeModel("m", at=7)) == Did(True)
        assert await process.told(DrainModel("m", at=6)) == Did(True), "an older one, which came late, changes nothing"
        assert await serving(models) == 1.0
        said = [record.getMessage() for record in caplog.records if record.name == "handlers.orders"]
        assert said == ["root drains model m", "root resumes model m"]


async def test_models_follow_what_others_know_also_when_they_come_later(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    async with repository(tmp_path) as models:
        process = Process(models)
        process.standing.merge({"m": Mark(5, True, "root"), "late": Mark(5, True, "root")})
        process.standing.follow()
        assert models.is_held("m")
        put_constant(tmp_path, "1", name="late")
        await refreshed(models)
        process.standing.follow()
        assert models.is_held("late")
        process.standing.merge({"m": Mark(6, False, "root")})
        process.standing.follow()
        assert (models.is_held("m"), models.is_held("late")) == (False, True)


async def test_what_is_not_known_here_is_nothing_to_do_and_does_not_stand(tmp_path: Path) -> None:
    async with repository(tmp_path) as models:
        process = Process(models)
        for task in (DrainModel("absent", at=1), ResumeModel("absent", at=2), CloseSession("absent")):
            assert await process.told(task) == Did(False)
        assert process.standing.marks == {}
        assert await process.told(ListSessions(None, 10)) == Listed([], 0)


async def test_a_worker_has_no_models_to_drain_and_logs_as_it_is_told() -> None:
    worker = Process(None)
    worker.standing.merge({"m": Mark(1, True, "root")})
    worker.standing.follow()
    assert await worker.told(DrainModel("m", at=2)) == Did(False)
    before = logging.getLogger().level
    try:
        assert await worker.told(SetLogLevel("error")) == Did(True)
        assert logging.getLogger().level == logging.ERROR
    finally:
        logging.getLogger().setLevel(before)
