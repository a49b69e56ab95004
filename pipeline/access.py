"""Who may ask: the verifiers of all credentials, put together."""

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pipeline.api_keys import KeyRing, is_api_key
from pipeline.errors import ConfigError, Unauthenticated
from pipeline.identity import OPEN_IDENTITY, Identity
from pipeline.key_store import KeyFile, KeyStore, RedisKeys
from pipeline.key_watch import LOOK_SECONDS, KeyWatch
from pipeline.settings import Settings
from pipeline.tickets import PREFIX, MemoryTickets, ParentTickets, RedisTickets, Tickets, TicketStore

if TYPE_CHECKING:
    from pipeline.control_wire import ParentLink
    from pipeline.jwks import Jwks
    from pipeline.jwt_tokens import TokenVerifier
    from pipeline.redis_nodes import RedisNodes

MAX_LENGTH: Final = 8192  # characters of a credential


class Access:
    """Turns credentials into identities. Open, it takes everybody."""

    def __init__(
        self,
        *,
        keys: KeyStore | None = None,
        tokens: "TokenVerifier | None" = None,
        jwks: "Jwks | None" = None,
        tickets: TicketStore | None = None,
        clock: Callable[[], float] = time.time,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Without keys and tokens it is open.

        `jwks`: the set that tokens are verified with, if it is one that changes. `clock` gives unix seconds; the store
        of keys is looked at every `look_seconds`.
        """
        self._clock = clock
        self._tokens = tokens
        self._jwks = jwks
        self._ring = KeyRing()
        self._watch = None if keys is None else KeyWatch(keys, self._ring, look_seconds)
        self._tickets = Tickets(tickets or MemoryTickets(), self._find_key)

    @classmethod
    def from_settings(
        cls, settings: Settings, nodes: "RedisNodes | None" = None, link: "ParentLink | None" = None
    ) -> "Access":
        """Return what the settings ask for; `nodes`: the Redis, and `link`: the parent, if there are any.

        Raises `ConfigError`.
        """
        keys: KeyStore | None = None
        if settings.api_keys is not None:
            keys = KeyFile(settings.api_keys)
        elif settings.api_keys_in_redis:
            if nodes is None:
                raise ConfigError("api_keys_in_redis: needs redis")
            keys = RedisKeys(nodes)
        tokens, jwks = _tokens_of(settings) if settings.has_tokens else (None, None)
        tickets: TicketStore | None = None
        if nodes is not None:
            tickets = RedisTickets(nodes)
        elif link is not None:
            tickets = ParentTickets(link)
        return cls(keys=keys, tokens=tokens, jwks=jwks, tickets=tickets)

    def __repr__(self) -> str:
        return "<Access open>" if self.is_open else f"<Access {self._ring!r} {self._tokens!r}>"

    @property
    def is_open(self) -> bool:
        """Whether no credentials are needed."""
        return self._watch is None and self._tokens is None

    async def start(self) -> None:
        """Load what credentials are checked against, and follow it. Raises `ConfigError` where it cannot be had."""
        if self._watch is not None:
            await self._watch.start()
        if self._jwks is not None:
            await self._jwks.start()

    async def stop(self) -> None:
        """Follow nothing more."""
        if self._watch is not None:
            await self._watch.stop()
        if self._jwks is not None:
            await self._jwks.stop()

    async def identify(self, credential: str) -> Identity:
        """Return who shows an API key or a token. Raises `Unauthenticated` with the reason."""
        if self.is_open:
            return OPEN_IDENTITY
        if not credential:
            raise Unauthenticated("no credential")
        if len(credential) > MAX_LENGTH or not credential.isascii():
            raise Unauthenticated(f"a credential has at most {MAX_LENGTH} characters, all of them ASCII")
        if self._watch is not None and is_api_key(credential):
            return self._ring.verify(credential, self._clock())
        if self._tokens is not None and credential.count(".") == 2:
            return await self._tokens.verify(credential)
        kinds = [kind for kind, taken in (("API key", self._watch), ("token (JWT)", self._tokens)) if taken is not None]
        raise Unauthenticated(f"the credential is no {' and no '.join(kinds)}, which this server takes")

    async def issue(self, identity: Identity) -> str:
        """Return a ticket: once, for 30 s, `redeem` gives who it was issued to. Raises `RateLimited`, `Overloaded`."""
        if self.is_open:
            return PREFIX + secrets.token_urlsafe(32)
        return await self._tickets.issue(identity)

    async def redeem(self, ticket: str) -> Identity:
        """Return whom a ticket stands for. Raises `Unauthenticated`; whoever it was issued to may have ended."""
        return OPEN_IDENTITY if self.is_open else await self._tickets.redeem(ticket, self._clock())

    async def _find_key(self, key_id: str) -> Identity | None:
        if self._tokens is not None and key_id.startswith("jwk:"):
            return await self._tokens.find_holder(key_id)
        return self._ring.find(key_id)


def _tokens_of(settings: Settings) -> "tuple[TokenVerifier, Jwks | None]":
    """Return what verifies tokens, and the set of its keys if that may change. Raises `ConfigError`."""
    from pipeline.jwks import make_jwks  # tokens need packages that nothing else does
    from pipeline.jwt_keys import pem_key, secret_key
    from pipeline.jwt_tokens import FixedKeys, TokenVerifier

    algorithms = settings.token_algorithms
    rules = algorithms, settings.jwt_issuer, settings.jwt_audience
    if settings.jwt_jwks is not None:
        jwks = make_jwks(settings.jwt_jwks, algorithms)
        return TokenVerifier(jwks, *rules), jwks
    if settings.jwt_secret is not None:
        return TokenVerifier(FixedKeys(secret_key(settings.jwt_secret.get_secret_value(), algorithms)), *rules), None
    path = settings.jwt_public_key
    try:
        keys = pem_key(path.read_bytes() if path else b"", algorithms)
    except OSError as error:
        raise ConfigError(f"jwt_public_key: {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"jwt_public_key: {path}: {error}") from error
    return TokenVerifier(FixedKeys(keys), *rules), None
