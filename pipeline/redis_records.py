"""What lies in Redis and how it is read: names of keys and their slots, ids of entries, cards, its clock. Pure."""

import struct
from binascii import crc_hqx
from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import Any, Final, NamedTuple

from pipeline.backbone import shard_of

GROUP = "workers"
PAYLOAD = b"d"  # the one field of an entry

SLOTS: Final = 16_384  # of every Redis Cluster
NEAR: Final = 64  # slots

_EXPIRY = struct.Struct(">Q")


class Keys(NamedTuple):
    """Names of keys. What is in braces decides the slot: all of a shard lies together."""

    prefix: str

    def queue(self, name: str) -> str:
        """Return the key of a queue: a stream."""
        return self.rows(tag_of(shard_of(name)), name)

    def rows(self, tag: str, name: str) -> str:
        """Return the key of a stream in the slot of a tag."""
        return f"{self.prefix}:{{{tag}}}:{name}:rows"

    def box(self, name: str) -> str:
        """Return the key of a box: a stream."""
        return f"{self.prefix}:{{{tag_of(shard_of(name))}}}:{name}:replies"

    def members(self, kind: str) -> str:
        """Return the key of the members of a kind: a hash."""
        return f"{self.prefix}:{{{kind}}}:members"

    def usage(self, name: str) -> str:
        """Return the key of what was used: a hash."""
        return f"{self.prefix}:{{usage}}:{name}:usage"

    def channel(self, name: str) -> str:
        """Return the name of a channel of pub/sub, which all databases of a Redis share."""
        return f"{self.prefix}:{{{name}}}:news"

    def type_of(self, key: str) -> str:
        """Return the type that Redis has for a key of ours."""
        if key.endswith((":members", ":usage")) or key == self.api_keys:
            return "hash"
        return "string" if key == self.marker or key.startswith(self.ticket("")) else "stream"

    def ticket(self, digest: str) -> str:
        """Return the key of a ticket: a string."""
        return f"{self.prefix}:ticket:{digest}"

    @property
    def api_keys(self) -> str:
        """The key of the API keys: a hash."""
        return f"{self.prefix}:api-keys"

    @property
    def dead(self) -> str:
        """The key of the dead letters: a stream."""
        return f"{self.prefix}:dead"

    @property
    def marker(self) -> str:
        """The key of what is written once, and so tells whether data was lost."""
        return f"{self.prefix}:marker"


@cache
def tag_of(shard: int) -> str:
    """Return the hash tag of a shard; those of any number of shards lie about evenly over the slots.

    The slots wanted are a van der Corput sequence: 0, 1/2, 1/4, 3/4, ... of all.
    """
    bits = f"{shard:b}"
    wanted = int(bits[::-1], 2) * SLOTS >> len(bits)
    return next(tag for n in count() if 0 <= key_slot(tag := f"{shard}.{n}") - wanted < NEAR)


def key_slot(key: str) -> int:
    """Return the slot of a key in a Redis Cluster: the CRC16 (XMODEM) of its tag, or of all where it has none."""
    _, brace, behind = key.partition("{")
    tag, closing, _ = behind.partition("}")
    return crc_hqx((tag if brace and closing and tag else key).encode(), 0) % SLOTS


class ServerClock:
    """Redis' clock in milliseconds, out of the last time it was asked and what went by here."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = 0.0

    def note(self, reply: Sequence[bytes], here: float) -> None:
        """Take a reply to TIME that was received `here` (seconds of any steady clock)."""
        self._offset = int(reply[0]) * 1e3 + int(reply[1]) / 1e3 - here * 1e3

    def now_ms(self, here: float) -> int:
        """Return the time there."""
        return int(here * 1e3 + self._offset)

    def age(self, entry_id: str, here: float) -> float:
        """Return the seconds since an entry was put, by its id."""
        return max(0.0, (self.now_ms(here) - int(entry_id.partition("-")[0])) / 1e3)


def next_id(entry_id: str) -> str:
    """Return the least id behind an id."""
    milliseconds, _, number = entry_id.partition("-")
    return f"{milliseconds}-{int(number or 0) + 1}"


def payload_of(fields: Sequence[bytes] | None) -> bytes | None:
    """Return the payload of an entry, whose fields come as a flat list; None if it is not one of ours."""
    if fields is None:
        return None
    return next((value for name, value in zip(fields[::2], fields[1::2], strict=False) if name == PAYLOAD), None)


def pack_card(card: bytes, expires_ms: int) -> bytes:
    """Return a member's card with the time, by Redis' clock, when it is void."""
    return _EXPIRY.pack(expires_ms) + card


def unpack_card(value: bytes) -> tuple[bytes, int]:
    """Return card and expiry; what is too short to be a card has expired long ago."""
    if len(value) < _EXPIRY.size:
        return b"", 0
    return value[_EXPIRY.size :], _EXPIRY.unpack_from(value)[0]


def parse_info(reply: Any) -> dict[str, str]:
    """Return the lines of a reply to INFO; of anything else nothing."""
    if not isinstance(reply, bytes):
        return {}
    lines = reply.decode("utf-8", "replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


def parse_slots(reply: Sequence[Any], asked: str) -> list[tuple[int, int, tuple[str, int]]]:
    """Return first and last slot, and host and port of the primary, of each range in a reply to CLUSTER SLOTS.

    `asked`: the host that was asked, which stands for one that a node does not know of itself.
    """
    ranges = []
    for first, last, (host, port, *_), *_ in reply:
        name = (host or b"").decode("utf-8", "replace")
        ranges.append((int(first), int(last), (asked if name in ("", "?") else name, int(port))))
    return ranges


def is_cluster(info: dict[str, str]) -> bool:
    """Return whether a Redis that says this of itself is a node of a cluster."""
    return "cluster" in (info.get("redis_mode"), info.get("server_mode"))


def parse_version(text: str) -> tuple[int, ...]:
    """Return a version's leading numbers: `7.0.15` is (7, 0, 15); what is no version is ()."""
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
