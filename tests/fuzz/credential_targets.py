"""Credentials, and what credentials are checked with: taken, or refused with one of the errors that say so."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import msgspec

from handlers.credentials import MAX_LENGTH, find
from pipeline.api_keys import KeyRing
from pipeline.errors import ConfigError, Unauthenticated
from pipeline.jwt_keys import parse_jwks, secret_key
from pipeline.jwt_tokens import FixedKeys, TokenVerifier
from pipeline.key_store import KeyFile
from pipeline.scopes import Scopes

from .files import written

SECRET: Final = "no secret, but as long as one has to be"  # noqa: S105
T = TypeVar("T")
ALGORITHMS: Final = ["RS256", "ES256", "EdDSA"]


def tokens(data: bytes) -> None:
    """A token is refused, or was signed; one that is signed becomes an identity or is refused, whatever it says."""
    verifier = TokenVerifier(FixedKeys(secret_key(SECRET, ["HS256"])), ["HS256"], "issuer", "us")
    with contextlib.suppress(Unauthenticated):
        _result(verifier.verify(data.decode("latin-1")))
        raise AssertionError("nobody signed that")
    head, _, claims = data.partition(b"\n")
    text = f"{_part(head)}.{_part(claims)}"
    signature = _part(hmac.digest(SECRET.encode(), text.encode(), hashlib.sha256))
    with contextlib.suppress(Unauthenticated):
        identity = _result(verifier.verify(f"{text}.{signature}"))
        assert 0 < len(identity.name) <= 128


def places(data: bytes) -> None:
    """A request has one credential of some characters, none, or is refused."""
    text = data.decode("latin-1")
    first, _, second = text.partition("\n")
    for headers, query in (
        ({"Authorization": text}, {}),
        ({"Sec-WebSocket-Protocol": text}, {}),
        ({"Authorization": first, "Sec-WebSocket-Protocol": second}, {"ticket": [data], "access_token": [data[:5]]}),
        ({}, {"ticket": [data]}),
    ):
        with contextlib.suppress(Unauthenticated):
            found = find(headers, query, query_tokens=True)
            assert found is None or 0 < len(found.text) <= MAX_LENGTH
    with contextlib.suppress(Unauthenticated):
        KeyRing().verify(text, 0.0)
        raise AssertionError("there are no keys")


def scopes(data: bytes) -> None:
    """Scopes are read or refused, and allow nothing where there are none."""
    texts = data.decode("latin-1").split("\n")
    with contextlib.suppress(ValueError):
        read = Scopes.parse(texts)
        assert read.is_admin == ("admin" in texts)
        read.may_predict("a")
        read.may_watch("a/*")


def key_file(data: bytes) -> None:
    """A file of API keys."""
    with contextlib.suppress(ConfigError):
        asyncio.run(KeyFile(written("keys.toml", data)).load())


def key_set(data: bytes) -> None:
    """A set of public keys from elsewhere."""
    with contextlib.suppress(ValueError):
        parse_jwks(data, ALGORITHMS)


def _result(waits: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that has nothing to wait for."""
    try:
        waits.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits for something")


def _part(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


TARGETS: Final = {"tokens": tokens, "places": places, "scopes": scopes, "key_file": key_file, "key_set": key_set}

_CLAIMS: Final = {"sub": "ada", "exp": 1 << 33, "iss": "issuer", "aud": "us", "scope": "predict:* watch:a/*"}

SEEDS: Final[dict[str, list[bytes]]] = {
    "tokens": [b'{"alg":"HS256","kid":"a"}\n' + msgspec.json.encode(_CLAIMS), b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."],
    "places": [b"Bearer abc", b"waterspout.v1.json, bearer.abc\nbearer.x", b"Bearer wsk_AAAAAAAAAAAA_" + b"A" * 43],
    "scopes": [b"predict:activity*\nwatch:*/sensor-*\nadmin", b"watch:$stats\nwatch:*"],
    "key_file": [
        b'[[keys]]\nid = "AAAAAAAAAAAA"\nname = "a"\nscopes = ["admin"]\nsalt = "'
        + b"00" * 16
        + b'"\ndigest = "'
        + b"00" * 32
        + b'"\ncreated = 2026-11-21T00:00:00Z\n'
    ],
    "key_set": [
        b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}',
        b'{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256"},{"kty":"oct","k":"AAAA"}]}',
    ],
}
