"""Tokens: whom a good one identifies, and that each classic kind of wrong is refused with its reason."""

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import jwt_tokens
from pipeline.auth_rules import PUBLIC_ALGORITHMS, SECRET_BYTES
from pipeline.errors import Unauthenticated
from pipeline.jwt_keys import KeySet, parse_jwks, pem_key, secret_key
from pipeline.jwt_tokens import LEEWAY, FixedKeys, TokenVerifier

from .jwt_parts import SECRET, by_hand, claims, jwk, jwks, pem, token

RULES: dict[str, Any] = {"issuer": "https://idp.example", "audience": "waterspout"}
GOOD: dict[str, Any] = {"iss": "https://idp.example", "aud": "waterspout"}
DEFAULT = ["RS256", "PS256", "ES256", "EdDSA"]


def verifier(keys: KeySet, algorithms: list[str] | None = None, **rules: Any) -> TokenVerifier:
    return TokenVerifier(FixedKeys(keys), algorithms or DEFAULT, **rules)


SET = verifier(parse_jwks(jwks(jwk("RS256", "r"), jwk("ES256", "e"), jwk("EdDSA", "d")), DEFAULT), **RULES)
SINGLE = verifier(pem_key(pem("RS256"), DEFAULT), **RULES)
SHARED = verifier(secret_key(SECRET, ["HS256"]), ["HS256"], **RULES)


async def reason(text: str, checks: TokenVerifier = SET) -> str:
    """Return why a token is refused."""
    with pytest.raises(Unauthenticated) as caught:
        await checks.verify(text)
    assert text[:60] not in str(caught.value) or len(text) < 60
    return str(caught.value)


@pytest.mark.parametrize("algorithm", PUBLIC_ALGORITHMS)
async def test_a_token_of_each_algorithm_is_accepted_by_its_key(algorithm: str) -> None:
    algorithms = [algorithm]
    for keys in (
        pem_key(pem(algorithm), algorithms),
        parse_jwks(jwks(jwk(algorithm, "k")), algorithms),
        parse_jwks(jwks(jwk(algorithm, "k", alg=algorithm, use="sig", key_ops=["verify"])), algorithms),
    ):
        identity = await verifier(keys, algorithms).verify(token(algorithm, "k"))
        assert (identity.name, identity.kind, identity.scopes.texts) == ("ada", "token", ("predict:*", "watch:a/*"))
        assert 0 < identity.expires_at - time.time() - LEEWAY <= 600


@pytest.mark.parametrize("algorithm", SECRET_BYTES)
async def test_a_token_is_accepted_by_a_shared_secret(algorithm: str) -> None:
    checks = verifier(secret_key(SECRET, [algorithm]), [algorithm])
    assert (await checks.verify(token(algorithm))).name == "ada"
    assert "signature" in await reason(token(algorithm)[:-8] + "AAAAAAAA", checks)


async def test_scopes_come_as_a_text_or_a_list_and_others_are_passed_over() -> None:
    every: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"scope": "admin"}, ("admin",)),
        ({"scope": "openid  email"}, ()),
        ({"scope": ""}, ()),
        ({"scope": None}, ()),
        ({"scope": None, "scopes": ["watch:*", "profile"]}, ("watch:*",)),
        ({"scope": "admin", "scopes": []}, ()),
    ]
    for more, expected in every:
        assert (await SET.verify(token(kid="r", **GOOD, **more))).scopes.texts == expected


async def test_a_token_without_kid_is_accepted_where_one_key_alone_can_be_meant() -> None:
    assert (await SET.verify(token(**GOOD))).name == "ada"
    assert (await SINGLE.verify(token(kid="anything", **GOOD))).name == "ada"
    two = verifier(parse_jwks(jwks(jwk("RS256", "a"), jwk("RS256", "b", "b")), DEFAULT))
    assert "does not say which key" in await reason(token(), two)
    assert (await two.verify(token(kid="b", name="b"))).name == "ada"
    assert "signature" in await reason(token(kid="a", name="b"), two)


async def test_a_token_that_is_shown_again_is_known_until_it_expires_or_its_key_is_gone() -> None:
    source, now = FixedKeys(parse_jwks(jwks(jwk("RS256", "r")), DEFAULT)), [time.time()]
    checks = TokenVerifier(source, DEFAULT, clock=lambda: now[0])
    text = token(kid="r")
    identity = await checks.verify(text)
    assert await checks.verify(text) is identity
    now[0] += 600 + LEEWAY
    assert await checks.verify(text) is not identity  # PyJWT, by its own clock, takes it still
    now[0] = time.time()
    source.keys = parse_jwks(jwks(jwk("RS256", "s", "s")), DEFAULT)
    assert "is not one of those that are known" in await reason(text, checks)


async def test_only_so_many_tokens_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwt_tokens, "MAX_KNOWN", 2)
    checks = verifier(secret_key(SECRET, ["HS256"]), ["HS256"])
    texts = [token("HS256", sub=f"n{number}") for number in range(3)]
    first, second, third = [await checks.verify(text) for text in texts]
    assert await checks.verify(texts[1]) is second
    assert await checks.verify(texts[2]) is third
    assert await checks.verify(texts[0]) is not first
    assert len(checks._known) == 2


async def test_one_audience_of_several_is_enough() -> None:
    assert (await SET.verify(token(kid="r", **GOOD | {"aud": ["other", "waterspout"]}))).name == "ada"


async def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    every: list[dict[str, Any]] = [{"exp": now - 20}, {"nbf": now + 20}, {"iat": now + 20}]
    for more in every:
        assert (await SET.verify(token(kid="r", **GOOD, **more))).is_valid(now)


WRONG_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"exp": None}, "has no exp"),
    ({"exp": 1}, "has expired"),
    ({"exp": int(time.time()) - 60}, "has expired"),
    ({"exp": "soon"}, "claims are wrong"),
    ({"exp": "99999999999"}, "claims are wrong"),
    ({"exp": [1]}, "claims are wrong"),
    ({"exp": {}}, "claims are wrong"),
    ({"exp": True}, "has expired"),
    ({"exp": 10**400}, "claims are wrong"),
    ({"nbf": int(time.time()) + 3600}, "not valid yet"),
    ({"nbf": "later"}, "claims are wrong"),
    ({"iat": int(time.time()) + 3600}, "not valid yet"),
    ({"iss": None}, "has no iss"),
    ({"iss": "https://idp.example.evil"}, "another issuer"),
    ({"iss": ["https://idp.example"]}, "another issuer"),
    ({"aud": None}, "has no aud"),
    ({"aud": "other"}, "another audience"),
    ({"aud": ["other"]}, "another audience"),
    ({"aud": {"waterspout": 1}}, "another audience"),
    ({"sub": None}, "has no sub"),
    ({"sub": 7}, "claims are wrong"),
    ({"sub": ""}, "claims are wrong: name"),
    ({"sub": "x" * 129}, "claims are wrong: name"),
    ({"sub": "a\r\nb"}, "claims are wrong: name"),
    ({"scope": 7}, "claims are wrong: .*scope"),
    ({"scope": ["predict:*"]}, "claims are wrong: .*scope"),
    ({"scope": {"predict": "*"}}, "claims are wrong: .*scope"),
    ({"scope": "predict:"}, "claims are wrong: scope 'predict:'"),
    ({"scopes": "predict:*"}, "claims are wrong: .*scopes"),
    ({"scopes": ["predict:*", 7]}, "claims are wrong: .*scopes"),
]


@pytest.mark.parametrize(("more", "expected"), WRONG_CLAIMS)
async def test_wrong_claims_are_refused(more: dict[str, Any], expected: str) -> None:
    signed = by_hand({"alg": "HS256"}, claims(**(GOOD | more)), SECRET.encode())  # the claims alone are wrong
    with pytest.raises(Unauthenticated, match=expected):
        await SHARED.verify(signed)


@pytest.mark.parametrize("none", ["none", "None", "NONE", "nOnE", "", None, 0, ["RS256"], {"alg": "RS256"}])
async def test_a_token_without_signature_is_refused_however_it_says_so(none: Any) -> None:
    for signature in ("", "AAAA"):
        for checks in (SET, SINGLE, SHARED):
            text = by_hand({"alg": none, "typ": "JWT"}, claims(**GOOD), signature=signature)
            assert "algorithm (alg) is none of those" in await reason(text, checks)
    assert "algorithm" in await reason(by_hand({}, claims(**GOOD)))


@pytest.mark.parametrize("secret", [pem("RS256"), pem("RS256").strip(), json.dumps(jwk("RS256", "r")).encode(), b""])
async def test_a_public_key_is_no_secret(secret: bytes) -> None:
    """Key confusion: HS256, signed with what everybody knows."""
    for algorithm in ("HS256", "hs256"):
        text = by_hand({"alg": algorithm, "kid": "r"}, claims(**GOOD), secret)
        for checks in (SET, SINGLE):
            assert "algorithm (alg) is none of those" in await reason(text, checks)
    text = by_hand({"alg": "RS256", "kid": "r"}, claims(**GOOD), secret)
    for checks in (SET, SINGLE):
        assert "signature is wrong" in await reason(text, checks)


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/dev/null",
        "/etc/passwd",
        "file:///dev/null",
        "http://169.254.169.254/latest",
        "https://evil.example/keys",
        "' UNION SELECT 'key' --",
        "r' OR '1'='1",
        "r\0",
        "R",
        "",
        "| id",
        "${jndi:ldap://evil.example}",
        "x" * 256,
    ],
)
async def test_a_kid_is_a_name_and_nothing_else(kid: str) -> None:
    for secret in (b"", pem("RS256")):
        text = by_hand({"alg": "RS256", "kid": kid}, claims(**GOOD), secret)
        assert "is not one of those that are known" in await reason(text)
    assert "is not one of those that are known" in await reason(token(kid=kid, **GOOD))


@pytest.mark.parametrize("kid", [1, ["r"], {"r": 1}, True, 1.5, "x" * 257])
async def test_a_kid_that_is_no_short_text_is_refused(kid: Any) -> None:
    assert "no t" in await reason(by_hand({"alg": "RS256", "kid": kid}, claims(**GOOD)))


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
async def test_a_token_that_brings_a_key_along_is_refused(name: str) -> None:
    value = jwk("RS256", "r", "evil") if name == "jwk" else "https://evil.example/keys"
    for kid in ("r", None):
        text = token(kid=kid, name="evil", headers={name: value}, **GOOD)
        assert "brings a key along" in await reason(text)
    assert "brings a key along" in await reason(token(kid="r", headers={name: value}, **GOOD))


@pytest.mark.parametrize("headers", [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"crit": []}])
async def test_extensions_are_refused(headers: dict[str, Any]) -> None:
    text = by_hand({"alg": "HS256", **headers}, claims(**GOOD), SECRET.encode())
    told = await reason(text, SHARED)
    assert "extension" in told or "no token" in told


async def test_another_key_or_algorithm_of_the_right_kid_is_refused() -> None:
    assert "signature is wrong" in await reason(token(kid="r", name="other", **GOOD))
    assert "is not one of those" in await reason(token("ES256", kid="r", **GOOD))
    assert "algorithm" in await reason(token("RS512", kid="r", **GOOD))
    assert (await SET.verify(token("PS256", kid="r", **GOOD))).name == "ada"
    named = verifier(parse_jwks(jwks(jwk("RS256", "r", alg="RS256")), DEFAULT), **RULES)
    assert "is not one of those" in await reason(token("PS256", kid="r", **GOOD), named)


async def test_a_token_that_was_changed_is_refused() -> None:
    header, payload, signature = token(kid="r", **GOOD).split(".")
    _, admin, _ = by_hand({}, claims(**GOOD, scope="admin")).split(".")
    for text in (
        f"{header}.{admin}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[:-6]}",
        f"{header}.{payload}.{'A' * len(signature)}",
        f"{header}.{payload}.{signature}{signature}",
    ):
        assert "signature is wrong" in await reason(text)


async def test_an_ecdsa_signature_of_zeros_is_refused() -> None:
    header, payload, _ = token("ES256", kid="e", **GOOD).split(".")
    assert "signature is wrong" in await reason(f"{header}.{payload}.{'A' * 86}")


DEEP = b"[" * 100_000
MALFORMED = [
    "",
    ".",
    "..",
    "...",
    "a.b",
    "a.b.c",
    "a.b.c.d.e",
    "é.é.é",
    "\ud800.a.b",
    "\0.\0.\0",
    by_hand(b"", {}),
    by_hand(b"{", {}),
    by_hand(b"[]", {}),
    by_hand(b"null", {}),
    by_hand(b'"RS256"', {}),
    by_hand(b"\xff\xfe", {}),
    by_hand(DEEP, {}),
    by_hand(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, {}),
    by_hand(b'{"alg":"RS256","n":' + b"9" * 5000 + b"}", {}),
]


@pytest.mark.parametrize("text", MALFORMED)
async def test_what_is_no_token_is_refused(text: str) -> None:
    assert (await reason(text)).startswith(("no token", "the token's"))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        DEEP,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"exp":' + b"9" * 5000 + b"}",
    ],
    ids=lambda payload: payload[:8].decode("latin-1"),
)
async def test_claims_that_are_no_object_are_refused_though_they_are_signed(payload: bytes) -> None:
    assert "claims are wrong" in await reason(by_hand({"alg": "HS256"}, payload, SECRET.encode()), SHARED)


async def test_claims_that_are_deep_change_nothing() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = {"a": [deep]}
    assert (await SHARED.verify(token("HS256", **GOOD, deep=deep))).name == "ada"


VALID = token(kid="r", **GOOD)
PARTS = VALID.split(".")
SEGMENTS = st.sampled_from(PARTS) | st.from_regex(r"[A-Za-z0-9_-]{0,60}", fullmatch=True) | st.text(max_size=20)


@given(st.text() | st.builds("{}.{}.{}".format, SEGMENTS, SEGMENTS, SEGMENTS))
def test_nothing_is_accepted_that_was_not_signed_and_nothing_crashes(text: str) -> None:
    for checks in (SET, SINGLE, SHARED):
        try:
            asyncio.run(checks.verify(text))
        except Unauthenticated:
            continue
        assert text == VALID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CLAIMS = st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "scope", "scopes", "jti"]), JSON)


@given(header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "jku", "crit", "b64", "cty"]), JSON), more=CLAIMS)
def test_whatever_is_signed_crashes_nothing(header: dict[str, Any], more: dict[str, Any]) -> None:
    for head in (header, {"alg": "HS256"}, {**header, "alg": "HS256"}):
        text = by_hand(head, {**claims(**GOOD), **more}, SECRET.encode())
        try:
            identity = asyncio.run(SHARED.verify(text))
        except Unauthenticated:
            continue
        assert head["alg"] == "HS256"
        assert identity.name


async def test_nothing_shown_has_a_secret() -> None:
    text = token("HS256", **GOOD)
    shown = [repr(SHARED), repr(secret_key(SECRET, ["HS256"])), repr(secret_key(SECRET, ["HS256"])._keys)]
    shown.append(await reason(text[:-4] + "AAAA", SHARED))
    assert not any(SECRET in line or text[:60] in line for line in shown)
