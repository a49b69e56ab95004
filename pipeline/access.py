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
from pipeline.tickets import PREFIX, MemoryTickets, RedisTickets, Tickets, TicketStore

if TYPE_CHECKING:
    from pipeline.redis_nodes import RedisNodes

MAX_LENGTH: Final = 8192  # characters of a credential


class Access:
    """Turns credentials into identities. Open, it takes everybody."""

    def __init__(
        self,
        *,
        keys: KeyStore | None = None,
        tickets: TicketStore | None = None,
        clock: Callable[[], float] = time.time,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Without keys it is open. `clock` gives unix seconds; the store of keys is looked at every `look_seconds`."""
        self._clock = clock
        self._ring = KeyRing()
        self._watch = None if keys is None else KeyWatch(keys, self._ring, look_seconds)
        self._tickets = Tickets(tickets or MemoryTickets(), self._ring.find)

    @classmethod
    def from_settings(cls, settings: Settings, nodes: "RedisNodes | None" = None) -> "Access":
        """Return what the settings ask for; `nodes`: the Redis, if there is one. Raises `ConfigError`."""
        keys: KeyStore | None = None
        if settings.api_keys is not None:
            keys = KeyFile(settings.api_keys)
        elif settings.api_keys_in_redis:
            if nodes is None:
                raise ConfigError("api_keys_in_redis: needs redis")
            keys = RedisKeys(nodes)
        return cls(keys=keys, tickets=None if nodes is None else RedisTickets(nodes))

    def __repr__(self) -> str:
        return "<Access open>" if self.is_open else f"<Access {self._ring!r}>"

    @property
    def is_open(self) -> bool:
        """Whether no credentials are needed."""
        return self._watch is None

    async def start(self) -> None:
        """Load what credentials are checked against, and follow it. Raises `ConfigError` where it cannot be had."""
        if self._watch is not None:
            await self._watch.start()

    async def stop(self) -> None:
        """Follow nothing more."""
        if self._watch is not None:
            await self._watch.stop()

    async def identify(self, credential: str) -> Identity:
        """Return who shows an API key. Raises `Unauthenticated` with the reason."""
        if self.is_open:
            return OPEN_IDENTITY
        if len(credential) <= MAX_LENGTH and is_api_key(credential):
            return self._ring.verify(credential, self._clock())
        raise Unauthenticated("neither an API key nor a token" if credential else "no credential")

    async def issue(self, identity: Identity) -> str:
        """Return a ticket: once, for 30 s, `redeem` gives who it was issued to. Raises `RateLimited`, `Overloaded`."""
        if self.is_open:
            return PREFIX + secrets.token_urlsafe(32)
        return await self._tickets.issue(identity)

    async def redeem(self, ticket: str) -> Identity:
        """Return whom a ticket stands for. Raises `Unauthenticated`; whoever it was issued to may have ended."""
        return OPEN_IDENTITY if self.is_open else await self._tickets.redeem(ticket, self._clock())
