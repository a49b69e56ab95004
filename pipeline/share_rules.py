"""How processes divide what an identity or address may ask of all: each takes a part, by what it is asked for."""

from collections.abc import Collection
from math import ceil
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.limits import Allowance

FORMAT: Final = 1  # of a card; others are foreign
FLOOR: Final = (
    0.1  # this part of each rate is divided evenly, so that whoever is asked for the first time has something
)
SETTLED: Final = 2  # cards in a row that must have shown a demand before a process takes more: all have seen it then
NEGLIGIBLE: Final = 0.02  # what is asked of less than this part of its limit is not told
MOST_TOLD: Final = 1000  # names of each kind: those that are closest to their limits


class Part(Struct, array_like=True):
    """What a process has of a name.

    Of each rate what is asked for per second, and its share; of what is counted how many there are, and may be.
    """

    rates: dict[str, tuple[float, float]]
    rooms: dict[str, tuple[int, int]]


class Card(Struct, array_like=True):
    """What a process has of identities and addresses, by kind and name."""

    format: int
    parts: dict[str, dict[str, Part]]


class ForeignCard(Exception):
    """These bytes are none of ours; the text says why."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Card)


def encode_card(card: Card) -> bytes:
    """Return a card as it travels."""
    return _encoder.encode(card)


def decode_card(payload: bytes) -> Card:
    """Return a card. Raises `ForeignCard`."""
    try:
        card = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ForeignCard(str(error)) from error
    if card.format != FORMAT:
        raise ForeignCard(f"format {card.format}")
    if any(d < 0 or s < 0 for kind in card.parts.values() for part in kind.values() for d, s in part.rates.values()):
        raise ForeignCard("negative rates")
    return card


def new_share(now: float, demand: float, shown: int, others: Collection[tuple[float, float]], processes: int) -> float:
    """Return the part of a rate that a process has from now on, having `now` of it.

    `others`: demand and share of those among all `processes` that tell of the name; `shown`: how many cards in a row
    have told of it here. What is told by nobody is divided evenly. A part shrinks at once and grows into what the
    others have let go of, so that together they have no more than all of it.
    """
    if processes <= 1:
        return 1.0
    told = len(others) + (shown > 0)
    if not told:
        return 1 / processes
    floor = FLOOR / processes
    wanted = sum(other for other, _ in others) + demand
    target = floor + (1 - FLOOR) * demand / wanted if wanted > 0 and shown else floor if wanted > 0 else 1 / processes
    if target <= now:
        return target
    if shown < SETTLED:
        return max(now, floor)
    left = 1 - sum(share for _, share in others) - floor * (processes - len(others) - 1)
    return max(min(target, left), min(now, target), floor)


def new_most(now: int, used: int, shown: int, others: Collection[tuple[int, int]], limit: int, processes: int) -> int:
    """Return how many of a kind may be here from now on: the `used` ones, and a part of what is left of the limit.

    `now`: how many may be so far; `shown` as in `new_share`; `others`: how many there are, and may be, at those who
    tell of the name. Parts are whole, so at all together there may be one more for each of the others.
    """
    left = limit - used - sum(other for other, _ in others)
    part = max(ceil(left / processes), 0)
    kept = sum(most for _, most in others) + part * (processes - len(others) - 1)
    most = max(min(used + part, limit - kept), used)
    return max(now, used) if most > now and 0 < shown < SETTLED and processes > 1 else most


def closeness(allowance: Allowance, demands: dict[str, float]) -> float:
    """Return how close something is to the nearest of its limits; 1 is at it."""
    parts = [demands[limit] / bucket.rate for limit, bucket in allowance.rates.items()]
    parts += [room.used / room.limit for room in allowance.rooms.values()]
    return max(parts, default=0.0)
