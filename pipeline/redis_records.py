"""What lies in Redis and how it is read: names of keys, ids of entries, cards, its clock. Pure."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

GROUP = "workers"
PAYLOAD = b"d"  # the one field of an entry

_EXPIRY = struct.Struct(">Q")


class Keys(NamedTuple):
    """Names of keys. What is in braces decides the slot of Redis Cluster: each call stays within one."""

    prefix: str

    def queue(self, name: str) -> str:
        """Return the key of a queue: a stream."""
        return f"{self.prefix}:{{{name}}}:rows"

    def box(self, name: str) -> str:
        """Return the key of a box: a stream."""
        return f"{self.prefix}:{{{name}}}:replies"

    def members(self, kind: str) -> str:
        """Return the key of the members of a kind: a hash."""
        return f"{self.prefix}:{{{kind}}}:members"

    def channel(self, name: str) -> str:
        """Return the name of a channel of pub/sub, which all databases of a Redis share."""
        return f"{self.prefix}:{{{name}}}:news"

    @property
    def dead(self) -> str:
        """The key of the dead letters: a stream."""
        return f"{self.prefix}:dead"

    @property
    def marker(self) -> str:
        """The key of what is written once, and so tells whether data was lost."""
        return f"{self.prefix}:marker"


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


def parse_version(text: str) -> tuple[int, ...]:
    """Return a version's leading numbers: `7.0.15` is (7, 0, 15); what is no version is ()."""
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
