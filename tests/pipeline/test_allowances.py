"""The table of allowances: who shares one, and who is forgotten."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.allowances import Allowances, AllowanceTable, address_group, make_allowances
from pipeline.errors import ConfigError
from pipeline.limit_config import Limits, by_name
from pipeline.limits import Allowance
from pipeline.settings import Settings, read_settings


def table(limits: Limits, most: int = 4, **own: Limits) -> AllowanceTable:
    return AllowanceTable("identity", limits, by_name(limits, own), most)


def names(held: AllowanceTable) -> list[str]:
    return [allowance.name for allowance in held.all()]


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("/run/waterspout.sock", "/run/waterspout.sock"),
        ("x" * 200, "x" * 128),
    ],
)
def test_an_address_is_one_host(address: str, group: str) -> None:
    assert address_group(address) == group


@given(st.text(), st.ip_addresses(v=6))
def test_any_text_has_a_group(text: str, address: object) -> None:
    assert len(address_group(text)) <= max(128, len(text))
    assert address_group(str(address)) in (address_group(str(address)), str(address))


def test_named_limits_replace_the_default_and_leave_the_rest_of_it() -> None:
    held = table(Limits(events_per_second=10, sockets=5), acme=Limits(events_per_second=1000))
    acme, other = held.of("acme", 0.0), held.of("other", 0.0)
    assert acme.events is not None
    assert other.events is not None
    assert (acme.events.rate, other.events.rate) == (1000, 10)
    assert acme.sockets.limit == other.sockets.limit == 5
    assert list(acme.rates) == ["events_per_second"]
    assert list(acme.rooms) == ["sockets"]
    assert repr(acme).startswith("<Allowance of identity 'acme' sockets=0")


def test_the_one_that_was_asked_for_longest_ago_makes_room() -> None:
    held = table(Limits(events_per_second=1))
    for name in "abcdaef":
        held.of(name, 0.0)
    assert names(held) == ["d", "a", "e", "f"]
    assert repr(held) == "<AllowanceTable of identity 4/4 refusals={}>"


def test_those_with_sockets_and_those_that_have_used_something_up_are_kept() -> None:
    limits = Limits(events_per_second=1)
    everyone = Allowances(table(limits), table(Limits()))
    everyone.open_socket("socket", "10.0.0.1", 0.0)
    everyone.take_request("spent", "10.0.0.1", 2, 0, 0.0)
    for number in range(10):
        everyone.identities.of(str(number), 0.0)
    assert names(everyone.identities)[:2] == ["socket", "spent"]
    for number in range(10):
        everyone.identities.of(str(number), 10.0)
    assert names(everyone.identities) == ["socket", "7", "8", "9"], "what was spent has come again"


def test_where_all_have_spent_the_oldest_without_sockets_is_forgotten() -> None:
    everyone = Allowances(table(Limits(events_per_second=1)), table(Limits()))
    socket = everyone.open_socket("socket", "10.0.0.1", 0.0)
    for number in range(10):
        everyone.take_request(str(number), "10.0.0.1", 2, 0, 0.0)
    assert set(names(everyone.identities)) == {"socket", "7", "8", "9"}
    socket.close()
    everyone.take_request("next", "10.0.0.1", 2, 0, 0.0)
    assert set(names(everyone.identities)) == {"7", "8", "9", "next"}


def test_as_many_as_have_sockets_are_remembered() -> None:
    everyone = Allowances(table(Limits()), table(Limits(), most=10))
    meters = [everyone.open_socket(str(number), "10.0.0.1", 0.0) for number in range(40)]
    assert len(everyone.identities) == 40
    for meter in meters:
        meter.close()
    for number in range(100):
        everyone.identities.of(f"after {number}", 0.0)
    assert len(everyone.identities) == 4


def test_who_is_new_is_told() -> None:
    held, seen = table(Limits(events_per_second=10, burst_seconds=1)), list[Allowance]()
    held.on_new.append(seen.append)
    held.share = 0.5
    first = held.of("a", 0.0)
    held.of("a", 0.0)
    assert seen == [first]
    assert first.events is not None
    assert first.events.share == 0.5


def test_limits_are_none_unless_they_are_given() -> None:
    assert Limits().are_none
    assert Limits(burst_seconds=5).are_none
    assert not Limits(keys=1).are_none


TOML = """
processes = 4
[identity_limits]
events_per_second = 100
sockets = 10
[address_limits]
new_sockets_per_second = 8
[limits_of.acme]
events_per_second = 4000
"""


def settings_of(tmp_path: Path, text: str, *flags: str) -> Settings:
    (tmp_path / "waterspout.toml").write_text(text)
    return read_settings(["--config", str(tmp_path / "waterspout.toml"), *flags])


def test_settings_say_what_identities_and_addresses_may(tmp_path: Path) -> None:
    everyone = make_allowances(settings_of(tmp_path, TOML, "--processes", "1", "--identity-limits.keys", "7"))
    acme, other = everyone.identities.of("acme", 0.0), everyone.identities.of("other", 0.0)
    address = everyone.addresses.of("10.0.0.1", 0.0)
    assert [bucket.rate for a in (acme, other, address) for bucket in a.rates.values()] == [4000, 100, 8]
    assert (acme.sockets.most, acme.keys.most, address.rooms) == (10, 7, {})


def test_processes_that_cannot_ask_each_other_have_equal_parts(tmp_path: Path) -> None:
    for flags, share, sockets in (((), 0.25, 3), (("--redis", "redis://127.0.0.1"), 1.0, 10)):
        other = make_allowances(settings_of(tmp_path, TOML, *flags)).identities.of("other", 0.0)
        assert other.events is not None
        assert (other.events.share, other.sockets.most, other.sockets.limit) == (share, sockets, 10)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[identity_limits]\nevents_per_second = 0", "identity_limits.events_per_second: "),
        ("[identity_limits]\nevents = 1", "identity_limits.events: "),
        ("[limits_of.acme]\nsockets = 1.5", "limits_of.acme.sockets: "),
        ("[address_limits]\nevents_per_month = 1", "address_limits.events_per_month: only identities have a month"),
        ("limits_of = 1", "limits_of: "),
    ],
)
def test_what_is_wrong_in_limits_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text)
    assert named in str(caught.value)


def test_every_limit_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text().partition("\n## Limits")[2]
    told = set(re.findall(r"^\| `(\w+)` \|", text.partition("\n## ")[0], re.MULTILINE))
    assert told == Limits.model_fields.keys()
