"""Signatures, pauses and what is tried again, without a network."""

import base64
import datetime
import time
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from pipeline.webhook_rules import is_delivered, may_repeat, pause_before, retry_after, signed_headers, signing_key

KEYS = st.binary(min_size=24, max_size=64)


@given(KEYS, st.booleans(), st.booleans())
def test_a_secret_may_have_its_prefix_and_its_padding(key: bytes, has_prefix: bool, is_padded: bool) -> None:
    text = base64.b64encode(key).decode()
    assert signing_key(("whsec_" if has_prefix else "") + (text if is_padded else text.rstrip("="))) == key
    assert signing_key(f" {text}\n") == key


@pytest.mark.parametrize("secret", ["", "whsec_", "geheim", "gehe!m" * 8, "ä" * 40, "A" * 31, "A" * 88, "a b" * 16])
def test_what_is_no_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        signing_key(secret)
    assert not secret or secret not in str(caught.value)


@given(KEYS, st.binary(max_size=100))
def test_a_receiver_can_verify_what_was_signed(key: bytes, body: bytes) -> None:
    timestamp = int(time.time())
    text = body.decode("latin-1")  # the verifier wants UTF-8
    headers = signed_headers(key, "msg_1", timestamp, text.encode())
    Webhook(key).verify(text, headers, json_parse=False)
    assert signed_headers(None, "msg_1", timestamp, body).keys() == {"webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "delivered"), (204, "delivered"), (299, "delivered"), (302, "refused"), (400, "refused"), (404, "refused"),
     (408, "refused"), (429, "again"), (500, "again"), (503, "again"), (599, "again")],
)  # fmt: skip
def test_a_status_says_what_comes_of_it(status: int, outcome: str) -> None:
    assert is_delivered(status) is (outcome == "delivered")
    assert may_repeat(status) is (outcome == "again")


CHANCE = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 50), st.floats(0.001, 10), st.floats(0.001, 100), CHANCE, st.none() | st.floats(0, 1e9))
def test_pauses_grow_up_to_a_bound_and_respect_what_was_asked(
    attempt: int, first: float, longest: float, chance: float, asked: float | None
) -> None:
    pause = pause_before(attempt, first, longest, chance, asked)
    assert 0 <= pause <= longest
    if asked is None:
        assert pause == chance * min(longest, first * 2 ** (attempt - 1))
    else:
        assert pause >= min(asked, longest)


NOW = datetime.datetime(2026, 11, 21, 12, 0, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("9" * 400, 999999999.0),
        (format_datetime(NOW + datetime.timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - datetime.timedelta(seconds=90), usegmt=True), 0.0),
        (format_datetime((NOW + datetime.timedelta(seconds=5)).replace(tzinfo=None)), 5.0),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
    ],
)
def test_what_a_receiver_asks_for(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}, 429, NOW.timestamp()) == seconds
    assert retry_after({"Retry-After": text}, 503, NOW.timestamp()) == seconds
    assert retry_after({"Retry-After": text}, 500, NOW.timestamp()) is None


def test_most_ask_for_nothing() -> None:
    assert retry_after({}, 503, 0.0) is None
