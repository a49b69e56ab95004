"""Keys that tokens are verified with: a secret, a public key (PEM), or a set of them (JWKS, RFC 7517).

Each key has the algorithms that it may be used with, by its own type: what a token says of itself chooses among those
and never adds one. A public key never serves as a secret, and a set has public keys alone.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from pipeline.errors import Unauthenticated
from pipeline.identity import Identity
from pipeline.scopes import NOTHING

MAX_KEYS: Final = 256  # of a set
LEAST_RSA_BITS: Final = 2048

_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_FROM_JWK: Final[dict[Any, Any]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}
_PUBLIC_MEMBERS: Final = ("kty", "crv", "n", "e", "x", "y")


class UnknownKey(Unauthenticated):
    """A token names a key that is not among those that are known."""


class VerifyingKey(NamedTuple):
    """A key, what it may be used with and, where it may be taken out of its set, who ends with it."""

    key: Any
    algorithms: tuple[str, ...]
    holder: Identity | None = None

    def __repr__(self) -> str:
        return f"<VerifyingKey {' '.join(self.algorithms)}>"


class KeySet:
    """Keys by their `kid`, or a single one for all tokens."""

    def __init__(self, keys: Sequence[tuple[str | None, VerifyingKey]], *, is_single: bool = False) -> None:
        self._keys = keys
        self._is_single = is_single

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<KeySet {len(self._keys)} keys>"

    @property
    def holders(self) -> dict[str, Identity]:
        """The parents of all who are identified by a key of a set, by what tells the key from others."""
        return {key.holder.key_id: key.holder for _, key in self._keys if key.holder is not None}

    def succeed(self, former: "KeySet") -> None:
        """Take the place of another set: who was identified by a key that both have stays, and all others end."""
        known = former.holders
        self._keys = [(kid, _held_by(key, known)) for kid, key in self._keys]
        for key_id in known.keys() - self.holders.keys():
            known[key_id].is_revoked = True

    def find(self, kid: str | None, algorithm: str) -> VerifyingKey:
        """Return the key of a token. Raises `UnknownKey`, or `Unauthenticated` where several might be meant."""
        fitting = [(name, key) for name, key in self._keys if algorithm in key.algorithms]
        if self._is_single or kid is None:
            chosen = [key for _, key in fitting]
        else:
            chosen = [key for name, key in fitting if name == kid]
        if not chosen:
            raise UnknownKey("the token's key (kid and alg) is not one of those that are known")
        if len(chosen) > 1:
            raise Unauthenticated("the token does not say which key (kid) it was signed with")
        return chosen[0]


def secret_key(secret: str, algorithms: Sequence[str]) -> KeySet:
    """Return the set of a shared secret."""
    return KeySet([(None, VerifyingKey(secret.encode(), tuple(algorithms)))], is_single=True)


def pem_key(data: bytes, algorithms: Sequence[str]) -> KeySet:
    """Return the set of a public key. Raises `ValueError` for what is none, or fits no algorithm."""
    if b"PRIVATE KEY" in data:
        raise ValueError("this is a private key, which only whoever signs tokens should have: give the public one")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("expected a public key in PEM") from None
    fitting = _fitting(key, algorithms)
    if not fitting:
        raise ValueError(f"the key cannot verify {', '.join(algorithms)}, or has less than {LEAST_RSA_BITS} bits")
    return KeySet([(None, VerifyingKey(key, fitting))], is_single=True)


class _Jwks(msgspec.Struct):
    keys: list[dict[str, Any]]


def parse_jwks(data: bytes, algorithms: Sequence[str]) -> KeySet:
    """Return those keys of a set that can verify tokens; others are left out. Raises `ValueError` if there is none."""
    try:
        found = msgspec.json.decode(data, type=_Jwks).keys
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise ValueError('expected JSON like {"keys": [...]}') from None
    if len(found) > MAX_KEYS:
        raise ValueError(f"more than {MAX_KEYS} keys")
    keys = [(_kid(jwk), key) for jwk in found if (key := _key_of(jwk, algorithms)) is not None]
    if not keys:
        raise ValueError(f"no key in it can verify {', '.join(algorithms)}")
    return KeySet(keys)


def _kid(jwk: dict[str, Any]) -> str | None:
    kid = jwk.get("kid")
    return kid if isinstance(kid, str) else None


def _key_of(jwk: dict[str, Any], algorithms: Sequence[str]) -> VerifyingKey | None:
    """Return a public key, if it is one that verifies; what a set has of a private key is not looked at."""
    kind, operations = jwk.get("kty"), jwk.get("key_ops", ["verify"])
    is_for_signatures = jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    if not isinstance(kind, str) or kind not in _FROM_JWK or not is_for_signatures:
        return None
    try:
        key = _FROM_JWK[kind]({name: jwk[name] for name in _PUBLIC_MEMBERS if name in jwk})
    except (PyJWTError, ValueError, TypeError, AttributeError, OverflowError, UnsupportedAlgorithm):
        return None
    named = jwk.get("alg")
    fitting = tuple(name for name in _fitting(key, algorithms) if named in (None, name))
    return VerifyingKey(key, fitting, _holder_of(jwk)) if fitting else None


def _holder_of(jwk: dict[str, Any]) -> Identity:
    """Return a holder by the key's thumbprint: a hash of all that makes it what it is, and of the names it goes by."""
    members = {name: jwk.get(name) for name in (*_PUBLIC_MEMBERS, "alg", "kid")}
    thumbprint = hashlib.sha256(msgspec.json.encode(members, order="deterministic")).hexdigest()
    return Identity(thumbprint, NOTHING, kind="token", key_id=f"jwk:{thumbprint}")


def _held_by(key: VerifyingKey, holders: Mapping[str, Identity]) -> VerifyingKey:
    return key if key.holder is None else key._replace(holder=holders.get(key.holder.key_id, key.holder))


def _fitting(key: Any, algorithms: Sequence[str]) -> tuple[str, ...]:
    """Return those algorithms that a public key can verify."""
    if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return tuple(name for name in algorithms if name.startswith(("RS", "PS")))
    if isinstance(key, EllipticCurvePublicKey):
        return tuple(name for name in algorithms if name == _CURVES.get(key.curve.name))
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        return tuple(name for name in algorithms if name == "EdDSA")
    return ()
