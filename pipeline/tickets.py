"""One-time tickets, for those who cannot send a header: browsers that open a WebSocket.

A ticket is 32 random bytes; only its hash is kept, for 30 s, with whom it stands for. Whoever shows it first gets in.
"""

import hashlib
import secrets
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from pipeline.backbone import BackboneDown, BackboneFull
from pipeline.errors import Overloaded, RateLimited, Unauthenticated
from pipeline.identity import Identity
from pipeline.scopes import Scopes

if TYPE_CHECKING:
    from pipeline.control_wire import ParentLink
    from pipeline.redis_nodes import RedisNodes

LIFETIME: Final = 30.0  # seconds
MAX_OPEN: Final = 100_000  # tickets that were issued within `LIFETIME`, used or not
MAX_OPEN_PER_NAME: Final = 10_000
PREFIX: Final = "wst_"
_LENGTH: Final = len(PREFIX) + 43

_TOO_MANY: Final = "too many tickets are open"
_NO_TICKET: Final = "no such ticket, or one that was used or has expired"


class TicketStore(Protocol):
    """Where tickets wait to be used. It raises `BackboneDown`, `BackboneFull`, `Overloaded` or `ShuttingDown`."""

    async def keep(self, digest: str, record: bytes) -> None:
        """Keep what a ticket stands for, for `LIFETIME`."""

    async def take(self, digest: str) -> bytes | None:
        """Return what a ticket stands for, to the first who asks; None if there is none."""


class _Record(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Whom a ticket stands for."""

    name: str
    scopes: tuple[str, ...]
    expires_at: float | None
    key_id: str


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Record).decode


async def _unknown(key_id: str) -> Identity | None:
    del key_id
    return None


class Tickets:
    """Issues tickets and redeems them."""

    def __init__(
        self,
        store: TicketStore,
        find_key: Callable[[str], Awaitable[Identity | None]] = _unknown,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`find_key` gives the identity of a key by its id: with its end the ticket's holder ends too."""
        self._store = store
        self._find_key = find_key
        self._clock = clock
        self._issued: deque[tuple[float, str]] = deque()
        self._by_name: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Tickets {len(self._issued)} issued>"

    async def issue(self, identity: Identity) -> str:
        """Return a ticket that stands for somebody. Raises `RateLimited`, `Overloaded` or `ShuttingDown`."""
        self._note(identity.name)
        text = PREFIX + secrets.token_urlsafe(32)
        expires_at = None if identity.expires_at == inf else identity.expires_at
        record = _Record(identity.name, identity.scopes.texts, expires_at, identity.key_id)
        try:
            await self._store.keep(digest_of(text), _encode(record))
        except (BackboneDown, BackboneFull) as error:
            raise Overloaded("tickets cannot be issued now", 1000) from error
        return text

    async def redeem(self, text: str, now: float) -> Identity:
        """Return whom a ticket stands for; `now`: unix seconds.

        Raises `Unauthenticated`, and `Overloaded` or `ShuttingDown` where that cannot be said now.
        """
        if len(text) != _LENGTH or not text.isascii() or not text.startswith(PREFIX):
            raise Unauthenticated(_NO_TICKET)
        try:
            kept = await self._store.take(digest_of(text))
            record = None if kept is None else _decode(kept)
            identity = None if record is None else await self._identity_of(record)
        except (BackboneDown, BackboneFull) as error:
            raise Overloaded("tickets cannot be checked now", 1000) from error
        except ValueError as error:
            raise Unauthenticated(_NO_TICKET) from error
        if identity is None or not identity.is_valid(now):
            raise Unauthenticated(_NO_TICKET if identity is None else "the ticket's credential has ended")
        return identity

    async def _identity_of(self, record: _Record) -> Identity | None:
        parent = await self._find_key(record.key_id) if record.key_id else None
        if record.key_id and parent is None:
            return None
        expires_at = inf if record.expires_at is None else record.expires_at
        scopes = Scopes.parse(record.scopes)
        return Identity(record.name, scopes, expires_at, "ticket", key_id=record.key_id, parent=parent)

    def _note(self, name: str) -> None:
        """Count a ticket. Raises `RateLimited` or `Overloaded` where there are too many."""
        now = self._clock()
        while self._issued and self._issued[0][0] <= now:
            _, former = self._issued.popleft()
            self._by_name[former] -= 1
            if not self._by_name[former]:
                del self._by_name[former]
        if self._by_name[name] >= MAX_OPEN_PER_NAME:
            raise RateLimited(f"more than {MAX_OPEN_PER_NAME} tickets in {LIFETIME:g} s")
        if len(self._issued) >= MAX_OPEN:
            raise Overloaded(f"more than {MAX_OPEN} tickets in {LIFETIME:g} s", 1000)
        self._issued.append((now + LIFETIME, name))
        self._by_name[name] += 1


class MemoryTickets:
    """Tickets of one process, or those that a parent keeps for several."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, bytes]] = {}  # in the order in which they expire

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, digest: str, record: bytes) -> bool:
        """Keep a ticket, and return whether there was room."""
        self._forget()
        if len(self._kept) >= MAX_OPEN:
            return False
        self._kept[digest] = (self._clock() + LIFETIME, record)
        return True

    def pop(self, digest: str) -> bytes | None:
        """Return what a ticket stands for, once."""
        self._forget()
        _, record = self._kept.pop(digest, (0.0, None))
        return record

    async def keep(self, digest: str, record: bytes) -> None:
        """Keep it. Raises `Overloaded`."""
        if not self.put(digest, record):
            raise Overloaded(_TOO_MANY, 1000)

    async def take(self, digest: str) -> bytes | None:
        """Return it, once."""
        return self.pop(digest)

    def _forget(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            del self._kept[next(iter(self._kept))]


class RedisTickets:
    """Tickets that are good at every process with the same Redis, which forgets them by itself."""

    def __init__(self, nodes: "RedisNodes") -> None:
        self._nodes = nodes

    async def keep(self, digest: str, record: bytes) -> None:
        """Keep it."""
        key = self._nodes.keys.ticket(digest)
        link = await self._nodes.of(key)
        await link.run(("SET", key, record, "EX", round(LIFETIME)))

    async def take(self, digest: str) -> bytes | None:
        """Return it, once: Redis hands it to one of those who ask at the same time."""
        key = self._nodes.keys.ticket(digest)
        link = await self._nodes.of(key)
        reply: list[bytes | None] = await link.run(("GETDEL", key))
        return reply[0]


class ParentTickets:
    """Tickets that are good at every process with the same parent, which keeps them."""

    def __init__(self, link: "ParentLink") -> None:
        self._link = link

    async def keep(self, digest: str, record: bytes) -> None:
        """Keep it. Raises `Overloaded`."""
        if not await self._link.keep_ticket(digest, record):
            raise Overloaded(_TOO_MANY, 1000)

    async def take(self, digest: str) -> bytes | None:
        """Return it, once."""
        return await self._link.take_ticket(digest)


def digest_of(text: str) -> str:
    """Return what is kept of a ticket's text."""
    return hashlib.sha256(text.encode()).hexdigest()
