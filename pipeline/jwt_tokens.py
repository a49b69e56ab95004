"""Tokens (JWT, RFC 7519) of another platform's users: who may sign them, and whom they identify.

What is checked follows RFC 8725: algorithms are those of the settings and of the key, never the token's choice; `kid`
is looked up among known keys and is nothing else; a token that brings a key along is refused.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import jwt
import msgspec
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from pipeline.errors import Unauthenticated
from pipeline.identity import Identity
from pipeline.jwt_keys import KeySet, UnknownKey
from pipeline.scopes import Scopes

LEEWAY: Final = 30.0  # seconds that the clocks of who signs and who verifies may differ
MAX_KID: Final = 256  # characters
MAX_KNOWN: Final = 4096  # tokens of which the signature, which takes long to verify, is not verified again

_OWN_KEYS: Final = ("jku", "jwk", "x5u", "x5c")  # headers by which a token brings a key along
_KINDS: Final = ("predict", "watch", "admin")

_REASONS: Final[dict[type[PyJWTError], str]] = {
    ExpiredSignatureError: "the token has expired",
    ImmatureSignatureError: "the token is not valid yet",
    InvalidAudienceError: "the token is for another audience (aud)",
    InvalidIssuerError: "the token is of another issuer (iss)",
    InvalidSignatureError: "the token's signature is wrong",
}


class KeySource(Protocol):
    """Where keys come from."""

    @property
    def keys(self) -> KeySet:
        """Those that are known now."""

    async def renew(self) -> bool:
        """Look for others, since a token names one that is unknown; return whether that was done."""


class FixedKeys:
    """Keys that do not change."""

    def __init__(self, keys: KeySet) -> None:
        self.keys = keys

    async def renew(self) -> bool:
        """There are no others."""
        return False


class _Claims(msgspec.Struct):
    """What becomes of a token; all else was checked before, or does not matter."""

    sub: str
    exp: int | float
    scope: str | None = None
    scopes: list[str] | None = None


class TokenVerifier:
    """Turns tokens into identities."""

    def __init__(
        self,
        source: KeySource,
        algorithms: Sequence[str],
        issuer: str | None = None,
        audience: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives unix seconds, for tokens that are shown again; PyJWT has its own."""
        self._source = source
        self._algorithms = frozenset(algorithms)
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._known: dict[bytes, Identity] = {}  # by the hash of their token, those who were identified last
        self._known_by = source.keys

    def __repr__(self) -> str:
        return f"<TokenVerifier {self._source.keys!r} {' '.join(sorted(self._algorithms))}>"

    async def verify(self, text: str) -> Identity:
        """Return whom a token identifies. Raises `Unauthenticated` with the reason."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        if self._known_by is not self._source.keys:  # who was let in by a key that is gone is asked again
            self._known.clear()
            self._known_by = self._source.keys
        known = self._known.get(digest)
        if known is not None and known.is_valid(self._clock()):
            return known
        identity = await self._verify(text)
        if self._known_by is self._source.keys:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[digest] = identity
        return identity

    async def _verify(self, text: str) -> Identity:
        kid, algorithm = self._header(text)
        try:
            key = self._source.keys.find(kid, algorithm)
        except UnknownKey:
            if not await self._source.renew():
                raise
            key = self._source.keys.find(kid, algorithm)
        return self._identity_of(self._payload(text, key.key, algorithm), key.holder)

    async def find_holder(self, key_id: str) -> Identity | None:
        """Return the parent of those who were identified by a key, perhaps at another process, if that is known."""
        holder = self._source.keys.holders.get(key_id)
        if holder is None and await self._source.renew():
            holder = self._source.keys.holders.get(key_id)
        return holder

    def _header(self, text: str) -> tuple[str | None, str]:
        """Return which key and algorithm a token names."""
        try:
            header: dict[str, Any] = jwt.get_unverified_header(text)
        except (PyJWTError, ValueError, RecursionError):
            raise Unauthenticated("no token: expected three parts of base64url, of which two are JSON") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise Unauthenticated("the token's algorithm (alg) is none of those that are taken")
        if any(name in header for name in _OWN_KEYS):
            raise Unauthenticated(f"the token brings a key along ({', '.join(_OWN_KEYS)}), which is not used")
        if "crit" in header or "b64" in header:
            raise Unauthenticated("the token asks for an extension (crit) that is not known")
        if kid is not None and (not isinstance(kid, str) or len(kid) > MAX_KID):
            raise Unauthenticated(f"the token's kid is no text of at most {MAX_KID} characters")
        return kid, algorithm

    def _payload(self, text: str, key: Any, algorithm: str) -> dict[str, Any]:
        """Return the claims of a token whose signature and times are right."""
        try:
            return jwt.decode(
                text,
                key,
                [algorithm],
                options={"require": ["exp", "sub"], "enforce_minimum_key_length": True},
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
            )
        except MissingRequiredClaimError as error:
            raise Unauthenticated(f"the token has no {error.claim}") from None
        except PyJWTError as error:
            raise Unauthenticated(_REASONS.get(type(error), "the token's claims are wrong")) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthenticated("the token's claims are wrong") from None

    def _identity_of(self, payload: dict[str, Any], holder: Identity | None) -> Identity:
        key_id = "" if holder is None else holder.key_id
        try:
            claims = msgspec.convert(payload, _Claims)
            ends = float(claims.exp) + LEEWAY
            return Identity(claims.sub, _scopes_of(claims), ends, "token", key_id=key_id, parent=holder)
        except (ValueError, OverflowError, RecursionError) as error:
            raise Unauthenticated(f"the token's claims are wrong: {str(error)[:200]}") from None


def _scopes_of(claims: _Claims) -> Scopes:
    """Return our scopes among those of a token, which may have others' too. Raises `ValueError` for a wrong one."""
    texts = claims.scopes if claims.scopes is not None else (claims.scope or "").split(" ")
    return Scopes.parse(text for text in texts if text.partition(":")[0] in _KINDS)
