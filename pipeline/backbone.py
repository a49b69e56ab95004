"""What carries rows from gateways to workers and their outcomes back: one interface, in memory and over Redis.

A *queue* holds work: each entry goes to one worker at a time and stays until it is acknowledged, so it may come twice.
A *box* holds the replies for one gateway, in order. Queues and boxes of the same *shard* lie together, those of others
may lie elsewhere: the shard is the number at the end of their names, as in `activity/1/0`. *Members* say what they are,
and are forgotten when they fall silent. Payloads are bytes whose meaning is the business of others.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

Receive = Callable[[bytes], None]


class BackboneDown(Exception):
    """Nothing can be reached now; what was asked may have been done or not."""


class BackboneFull(Exception):
    """There is no memory left for more."""


class Delivery(NamedTuple):
    """An entry as a worker gets it; `count` is which delivery of it this is, `age` the seconds since it was put."""

    queue: str
    id: str
    payload: bytes
    count: int  # type: ignore[assignment]  # tuples have a method of that name
    age: float


class Depth(NamedTuple):
    """Entries of a queue that no worker has yet, and those that one has."""

    waiting: int
    pending: int


def shard_of(name: str) -> int:
    """Return the shard of a queue or box by its name; what names none is of shard 0."""
    number = name.rpartition("/")[2]
    return int(number) if "/" in name and number.isdecimal() else 0


class Backbone(Protocol):
    """All methods belong to the loop's thread; each raises `BackboneDown`, and what writes may raise `BackboneFull`."""

    @property
    def is_up(self) -> bool:
        """Whether the last that was tried succeeded."""

    @property
    def buried(self) -> int:
        """How many entries have been laid with the dead letters from here."""

    @property
    def foreign(self) -> int:
        """How much has come here, out of queues and boxes, that nobody put there by this interface."""

    async def put(self, queue: str, payloads: Sequence[bytes]) -> list[str]:
        """Append entries to a queue, which is made where there is none; return their ids."""

    async def holds(self, queue: str, ids: Sequence[str]) -> set[str]:
        """Return those of the ids whose entries have not been acknowledged."""

    async def take(self, queues: Sequence[str], worker: str, most: int, wait: float) -> list[Delivery]:
        """Return up to `most` entries of each queue that no worker has had; wait for one up to `wait` seconds.

        All queues are of one shard.
        """

    async def claim(self, queue: str, worker: str, idle: float, most: int) -> list[Delivery]:
        """Return entries that a worker has had for `idle` seconds without a word; they are this worker's now."""

    async def keep(self, queue: str, worker: str, ids: Sequence[str]) -> None:
        """Say that entries are still worked on: their idle time starts anew."""

    async def done(self, queue: str, ids: Sequence[str]) -> None:
        """Acknowledge entries, whoever has them; they are gone then."""

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """Lay an entry with the dead letters, of which the newest are kept, and acknowledge it."""

    async def depth(self, queue: str) -> Depth:
        """Return how much there is in a queue."""

    async def open_box(self, box: str, ttl: float) -> bool:
        """Make a box, or keep the one there is, until `ttl` seconds after the last call; return whether it is new."""

    async def reply(self, box: str, payloads: Sequence[bytes]) -> bool:
        """Append to a box; return False where there is none: the gateway is gone."""

    async def settle(self, box: str, payloads: Sequence[bytes], queue: str, ids: Sequence[str]) -> bool:
        """Do what `reply` and `done` do in one go; nothing is acknowledged before its reply is written.

        Box and queue are of one shard.
        """

    async def replies(self, box: str, after: str, most: int, wait: float) -> list[tuple[str, bytes]]:
        """Return what came after an id (`""`: from the beginning) and forget all before; wait up to `wait` seconds."""

    async def announce(self, kind: str, member: str, card: bytes, ttl: float) -> None:
        """Say what a member is; it is forgotten after `ttl` seconds without a word."""

    async def withdraw(self, kind: str, member: str) -> None:
        """Say that a member is gone."""

    async def members(self, kind: str) -> dict[str, bytes]:
        """Return the cards of all members of a kind."""

    async def publish(self, channel: str, payloads: Sequence[bytes]) -> None:
        """Tell those who listen now. What is told while a listener cannot be reached is lost to it."""

    def listen(self, channel: str, receive: Receive) -> AbstractAsyncContextManager[None]:
        """Call `receive` with all payloads that are published while the context is open."""

    async def close(self) -> None:
        """Let go of everything."""
