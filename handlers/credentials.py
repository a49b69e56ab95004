"""Where a request may carry its credential: a header, a WebSocket subprotocol or, for tickets, the query. Pure.

Cookies carry none: a browser would send them for any page.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.errors import Unauthenticated

MAX_LENGTH: Final = 8192
TICKET: Final = "ticket"
TOKEN: Final = "access_token"  # noqa: S105 - a parameter's name, in the query, only where `query_tokens` is on
SUBPROTOCOL: Final = "bearer."
EXPECTED: Final = "Authorization: expected Bearer and an API key or token"


class Credential(NamedTuple):
    """What a client says to show who it is; `is_ticket`: it works once."""

    text: str
    is_ticket: bool = False

    def __repr__(self) -> str:
        return f"Credential(..., is_ticket={self.is_ticket})"


def find(headers: Mapping[str, str], query: Mapping[str, Sequence[bytes]], *, query_tokens: bool) -> Credential | None:
    """Return the credential of a request, None where it has none.

    Raises `Unauthenticated` for one in a wrong form, and for more than one.
    """
    found = [Credential(_bearer(value)) for value in (headers.get("Authorization"),) if value is not None]
    found += [
        Credential(name.removeprefix(SUBPROTOCOL))
        for name in protocols(headers.get("Sec-WebSocket-Protocol", ""))
        if name.startswith(SUBPROTOCOL)
    ]
    found += [Credential(_text(TICKET, value), is_ticket=True) for value in query.get(TICKET, ())]
    if TOKEN in query:
        if not query_tokens:
            raise Unauthenticated(f"{TOKEN}: tokens in the query are off here (query_tokens); {EXPECTED}")
        found += [Credential(_text(TOKEN, value)) for value in query[TOKEN]]
    if len(found) > 1:
        raise Unauthenticated("more than one credential came; expected one")
    if found and not 0 < len(found[0].text) <= MAX_LENGTH:
        raise Unauthenticated(f"the credential has {len(found[0].text)} characters; expected 1 to {MAX_LENGTH}")
    return found[0] if found else None


def protocols(offered: str) -> list[str]:
    """Return what a `Sec-WebSocket-Protocol` offers."""
    return [name.strip() for name in offered.split(",")]


def _bearer(value: str) -> str:
    scheme, _, text = value.strip().partition(" ")
    if scheme.lower() != "bearer" or "," in text:
        raise Unauthenticated(EXPECTED)
    return text.strip()


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise Unauthenticated(f"{name}: expected ASCII") from None
