"""URLs, keys, ids, cards, clocks and pauses, without a Redis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backoff import Backoff
from pipeline.redis_records import (
    SLOTS,
    Keys,
    ServerClock,
    key_slot,
    next_id,
    pack_card,
    parse_info,
    parse_slots,
    parse_version,
    payload_of,
    tag_of,
    unpack_card,
)
from pipeline.redis_url import at, check_url, has_password, named_files, place
from pipeline.redis_url import host as host_of


@pytest.mark.parametrize(
    ("url", "where", "secret"),
    [
        ("redis://localhost", "localhost:6379", False),
        ("redis://10.0.0.1:7000/3", "10.0.0.1:7000", False),
        ("redis://[::1]:7000", "::1:7000", False),
        ("redis://host/", "host:6379", False),
        ("redis://host?db=2", "host:6379", False),
        ("redis://user@host", "host:6379", False),
        ("redis://:geheim@host", "host:6379", True),
        ("rediss://user:ge%40heim@host:1/0?ssl_cert_reqs=none", "host:1", True),
        ("unix:///run/redis.sock", "/run/redis.sock", False),
        ("unix://user:geheim@/run/redis.sock?db=1", "/run/redis.sock", True),
    ],
)
def test_urls_of_a_redis(url: str, where: str, secret: bool) -> None:
    check_url(url)
    assert (place(url), has_password(url)) == (where, secret)
    assert "geheim" not in place(url)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("", "no scheme"),
        ("localhost:6379", "no scheme"),
        ("http://:geheim@host", "no scheme"),
        ("redis://", "no host"),
        ("redis:///0", "no host"),
        ("redis://:geheim@", "no host"),
        ("redis://:geheim@host:port", "port"),
        ("redis://:geheim@host:65536", "port"),
        ("redis://[:geheim", "no URL"),
        ("redis://host/geheim", "no number of a database"),
        ("redis://host/-1", "no number of a database"),
        ("redis://host?db=x", "db is no number"),
        ("redis://:ge#heim@host", "%23"),
        ("redis://host?socket_timeout=1", "unknown option 'socket_timeout'"),
        ("redis://host?protocol=3", "unknown option 'protocol'"),
        ("redis://host?password=geheim", "unknown option 'password'"),
        ("redis://host?nothing", "no options"),
        ("redis://host?ssl_cert_reqs=none", "need rediss://"),
        ("rediss://host?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("unix://", "no path"),
        ("unix:///", "no path"),
        ("unix://run/redis.sock", "no path"),
    ],
)
def test_what_is_wrong_with_a_url_is_named_without_its_password(url: str, named: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_url(url)
    assert named in str(caught.value)
    assert "geheim" not in str(caught.value)


@given(st.text())
def test_no_text_is_a_url_that_breaks_the_check(url: str) -> None:
    try:
        check_url(url)
    except ValueError:
        return
    assert place(url)


@pytest.mark.parametrize(
    "url", ["redis://:p@h", "redis://u:p@h:1", "rediss://u:@h", "http://u:p@h", "redis://h?password=p", "unix://u:p@/s"]
)
def test_a_password_is_seen_in_every_place(url: str) -> None:
    assert has_password(url)


def test_the_files_of_a_url_are_known() -> None:
    url = "rediss://h?ssl_ca_certs=/a%20b.pem&ssl_cert_reqs=required&ssl_keyfile=k"
    assert named_files(url) == {"ssl_ca_certs": "/a b.pem", "ssl_keyfile": "k"}


def test_what_is_of_one_shard_lies_in_one_slot() -> None:
    keys = Keys("ws")
    assert keys.queue("m/1/3") == f"ws:{{{tag_of(3)}}}:m/1/3:rows"
    assert keys.box("g/3") == f"ws:{{{tag_of(3)}}}:g/3:replies"
    assert keys.queue("m") == f"ws:{{{tag_of(0)}}}:m:rows"
    assert len({keys.queue("a"), keys.box("a"), keys.members("a"), keys.channel("a"), keys.dead, keys.marker}) == 6


@pytest.mark.parametrize(("key", "slot"), [("123456789", 12739), ("foo", 12182), ("a{foo}b{bar}", 12182), ("", 0)])
def test_slots_are_those_of_redis(key: str, slot: int) -> None:
    assert key_slot(key) == slot


@pytest.mark.parametrize(("key", "slot"), [("foo{}{bar}", 8363), ("{x", 11068), ("x}{", 80)])
def test_what_has_no_tag_is_hashed_as_a_whole(key: str, slot: int) -> None:
    assert key_slot(key) == slot


@pytest.mark.parametrize("primaries", [2, 3, 4, 5, 6, 8])
def test_shards_lie_evenly_over_primaries(primaries: int) -> None:
    owners = [key_slot(f"{{{tag_of(shard)}}}") * primaries // SLOTS for shard in range(4 * primaries)]
    assert {owners.count(primary) for primary in range(primaries)} <= {3, 4, 5}


def test_slots_and_their_primaries_are_read() -> None:
    reply = [
        [0, 99, [b"10.0.0.1", 7000, b"id", []], [b"10.0.0.2", 7000, b"id", []]],
        [100, 16383, [b"", 7001, b"id"]],
        [5, 5, [None, 7002, b"id"]],
        [6, 6, [b"?", 7003, b"id"]],
    ]
    assert parse_slots(reply, "asked") == [
        (0, 99, ("10.0.0.1", 7000)),
        (100, 16383, ("asked", 7001)),
        (5, 5, ("asked", 7002)),
        (6, 6, ("asked", 7003)),
    ]


@pytest.mark.parametrize(
    ("url", "host", "other"),
    [
        ("redis://localhost", "localhost", "redis://n:7001"),
        ("redis://u:p%40@10.0.0.1:7000/0", "10.0.0.1", "redis://u:p%40@n:7001/0"),
        ("rediss://[::1]:1?ssl_cert_reqs=none", "::1", "rediss://n:7001?ssl_cert_reqs=none"),
    ],
)
def test_the_other_nodes_of_a_cluster_are_reached_in_the_same_way(url: str, host: str, other: str) -> None:
    assert (host_of(url), at(url, "n", 7001)) == (host, other)
    assert at(url, "fe80::1", 7001).count("[fe80::1]:7001") == 1


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_the_next_id_is_the_least_behind(milliseconds: int, number: int) -> None:
    assert next_id(f"{milliseconds}-{number}") == f"{milliseconds}-{number + 1}"


def test_an_id_without_a_number_is_the_first_of_its_time() -> None:
    assert next_id("5") == "5-1"


def test_the_clock_there_goes_on_with_the_one_here() -> None:
    clock = ServerClock()
    clock.note([b"1700000000", b"250000"], 100.0)
    assert clock.now_ms(100.0) == 1_700_000_000_250
    assert clock.now_ms(101.5) == 1_700_000_001_750
    assert clock.age("1700000000000-3", 101.0) == pytest.approx(1.25)
    assert clock.age("1800000000000-0", 101.0) == 0.0


@given(st.binary(), st.integers(0, 2**63))
def test_cards_come_back_with_their_expiry(card: bytes, expires: int) -> None:
    assert unpack_card(pack_card(card, expires)) == (card, expires)


@given(st.binary(max_size=7))
def test_what_is_too_short_for_a_card_has_expired(value: bytes) -> None:
    assert unpack_card(value) == (b"", 0)


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        ([b"d", b"x"], b"x"),
        ([b"e", b"y", b"d", b"x"], b"x"),
        ([b"e", b"d"], None),
        ([], None),
        (None, None),
        ([b"d"], None),
    ],
)
def test_the_payload_is_one_field(fields: list[bytes] | None, payload: bytes | None) -> None:
    assert payload_of(fields) == payload


def test_info_is_read_line_by_line() -> None:
    reply = b"# Server\r\nredis_version:7.0.15\r\nexecutable:/usr/bin/x:y\r\n\r\n\xff:\xff\r\n"
    info = parse_info(reply)
    assert (info["redis_version"], info["executable"]) == ("7.0.15", "/usr/bin/x:y")
    assert parse_info(ValueError("no")) == {}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("7.0.15", (7, 0, 15)),
        ("6.2", (6, 2)),
        ("255.255.255", (255, 255, 255)),
        ("8.0-rc1", (8, 0)),
        ("x", ()),
        ("", ()),
    ],
)
def test_versions_are_numbers(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def test_pauses_double_up_to_the_longest_with_full_jitter() -> None:
    longest = Backoff(0.1, 3.0, lambda: 1.0)
    assert [longest.next() for _ in range(7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0])
    assert longest.failures == 7
    longest.reset()
    assert longest.next() == pytest.approx(0.1)
    assert Backoff(0.1, 3.0, lambda: 0.0).next() == 0.0
    endless = Backoff()
    assert all(0.0 <= endless.next() < 3.0 for _ in range(5000))
