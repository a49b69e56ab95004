"""Whom to believe where a request came from."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.forwarded import MAX_HOPS, Proxies, read_address

PROXIES = Proxies(["10.0.0.0/8", "fd00::/8", "192.0.2.1"])
TRUSTED = ["10.1.2.3", "fd00::1", "192.0.2.1"]
STRANGERS = ["203.0.113.9", "2001:db8::9", "192.0.2.2", "11.0.0.0"]

addresses = st.ip_addresses().map(str)
junk = st.text(st.characters(codec="latin-1", exclude_characters=","), max_size=40)
headers = st.lists(st.one_of(addresses, st.sampled_from([*TRUSTED, *STRANGERS]), junk), max_size=8).map(",".join)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("", "10.1.2.3"),
        ("203.0.113.9", "203.0.113.9"),
        ("  203.0.113.9\t", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("10.9.9.9, 10.8.8.8", "10.9.9.9"),
        ("203.0.113.9:1234", "203.0.113.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("[2001:DB8:0::9]:443", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.0.0.1", "203.0.113.9"),
        ("unknown", "10.1.2.3"),
        ("203.0.113.9, unknown, 10.0.0.1", "10.0.0.1"),
        ("203.0.113.9,", "10.1.2.3"),
        ("203.0.113.9 203.0.113.8", "10.1.2.3"),
        ("203.0.113.009", "10.1.2.3"),
        ("203.0.113", "10.1.2.3"),
        ("3405803785", "10.1.2.3"),
        ("203.0.113.9:", "10.1.2.3"),
        ("203.0.113.9:99999999", "10.1.2.3"),
        ("[203.0.113.9", "10.1.2.3"),
        ("[2001:db8::9]x", "10.1.2.3"),
        ("fe80::1%eth0", "10.1.2.3"),
        ("\u0661.1.1.1", "10.1.2.3"),
        ("'; DROP TABLE clients", "10.1.2.3"),
    ],
)
def test_the_client_is_the_nearest_hop_that_is_no_proxy_of_ours(header: str, client: str) -> None:
    assert PROXIES.client("10.1.2.3", header) == client


@pytest.mark.parametrize("peer", STRANGERS)
@given(headers)
def test_strangers_are_not_believed(peer: str, header: str) -> None:
    assert PROXIES.client(peer, header) == peer
    assert PROXIES.scheme(peer, "http", "https") == "http"


@given(addresses, headers)
def test_without_proxies_the_peer_is_the_client(peer: str, header: str) -> None:
    assert Proxies([]).client(peer, header) == peer
    assert Proxies([]).scheme(peer, "http", "https") == "http"


@given(st.sampled_from(TRUSTED), headers)
def test_whatever_a_header_says_the_client_is_an_address_that_was_told_by_somebody_trusted(
    peer: str, header: str
) -> None:
    client = PROXIES.client(peer, header)
    told = [address for hop in header.split(",") if (address := read_address(hop)) is not None]
    assert ip_address(client) in [*told, ip_address(peer)]
    if client != peer:
        behind = header.split(",")[::-1]
        at = [str(read_address(hop)) for hop in behind].index(client)
        assert all(PROXIES.trusts(hop.strip()) for hop in behind[:at])


@given(st.sampled_from(TRUSTED), headers, headers, st.sampled_from(STRANGERS))
def test_what_a_client_sends_itself_changes_nothing(peer: str, sent: str, other: str, stranger: str) -> None:
    """Each trusted proxy adds to the end; whatever a client put before that is not looked at."""
    for chain in (stranger, f"{stranger}, 10.4.4.4", f"{stranger}, fd00::2, 10.4.4.4"):
        assert PROXIES.client(peer, f"{sent}, {chain}") == PROXIES.client(peer, f"{other}, {chain}") == stranger


def test_no_more_hops_are_looked_at_than_there_can_be() -> None:
    header = ", ".join(["203.0.113.9", *[f"10.0.0.{at}" for at in range(MAX_HOPS)]])
    assert PROXIES.client("10.1.2.3", header) == "10.0.0.0"


@pytest.mark.parametrize(
    ("header", "own", "scheme"),
    [
        ("https", "http", "https"),
        ("HTTPS ", "http", "https"),
        ("http", "https", "http"),
        ("https, http", "http", "http"),
        ("", "https", "https"),
        ("wss", "http", "http"),
        ("https,", "http", "http"),
    ],
)
def test_a_trusted_proxy_says_what_its_client_speaks(header: str, own: str, scheme: str) -> None:
    assert PROXIES.scheme("10.1.2.3", own, header) == scheme  # type: ignore[arg-type]


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 32))
def test_networks_are_those_of_the_library(member: str, network: str, bits: int) -> None:
    whole = ip_network(f"{network}/{bits}", strict=False)
    expected = ip_address(member) in whole
    mapped = getattr(ip_address(member), "ipv4_mapped", None)
    assert Proxies([str(whole)]).trusts(str(member)) == ((mapped in whole) if mapped else expected)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = read_address(text)
    assert address is None or read_address(str(address)) == address
