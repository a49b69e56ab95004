"""API keys: how they are made, what is kept of them, and who holds the one that is shown.

A key reads `wsk_<id>_<secret>`: 12 characters of base32 that name it, and 32 random bytes in base64url. What is kept is
SHA-256 over a salt and the secret; a slow hash is for passwords, which are guessed, and nobody guesses 256 bits.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from math import inf
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipeline.errors import Unauthenticated
from pipeline.identity import Identity, check_name
from pipeline.scopes import Scopes

MAX_KEYS: Final = 100_000

_ID: Final = re.compile(r"[A-Z2-7]{12}")
_TEXT: Final = re.compile(r"wsk_([A-Z2-7]{12})_([A-Za-z0-9_-]{43})")
_SALT_BYTES: Final = 16
_HEX: Final = re.compile(r"[0-9a-f]+")

RandomBytes = Callable[[int], bytes]


class ApiKey(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept of a key. Times have a time zone; `salt` and `digest` are hex."""

    id: str
    name: str
    scopes: tuple[str, ...]
    salt: str
    digest: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` (`msgspec.ValidationError` where it is decoded) that names the field."""
        if not _ID.fullmatch(self.id):
            raise ValueError("id: expected 12 characters of base32")
        check_name(self.name)
        Scopes.parse(self.scopes)
        for field, length in (("salt", 2 * _SALT_BYTES), ("digest", 64)):
            text = getattr(self, field)
            if len(text) != length or not _HEX.fullmatch(text):
                raise ValueError(f"{field}: expected {length} digits of hex")
        for field in ("created", "expires", "revoked"):
            time = getattr(self, field)
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{field}: expected a time zone, like 2026-11-21T12:00:00Z")

    def __repr__(self) -> str:
        return f"<ApiKey {self.id} {self.name!r} {self.state(None)}>"

    def state(self, now: float | None) -> str:
        """Return `valid`, `expired` or `revoked`; `now`: unix seconds, None for what does not depend on it."""
        if self.revoked is not None:
            return "revoked"
        is_over = now is not None and self.expires is not None and now >= self.expires.timestamp()
        return "expired" if is_over else "valid"

    def revoke(self, now: datetime) -> "ApiKey":
        """Return it revoked; one that is already stays as it is."""
        return self if self.revoked is not None else replace(self, revoked=now)


def make_key(
    name: str,
    scopes: Iterable[str],
    now: datetime,
    lifetime: timedelta | None = None,
    random: RandomBytes = secrets.token_bytes,
) -> tuple[ApiKey, str]:
    """Return what is kept of a new key, and its text. Raises `ValueError` for a wrong name, scope or lifetime."""
    key_id = base64.b32encode(random(10)).decode()[:12]
    secret = base64.urlsafe_b64encode(random(32)).decode().rstrip("=")
    salt = random(_SALT_BYTES)
    try:
        expires = None if lifetime is None else now + lifetime
    except OverflowError:
        raise ValueError("expires: so far ahead there is no date") from None
    key = ApiKey(key_id, name, tuple(scopes), salt.hex(), _digest(salt, secret).hex(), now, expires)
    return key, f"wsk_{key_id}_{secret}"


def is_api_key(text: str) -> bool:
    """Return whether a credential is meant to be an API key."""
    return text.startswith("wsk_")


class KeyRing:
    """The keys that are known. Each has one `Identity`, so that whoever holds it sees when the key is revoked."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[ApiKey, Identity]] = {}
        self._nobody = (secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(32))

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<KeyRing {len(self._keys)} keys>"

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Know these keys alone. What has changed of a key, or is gone, ends those who were identified by it."""
        former, self._keys = self._keys, {}
        for key in keys:
            known = former.get(key.id)
            if known is not None and known[0] == key:
                self._keys[key.id] = former.pop(key.id)
            else:
                self._keys[key.id] = (key, _identity_of(key))
        for _, identity in former.values():
            identity.is_revoked = True

    def verify(self, text: str, now: float) -> Identity:
        """Return who holds a key. Raises `Unauthenticated`; it takes as long for an id that is unknown."""
        matched = _TEXT.fullmatch(text)
        key_id, secret = matched.groups() if matched else ("", "")
        key, identity = self._keys.get(key_id, (None, None))
        salt, expected = (bytes.fromhex(key.salt), bytes.fromhex(key.digest)) if key else self._nobody
        is_right = hmac.compare_digest(_digest(salt, secret), expected)
        if not is_right or key is None or identity is None:
            raise Unauthenticated("no such API key")
        if not identity.is_valid(now):
            raise Unauthenticated(f"the API key {'was revoked' if identity.is_revoked else 'has expired'}")
        return identity

    def find(self, key_id: str) -> Identity | None:
        """Return whom a key identifies, by its id."""
        return self._keys[key_id][1] if key_id in self._keys else None


def _identity_of(key: ApiKey) -> Identity:
    expires_at = inf if key.expires is None else key.expires.timestamp()
    identity = Identity(key.name, Scopes.parse(key.scopes), expires_at, "key", key_id=key.id)
    identity.is_revoked = key.revoked is not None
    return identity


def _digest(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()
