"""What looks like a secret does not get into the log, wherever it stands."""

import base64
import string
import time
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.api_keys import make_key
from pipeline.redaction import HIDDEN, LEAST_LENGTH, Redactor

redact = Redactor()

URL_SAFE = string.ascii_letters + string.digits + "-_"
secrets = st.text(URL_SAFE, min_size=16, max_size=60)
around = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "Z", "Cc"], exclude_characters="0123456789"), max_size=20
)
gaps = st.sampled_from(["", " ", "\n", "\t", '"', "'", "(", "[", "<", ": ", ", "])
NAMES = ["ticket", "access_token", "token", "Token", "password", "jwt_secret", "api_key", "refresh_token"]


@given(around, gaps, secrets, gaps, around)
def test_api_keys_show_whose_they_are_and_no_more(before: str, gap: str, secret: str, end: str, after: str) -> None:
    assume(secret not in before + after)
    shown = redact(f"{before}{gap}wsk_abcdefghijkl_{secret}{end}{after}")
    assert secret not in shown
    assert "wsk_abcdefghijkl" in shown
    assert HIDDEN in shown


@given(around, st.sampled_from(["Bearer ", "bearer ", "BEARER  ", "bearer.", "Bearer%20"]), secrets, gaps)
def test_bearer_tokens_are_hidden(before: str, scheme: str, secret: str, gap: str) -> None:
    assume(secret not in before)
    assert secret not in redact(f"{before} {scheme}{secret}{gap}")


@given(around, st.binary(min_size=12, max_size=60), st.binary(min_size=12, max_size=60), secrets)
def test_tokens_are_hidden_wherever_they_stand(before: str, head: bytes, claims: bytes, signature: str) -> None:
    assume(signature not in before)
    parts = [base64.urlsafe_b64encode(b'{"alg":' + part).decode().rstrip("=") for part in (head, claims)]
    shown = redact(f"{before} {parts[0]}.{parts[1]}.{signature}")
    assert parts[1] not in shown
    assert signature not in shown


@given(
    st.sampled_from(NAMES),
    st.sampled_from(["?{}={}", "/v1/stream?key=a&{}={}&tensors=bin", "{}={}", "%3F{}%3D{}"]),
    secrets,
)
def test_values_of_queries_are_hidden(name: str, form: str, secret: str) -> None:
    shown = redact(f"GET {form.format(name, secret)} HTTP/1.1")
    assert secret not in shown
    assert name in shown


@given(
    st.sampled_from(NAMES),
    st.sampled_from(['"{}": "{}"', "'{}': '{}'", "{}='{}'", "'{}': b'{}'", '{} = "{}"', '{{"op":"auth","{}":"{}"}}']),
    st.text(st.characters(codec="utf-8", exclude_characters="\"'\\"), min_size=8, max_size=40),
)
def test_values_in_quotes_are_hidden_whatever_they_are(name: str, form: str, secret: str) -> None:
    assume(secret not in form.format(name, HIDDEN))
    assert secret not in redact(f"received {form.format(name, secret)}")


@given(
    st.sampled_from(
        ["redis://{}:{}@cache:6379/0", "rediss://{}:{}@[::1]:6379", "https://{}:{}@keys.example/jwks.json"]
    ),
    st.sampled_from(["", "default"]),
    st.text(string.ascii_letters + string.digits + "@:/!$", min_size=8, max_size=40).filter(
        lambda text: text[-1] != "@"
    ),
)
def test_passwords_in_urls_are_hidden_though_they_are_not_escaped(form: str, user: str, secret: str) -> None:
    shown = redact(f"cannot reach {form.format(user, secret)}: refused")
    assert secret not in shown
    assert "refused" in shown
    assert "@" in shown


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic dXNlcjpwYXNzd29yZA==",
        "Authorization: dXNlcjpwYXNzd29yZA==",
        "{'Authorization': 'Digest dXNlcjpwYXNzd29yZA=='}",
        "webhook_secret: whsec_dXNlcjpwYXNzd29yZA== is wrong",
        "-----BEGIN PRIVATE KEY-----\ndXNlcjpwYXNzd29yZA==\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\ndXNlcjpwYXNzd29yZA==",
        "Sec-WebSocket-Protocol: waterspout.v1.json, bearer.dXNlcjpwYXNzd29yZA",
    ],
)
def test_other_places_of_secrets(text: str) -> None:
    shown = redact(text)
    assert "dXNlcjpwYXNzd29yZA" not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "text",
    [
        "waterspout: draining 12 sockets",
        "model activity version 2 is ready: batches of up to 64",
        "redis: cache:6379 answers",
        "https://example.com:8443/hooks/1: refused (503), from 10.0.0.1 to a@example.com",
        "models/plus/config.toml: max_queue_size: expected at least 1",
        "the credential has no scope admin",
        "no bearer",
        "keyJournal.write and theyJustWork.",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert redact(text) == text


def test_a_key_as_it_is_made_is_hidden() -> None:
    _, text = make_key("device", ["predict:*"], datetime.now(UTC))
    assert text.rpartition("_")[2] not in redact(f"refused {text!r}")


@given(st.lists(st.text(min_size=LEAST_LENGTH, max_size=30), min_size=1, max_size=4), around, around)
def test_secrets_that_are_known_are_hidden_however_they_look(known: list[str], before: str, after: str) -> None:
    for secret in known:
        shown = Redactor(known)(f"{before}{secret}{after}")
        assert secret not in shown.replace(HIDDEN, "\0") or secret in f"{before}{after}"


def test_short_ones_are_not_looked_for() -> None:
    assert Redactor(["a", ""])("a banana") == "a banana"


@given(st.text())
def test_any_text_can_be_looked_at(text: str) -> None:
    assert isinstance(redact(text), str)


HOSTILE = {
    "a name without end": "a" * 10,
    "schemes": "a://b:",
    "hosts": "://",
    "tokens": "-eyJaaaaaaaaaa",
    "dots": "eyJaaaaaaaaaa.",
    "names": "token",
    "words": "token ",
    "assignments": "token=",
    "quotes": 'token="\\',
    "keys": "-----BEGIN PRIVATE KEY-----",
    "half keys": "-----BEGIN A",
    "ends": "-----END A",
    "headers": "authorization: ",
    "spaces": " " * 10,
    "bearers": "bearer ",
    "API keys": "wsk_",
    "ats": "@",
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("start", ["", "token ", "a://b:", "authorization ", "bearer ", "-----BEGIN PRIVATE KEY-----"])
def test_what_strangers_have_logged_costs_no_more_than_its_length(what: str, start: str) -> None:
    def seconds(count: int) -> float:
        text = start + HOSTILE[what] * count
        times = []
        for _ in range(5):
            began = time.thread_time()
            redact(text)
            times.append(time.thread_time() - began)
        return min(times)

    assert seconds(8000) < 16 * max(seconds(1000), 1e-5) * 2  # linear: 8 times, quadratic: 64 times
