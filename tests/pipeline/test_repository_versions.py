"""Versions side by side: which are served, what their labels mean, and what is told of them."""

from pathlib import Path

import pytest

from pipeline.errors import ModelUnavailable, UnknownModel
from pipeline.messages import VersionInfo
from tests.pipeline.test_repository import CORES, repository
from tests.pipeline.version_parts import ALL, configure, put_constant, refreshed, serving, states


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


async def test_what_is_known_of_a_model_reads_well(tmp_path: Path) -> None:
    put_constant(tmp_path, "1")
    async with repository(tmp_path) as models:
        assert repr(models._models["m"]) == "<Versions m ready=['1'] broken=[]>"
        assert repr(models.route("m")).startswith("<Route m/newest to <ServedModel m/1 ")
        assert CORES
