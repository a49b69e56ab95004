"""Which versions are served out of those on disk, and what labels may mean."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config_files import read_config
from pipeline.errors import ConfigError
from pipeline.model_config import ModelConfig
from pipeline.version_policy import Latest, Specific, VersionPolicy, check_labels, is_version

THERE = ["9", "1", "10", "2"]
numbers = st.sets(st.integers(1, 10**18 - 1), max_size=8).map(lambda found: [str(number) for number in found])
policies = st.one_of(
    st.just(VersionPolicy()),
    st.integers(1, 5).map(lambda count: VersionPolicy(latest=Latest(count))),
    st.just(VersionPolicy(all={})),
    st.lists(st.integers(1, 5), min_size=1).map(lambda named: VersionPolicy(specific=Specific(named))),
)


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (VersionPolicy(), ["10"]),
        (VersionPolicy(latest=Latest()), ["10"]),
        (VersionPolicy(latest=Latest(3)), ["2", "9", "10"]),
        (VersionPolicy(latest=Latest(99)), ["1", "2", "9", "10"]),
        (VersionPolicy(all={}), ["1", "2", "9", "10"]),
        (VersionPolicy(specific=Specific([9, 1, 9, 7])), ["1", "9"]),
        (VersionPolicy(specific=Specific([7])), []),
    ],
)
def test_a_policy_chooses_oldest_first(policy: VersionPolicy, served: list[str]) -> None:
    assert policy.select(THERE) == served


@given(policies, numbers)
def test_what_is_chosen_is_there_in_order_and_stays_chosen(policy: VersionPolicy, there: list[str]) -> None:
    served = policy.select(there)
    assert set(served) <= set(there)
    assert served == sorted(served, key=int)
    assert policy.select(served) == served
    assert not set(policy.missing(there)) & set(there)


def test_versions_that_are_named_and_not_there_are_missing() -> None:
    assert VersionPolicy(specific=Specific([7, 9, 3])).missing(THERE) == ["3", "7"]
    assert VersionPolicy(latest=Latest(9)).missing(THERE) == []


@pytest.mark.parametrize("text", ["0", "01", "", "-1", "1.0", "+1", "stable", "1\n", "２", "1" * 19])  # noqa: RUF001
def test_what_is_no_number_of_a_version(text: str) -> None:
    assert not is_version(text)


def test_labels_lead_to_versions_that_are_served() -> None:
    assert check_labels({"stable": 1, "canary": 2}, ["1", "2"]) == {"stable": "1", "canary": "2"}
    with pytest.raises(
        ConfigError, match=r"^version_labels\.canary: version 3 is not served \(version_policy: 1, 2\)$"
    ):
        check_labels({"stable": 1, "canary": 3}, ["1", "2"])
    with pytest.raises(ConfigError, match=r"\(version_policy: none\)"):
        check_labels({"stable": 1}, [])


@pytest.mark.parametrize("label", ["1", "", "two words", "é", "-x", "x" * 65, "x\n"])
def test_a_label_is_a_name_and_no_number(label: str) -> None:
    with pytest.raises(ConfigError, match=r"^version_labels: .* is no label"):
        check_labels({label: 1}, ["1"])


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", VersionPolicy()),
        ("[version_policy.latest]\nnum_versions = 2", VersionPolicy(latest=Latest(2))),
        ("[version_policy.latest]", VersionPolicy(latest=Latest(1))),
        ("[version_policy.all]", VersionPolicy(all={})),
        ("[version_policy.specific]\nversions = [1, 3]", VersionPolicy(specific=Specific([1, 3]))),
    ],
)
def test_a_policy_is_written_as_triton_names_it(tmp_path: Path, text: str, policy: VersionPolicy) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"{text}\n[version_labels]\nstable = 1\n")
    assert read_config(path) == ModelConfig(version_policy=policy, version_labels={"stable": 1})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("version_policy = 1", "version_policy: "),
        ("[version_policy.newest]", "version_policy: "),
        ("[version_policy.latest]\nnum_versions = 0", "version_policy.latest.num_versions: "),
        ("[version_policy.latest]\nnum = 1", "version_policy.latest: "),
        ("[version_policy.all]\nbut = 1", "version_policy: "),
        ("[version_policy.specific]", "version_policy.specific: "),
        ("[version_policy.specific]\nversions = []", "version_policy.specific.versions: "),
        ("[version_policy.specific]\nversions = ['1']", "version_policy.specific.versions"),
        ("[version_policy.specific]\nversions = [0]", "version_policy.specific.versions"),
        ("[version_policy.all]\n[version_policy.latest]", "version_policy: Expected one of latest, all and specific"),
        ("version_labels = ['stable']", "version_labels: "),
        ("[version_labels]\nstable = '1'", "version_labels"),
        ("[version_labels]\nstable = 0", "version_labels"),
    ],
)
def test_a_wrong_policy_or_label_names_file_and_key(tmp_path: Path, text: str, named: Any) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).removeprefix(f"{path}: ").startswith(named)
