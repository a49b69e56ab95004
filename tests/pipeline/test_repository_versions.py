"""Versions side by side: which are served, how they come and go while clients use them, and what is told of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, ModelUnavailable, UnknownModel
from pipeline.messages import Gap, VersionInfo
from pipeline.model_folder import Look, find_models
from pipeline.repository import Repository
from pipeline.stats import ServerStats
from tests import onnx_models as onnx
from tests.pipeline.session_parts import Client
from tests.pipeline.test_repository import CORES, put, repository, unloaded

ALL = "[version_policy.all]\n"


def put_constant(root: Path, version: str, name: str = "m") -> Path:
    """Put a version that answers any number with its own."""
    proto = onnx.gemm([[0.0]], [float(version)])
    return onnx.save(proto, root / name / version / "model.onnx")


def configure(root: Path, config: str, name: str = "m") -> None:
    (root / name / "config.toml").write_text(config)


async def refreshed(models: Repository) -> None:
    """Refresh until everything is at rest, and let what was replaced be retired."""
    while not await models.refresh():
        pass
    await models.drained()
    await asyncio.sleep(0)


async def serving(models: Repository, version: str | None = None) -> float:
    """Return what a new client is answered."""
    client = Client(models.get("m", version), served=models, version=version)
    came = asyncio.Event()
    client.outlet.on_send = came.set
    client.send([1])
    await came.wait()
    ((value,),) = values(client)
    return float(value)


def values(client: Client) -> list[Any]:
    """Return the outputs that came since the last call; a model has but one."""
    answers = client.predictions()
    assert all(isinstance(answer.outputs, dict) for answer in answers)
    return [output for answer in answers for output in answer.outputs.values()]  # type: ignore[union-attr]


def states(models: Repository) -> dict[str, str]:
    return {f"{info.name}/{info.version}": info.state for info in models.index()}


@pytest.mark.parametrize(
    ("config", "ready"),
    [
        ("", ["10"]),
        ("[version_policy.latest]\nnum_versions = 2", ["3", "10"]),
        (ALL, ["1", "3", "10"]),
        ("[version_policy.specific]\nversions = [3, 1]", ["1", "3"]),
    ],
)
async def test_the_policy_says_which_versions_are_served(tmp_path: Path, config: str, ready: list[str]) -> None:
    for version in ("1", "3", "10"):
        put_constant(tmp_path, version)
    configure(tmp_path, config)
    async with repository(tmp_path) as models:
        assert models.versions("m") == ready
        assert await serving(models) == float(ready[-1])
        for version in ready:
            assert await serving(models, version) == float(version)
        assert {place for place, state in states(models).items() if state == "ready"} == {f"m/{v}" for v in ready}
        with pytest.raises(UnknownModel, match=f"served: {', '.join(ready)}"):
            models.get("m", "7")


async def test_labels_lead_to_versions_and_stand_in_the_description(tmp_path: Path) -> None:
    for version in ("1", "2"):
        put_constant(tmp_path, version)
    configure(tmp_path, f"{ALL}[version_labels]\nstable = 1\ncanary = 2\n")
    async with repository(tmp_path) as models:
        assert (await serving(models, "stable"), await serving(models, "canary")) == (1.0, 2.0)
        assert models.describe("m", "stable").version == "1"
        assert models.describe("m").versions == [
            VersionInfo("1", "ready", ["stable"]),
            VersionInfo("2", "ready", ["canary"]),
        ]
        stable = models.route("m", "stable")
        configure(tmp_path, f"{ALL}[version_labels]\nstable = 2\n")
        await refreshed(models)
        assert stable.current is models.get("m", "2")
        with pytest.raises(UnknownModel):
            models.get("m", "canary")


async def test_a_label_of_a_version_that_is_not_served_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for version in ("1", "2"):
        put_constant(tmp_path, version)
    configure(tmp_path, "[version_labels]\nstable = 1\n")
    async with repository(tmp_path) as models:
        with pytest.raises(ModelUnavailable, match=r"config\.toml: version_labels\.stable: version 1 is not served"):
            models.get("m")
        assert models.broken == ["m"]
        configure(tmp_path, "[version_labels]\nstable = 2\n")
        await refreshed(models)
        assert (await serving(models, "stable"), models.describe("m").reason) == (2.0, None)
    assert len(caplog.records) == 1


async def test_a_named_version_that_is_not_there_is_told(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    configure(tmp_path, "[version_policy.specific]\nversions = [1, 2]")
    async with repository(tmp_path) as models:
        assert await serving(models) == 1.0
        with pytest.raises(ModelUnavailable, match="there is no version 2"):
            models.get("m", "2")


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


async def test_a_label_stays_with_a_good_version_where_its_new_one_is_broken(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    configure(tmp_path, f"{ALL}[version_labels]\nstable = 1\n")
    async with repository(tmp_path) as models:
        put_constant(tmp_path, "2").write_bytes(b"garbage")
        configure(tmp_path, f"{ALL}[version_labels]\nstable = 2\n")
        await refreshed(models)
        assert await serving(models, "stable") == 1.0


async def test_a_version_that_a_label_stays_with_is_served_although_it_is_chosen_no_more(tmp_path: Path) -> None:
    for version in ("2", "3"):
        put_constant(tmp_path, version)
    configure(tmp_path, "[version_policy.specific]\nversions = [2, 3]\n[version_labels]\nstable = 3\n")
    async with repository(tmp_path) as models:
        path = put_constant(tmp_path, "4")
        path.write_bytes(b"garbage")
        configure(tmp_path, "[version_policy.specific]\nversions = [2, 4]\n[version_labels]\nstable = 4\n")
        await refreshed(models)
        assert (models.versions("m"), await serving(models, "stable")) == (["2", "3"], 3.0)
        put_constant(tmp_path, "4")
        await refreshed(models)
        assert (models.versions("m"), await serving(models, "stable")) == (["2", "4"], 4.0)


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


async def test_what_is_known_of_a_model_reads_well(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    async with repository(tmp_path) as models:
        assert repr(models._models["m"]) == "<Versions m ready=['1'] broken=[]>"
        assert repr(models.route("m")).startswith("<Route m/newest to <ServedModel m/1 ")
        assert CORES
