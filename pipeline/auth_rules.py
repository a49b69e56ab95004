"""What settings of identity may say, and what goes together. Messages never repeat a secret."""

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

#: Bytes that a shared secret must have: as many as the hash has (RFC 7518 section 3.2).
SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
PUBLIC_ALGORITHMS: Final = (
    *(f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)),
    "EdDSA",
)
ALGORITHMS: Final = (*SECRET_BYTES, *PUBLIC_ALGORITHMS)

_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.\-]{0,251}[A-Za-z0-9_])?")
_DEFAULT_SECRET: Final = ["HS256"]
_DEFAULT_PUBLIC: Final = ["RS256", "PS256", "ES256", "EdDSA"]


def is_loopback(host: str) -> bool:
    """Return whether a host or address can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def is_url(place: str) -> bool:
    """Return whether a place is a URL, and no file."""
    return "://" in place


def check_jwks(place: str) -> None:
    """Raise `ValueError` for a place of a JWKS that is no file and no https URL (http: loopback only)."""
    if not is_url(place):
        if not place:
            raise ValueError("expected a file or an https:// URL")
        return
    try:
        url = urlsplit(place)
        host, _ = url.hostname or "", url.port
    except ValueError:
        raise ValueError("no URL, or no port between 0 and 65535") from None
    if not host or not place.isascii() or not place.isprintable() or " " in place:
        raise ValueError("expected an https:// URL with a host")
    if url.username is not None or url.password is not None:
        raise ValueError("a URL with user and password is not used")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise ValueError("expected https://, since whoever changes keys on their way can make tokens")


def check_algorithm(name: str) -> None:
    """Raise `ValueError` for an algorithm that is not used; `none` never is."""
    if name not in ALGORITHMS:
        raise ValueError(f"{name[:32]!r} is none of {', '.join(ALGORITHMS)}")


def check_host(name: str) -> None:
    """Raise `ValueError` for what is no host name without scheme and port."""
    if _HOST.fullmatch(name):
        return
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"{name[:100]!r}: expected a host without scheme and port") from None


def check_network(text: str) -> None:
    """Raise `ValueError` for what is no address or network (CIDR)."""
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"expected an address or network like 10.0.0.0/8: {error}") from None


def token_algorithms(names: Sequence[str], secret: str | None) -> list[str]:
    """Return the algorithms that tokens may use.

    A secret goes with HS alone and public keys never with HS: whoever has the public key could else sign with it as if
    it were the secret. Raises `ValueError` that names the setting.
    """
    chosen = list(names) or (_DEFAULT_PUBLIC if secret is None else _DEFAULT_SECRET)
    wrong = [name for name in chosen if (name in SECRET_BYTES) != (secret is not None)]
    if wrong:
        source = "public keys" if secret is None else "jwt_secret"
        raise ValueError(f"jwt_algorithms: {wrong[0]} does not go with {source}")
    if secret is not None and "-----BEGIN " in secret:
        raise ValueError("jwt_secret: this is a key in PEM, and no secret; a public key goes to jwt_public_key")
    if secret is not None and len(secret.encode()) < (least := max(SECRET_BYTES[name] for name in chosen)):
        raise ValueError(f"jwt_secret: expected at least {least} bytes for {', '.join(chosen)}")
    return chosen
