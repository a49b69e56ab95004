"""Who asks: the identity behind a request, and whether a page of another site may ask at all."""

from collections.abc import Sequence
from enum import Enum
from typing import Final, Protocol
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

from handlers.credentials import EXPECTED, find
from handlers.forwarded import Proxies, Scheme
from pipeline.access import Access
from pipeline.auth_rules import is_loopback
from pipeline.errors import Forbidden, Unauthenticated, WaterspoutError
from pipeline.identity import OPEN_IDENTITY, Identity
from pipeline.settings import Settings

_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))


class Needs(Enum):
    """What a door asks of a credential, where any are configured; scopes of models and topics are checked behind it."""

    NOTHING = "nothing"
    IDENTITY = "identity"
    ADMIN = "admin"


class Applicant(Protocol):
    """Who says later who he is (see `handlers.identified`)."""

    def identified(self, identity: Identity) -> None:
        """Take the identity."""

    def refuse(self, error: WaterspoutError) -> None:
        """Take the reason why there is none."""


class Gate:
    """Lets requests in, or not."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self._access = access
        self._query_tokens = settings.query_tokens
        self._origins = frozenset(settings.allowed_origins)
        self._hosts = frozenset(name.lower() for name in settings.allowed_hosts)
        self.is_open: Final = access.is_open  # no credentials are configured: everybody may do everything
        self._proxies = Proxies(settings.trusted_proxies)
        self._checks_names = access.is_open and (is_loopback(settings.address) or bool(self._hosts))

    def __repr__(self) -> str:
        return f"<Gate {'open' if self.is_open else 'closed'}>"

    def check_page(self, request: HTTPServerRequest) -> None:
        """Keep pages of other sites out: those that changed what their name points at, and those that post here.

        Raises `Forbidden`.
        """
        if self._checks_names:
            name = _name_of(request)
            if name not in self._hosts and not is_loopback(name):
                raise Forbidden(f"Host: {name[:100]!r} is no name of this server (allowed_hosts)")
        if request.method not in _SAFE and not self.is_origin_allowed(request):
            raise Forbidden("Origin: this page may not ask here (allowed_origins)")

    async def identify(
        self, request: HTTPServerRequest, needs: Needs, *, takes_tickets: bool = False, guests: bool = False
    ) -> Identity | None:
        """Return who asks; None where that is not needed, or may be told later (`guests`).

        Raises `Unauthenticated`, `Forbidden`, or a retryable error where it cannot be said now.
        """
        if self.is_open:
            return OPEN_IDENTITY
        if needs is Needs.NOTHING:
            return None
        credential = find(request.headers, request.query_arguments, query_tokens=self._query_tokens)
        if credential is None:
            if guests:
                return None
            raise Unauthenticated(EXPECTED)
        if credential.is_ticket:
            if not takes_tickets:
                raise Unauthenticated("ticket: only sockets and event streams take one")
            return await self._access.redeem(credential.text)
        identity = await self._access.identify(credential.text)
        if needs is Needs.ADMIN and not identity.scopes.is_admin:
            raise Forbidden("the credential has no scope admin")
        return identity

    async def hear(self, token: str, applicant: Applicant) -> None:
        """Identify by a credential that came as a message."""
        try:
            identity = await self._access.identify(token)
        except WaterspoutError as error:
            applicant.refuse(error)
        else:
            applicant.identified(identity)

    async def issue(self, identity: Identity) -> str:
        """Return a ticket that works once. Raises `RateLimited` or `Overloaded`."""
        return await self._access.issue(identity)

    def is_origin_allowed(self, request: HTTPServerRequest) -> bool:
        """Let a page of this server's own origin in, any listed one, and clients that are no page.

        Where TLS ends at a proxy that is not known as trusted, a page that was loaded over TLS counts as ours too.
        """
        origin = request.headers.get("Origin")
        if origin is None or origin in self._origins:
            return True
        try:
            page = urlsplit(origin)
        except ValueError:
            return False
        schemes = ("https",) if self.is_secure(request) else ("http", "https")
        return page.scheme in schemes and page.netloc.lower() == request.headers.get("Host", "").lower()

    def client_address(self, request: HTTPServerRequest) -> str:
        """Return the address of the client that a request is from, behind whatever trusted proxies."""
        return self._proxies.client(request.remote_ip or "", request.headers.get("X-Forwarded-For", ""))

    def forwarded_for(self, request: HTTPServerRequest) -> str:
        """Return the client's address where a trusted proxy stands before it; empty where none does."""
        client = self.client_address(request)
        return "" if client == request.remote_ip else client

    def is_secure(self, request: HTTPServerRequest) -> bool:
        """Return whether the client speaks TLS, to this server or to a trusted proxy."""
        own: Scheme = "https" if request.protocol == "https" else "http"
        told = request.headers.get("X-Forwarded-Proto", "")
        return self._proxies.scheme(request.remote_ip or "", own, told) == "https"


def check_topics(identity: Identity | None, patterns: Sequence[str]) -> None:
    """Raise `Forbidden` that names a pattern which an identity may not watch all of."""
    for pattern in patterns:
        if identity is None or not identity.scopes.may_watch(pattern):
            raise Forbidden(f"topics: the credential's scopes do not allow {pattern[:128]!r}")


def _name_of(request: HTTPServerRequest) -> str:
    """Return the host without its port."""
    host = request.headers.get("Host", "")
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return host
