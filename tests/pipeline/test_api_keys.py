"""API keys: what is accepted, what never is, and what becomes of those who were identified."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.api_keys import ApiKey, KeyRing, make_key
from pipeline.errors import Unauthenticated
from pipeline.identity import Identity

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECONDS = NOW.timestamp()


def made(name: str = "ada", scopes: tuple[str, ...] = ("predict:*",), days: float | None = None) -> tuple[ApiKey, str]:
    return make_key(name, scopes, NOW, None if days is None else timedelta(days=days))


def ring_of(*keys: ApiKey) -> KeyRing:
    ring = KeyRing()
    ring.replace(keys)
    return ring


def test_a_key_identifies_who_holds_it() -> None:
    (key, text), (other, other_text) = made(), made("bob", ("watch:*",))
    ring = ring_of(key, other)
    identity = ring.verify(text, SECONDS)
    assert (identity.name, identity.kind, identity.scopes.texts) == ("ada", "key", ("predict:*",))
    assert identity.is_valid(1e12)
    assert ring.verify(text, SECONDS) is identity is ring.find(key.id)
    assert ring.verify(other_text, SECONDS).name == "bob"
    assert len(text) == 60
    assert (len(ring), ring.find("nobody")) == (2, None)


def test_a_key_expires() -> None:
    key, text = made(days=1)
    ring = ring_of(key)
    assert ring.verify(text, SECONDS + 86_399).expires_at == SECONDS + 86_400
    with pytest.raises(Unauthenticated, match="has expired"):
        ring.verify(text, SECONDS + 86_400)
    assert [key.state(SECONDS + second) for second in (0, 86_400)] == ["valid", "expired"]


def test_revocation_ends_those_who_were_identified() -> None:
    key, text = made()
    ring = ring_of(key)
    identity = ring.verify(text, SECONDS)
    ring.replace([key.revoke(NOW)])
    assert not identity.is_valid(SECONDS)
    with pytest.raises(Unauthenticated, match="was revoked"):
        ring.verify(text, SECONDS)
    revoked = key.revoke(NOW)
    assert revoked.revoke(NOW + timedelta(1)) is revoked
    assert revoked.state(SECONDS) == "revoked"


@pytest.mark.parametrize("change", [{"scopes": ("admin",)}, {"name": "eve"}, {"expires": NOW}, {"digest": "0" * 64}])
def test_a_key_that_is_changed_ends_those_who_were_identified(change: dict[str, Any]) -> None:
    key, text = made()
    ring = ring_of(key)
    identity = ring.verify(text, SECONDS)
    ring.replace([replace(key, **change)])
    assert not identity.is_valid(SECONDS)


def test_a_key_that_is_gone_ends_those_who_were_identified_and_others_stay() -> None:
    (key, text), (other, other_text) = made(), made("bob")
    ring = ring_of(key, other)
    gone, stays = ring.verify(text, SECONDS), ring.verify(other_text, SECONDS)
    ring.replace([other])
    assert not gone.is_valid(SECONDS)
    assert stays.is_valid(SECONDS)
    assert ring.verify(other_text, SECONDS) is stays
    with pytest.raises(Unauthenticated, match="no such API key"):
        ring.verify(text, SECONDS)


KEY, TEXT = made()
RING = ring_of(KEY, made("bob")[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wsk_",
        "wsk__",
        TEXT[:-1],
        TEXT + "=",
        TEXT + "\n",
        " " + TEXT,
        TEXT.lower(),
        TEXT.replace("wsk", "WSK"),
        f"wsk_{KEY.id}_" + "A" * 43,
        f"wsk_{'A' * 12}_{TEXT[17:]}",
        f"wsk_{KEY.id}_{KEY.digest[:43]}",
        f"{KEY.salt}{KEY.digest}",
        "wsk_" + "é" * 56,
        "\0",
        "\ud800",
        "x" * 1_000_000,
        "wsk_" + KEY.id + "_" + "A" * 1_000_000,
    ],
    ids=lambda text: f"{len(text)} characters",
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^no such API key$"):
        RING.verify(text, SECONDS)


@given(st.text() | st.from_regex(rf"wsk_({KEY.id}|[A-Z2-7]{{12}})_[A-Za-z0-9_-]{{43}}", fullmatch=True))
def test_nothing_is_accepted_that_was_not_issued_and_nothing_crashes(text: str) -> None:
    try:
        RING.verify(text, SECONDS)
    except Unauthenticated:
        return
    assert text == TEXT


@given(at=st.integers(0, len(TEXT) - 1), character=st.characters())
def test_one_wrong_character_is_wrong(at: int, character: str) -> None:
    wrong = TEXT[:at] + character + TEXT[at + 1 :]
    if wrong == TEXT:
        return
    with pytest.raises(Unauthenticated):
        RING.verify(wrong, SECONDS)


def test_secrets_are_in_no_representation() -> None:
    key, text = made()
    ring = ring_of(key)
    identity = ring.verify(text, SECONDS)
    secret = text.rpartition(f"{key.id}_")[2]
    for shown in (repr(key), str(key), repr(ring), repr(identity), repr(key.revoke(NOW))):
        assert not any(hidden in shown for hidden in (secret, key.salt, key.digest))
    with pytest.raises(Unauthenticated) as caught:
        ring.verify(text[:-1], SECONDS)
    assert secret[:8] not in f"{caught.value!r} {caught.value}"
    assert secret not in msgspec.json.encode(key).decode()


def test_comparing_takes_the_same_way_for_ids_that_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    for text in (TEXT, TEXT[:-1] + "!", f"wsk_{'A' * 12}_{'A' * 43}", "nonsense", ""):
        try:
            assert isinstance(RING.verify(text, SECONDS), Identity)
        except Unauthenticated:
            assert text != TEXT
    assert compared == [(32, 32)] * 5


@pytest.mark.parametrize(
    ("name", "scopes", "message"),
    [("", ("admin",), "name"), ("a\nb", ("admin",), "name"), ("ada", ("predict",), "scope 'predict'")],
)
def test_no_key_is_made_for_a_wrong_name_or_scope(name: str, scopes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_key(name, scopes, NOW)


def test_no_key_is_made_that_lives_longer_than_dates_go() -> None:
    with pytest.raises(ValueError, match="expires"):
        make_key("ada", (), NOW, timedelta(weeks=999_999))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "abc"}, "id"),
        ({"name": ""}, "name"),
        ({"scopes": ["write"]}, "scope 'write'"),
        ({"salt": "xy"}, "salt"),
        ({"digest": "A" * 64}, "digest"),
        ({"created": "2026-11-21T12:00:00"}, "created: expected a time zone"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_what_is_kept_is_checked(change: dict[str, Any], message: str) -> None:
    fields = msgspec.to_builtins(KEY) | change
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(fields, ApiKey)
