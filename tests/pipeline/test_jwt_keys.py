"""Keys of tokens: what is no public key, which keys of a set are used, and what for."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from pipeline.jwt_keys import parse_jwks, pem_key
from pipeline.jwt_tokens import FixedKeys, TokenVerifier

from .jwt_parts import SECRET, jwk, jwks, pem, private_key, token

X25519 = X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DEFAULT = ["RS256", "PS256", "ES256", "EdDSA"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a public key in PEM"),
        (b"\xff", "expected a public key in PEM"),
        (SECRET.encode(), "expected a public key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----", "private key"),
        (pem("ES384"), "cannot verify"),
        (X25519, "cannot verify"),
    ],
)
def test_what_is_no_public_key_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pem_key(data, DEFAULT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected JSON"),
        (b"[]", "expected JSON"),
        (b'{"keys": 1}', "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"keys": [' + b"[" * 100_000, "expected JSON"),
        (b"\xff", "expected JSON"),
        (jwks(), "no key in it"),
        (jwks({"kty": "oct", "k": "AAAA", "kid": "r"}), "no key in it"),
        (jwks(jwk("RS256", use="enc")), "no key in it"),
        (jwks(jwk("RS256", key_ops=["sign"])), "no key in it"),
        (jwks(jwk("RS256", alg="HS256")), "no key in it"),
        (jwks({"kty": ["RSA"]}, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": []}), "no key in it"),
        (jwks(jwk("ES256", x="AAAA"), jwk("EdDSA", x="A"), jwk("ES256", crv="P-384")), "no key in it"),
        (jwks(jwk("RS256", n="AQAB")), "no key in it"),
        (jwks(*[jwk("RS256")] * 257), "more than 256 keys"),
    ],
    ids=str,
)
def test_a_set_without_a_key_that_verifies_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_jwks(data, DEFAULT)


async def test_a_set_that_tells_a_private_key_verifies_with_the_public_one() -> None:
    private = json.loads(RSAAlgorithm.to_jwk(private_key("RS256"))) | {"kid": "r", "key_ops": ["sign", "verify"]}
    keys = parse_jwks(jwks(private, {"kty": "unknown"}, jwk("RS256", name="other")), DEFAULT)
    assert len(keys) == 2
    assert (await TokenVerifier(FixedKeys(keys), DEFAULT).verify(token(kid="r"))).name == "ada"
