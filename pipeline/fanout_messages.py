"""What processes tell each other of what is watched: letters to all, and the card that each shows; in MessagePack."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from pipeline.alert_messages import Alert
from pipeline.errors import InvalidMessage
from pipeline.relayed import NoTensor, Relayed, check
from pipeline.topics import ALERTS, STATS, read_patterns
from pipeline.watch_messages import Hz, PatternText

FORMAT: Final = 1  # of all that is below; others are foreign
MAX_WANTED: Final = 1024  # patterns of one process
UNNUMBERED: Final = 0


class ForeignLetter(Exception):
    """These bytes are none of ours; the text says why."""


class Ended(Struct, array_like=True, tag=1):
    """The sender publishes to a topic no more."""

    topic: str


class Raised(Struct, array_like=True, tag=2):
    """The sender's `number`th alert."""

    number: int
    alert: Alert


class Dropped(Struct, array_like=True, tag=3):
    """So many updates were never sent, since newer ones were there before they could be."""

    count: int


class Complete(Struct, array_like=True, tag=4):
    """What `reader` asked the sender for again, with the `number`, was sent."""

    reader: str
    number: int


class Look(Struct, array_like=True, tag=5):
    """The sender's card asks for something."""


class Bye(Struct, array_like=True, tag=6):
    """The sender ends."""


Body = Relayed | Ended | Raised | Dropped | Complete | Look | Bye


class Letter(Struct, array_like=True):
    """A message to all. `number` counts those of one sender from 1; `UNNUMBERED` ones may be lost."""

    format: int
    sender: str
    number: int
    body: Body


class Card(Struct):
    """What a process wants of the others.

    `wants` has for each pattern the number of the question for what is there now, and `again` for each sender the one
    for everything that it has and that fits; `number` is that of the last question. `sent` and `alerts` are the numbers
    of the last letter and of the last alert that were sent.
    """

    format: int
    number: int
    wants: dict[PatternText, int]
    hz: Hz
    inputs: bool
    again: dict[str, int]
    sent: int
    alerts: int


class _Sealed(Struct, array_like=True):
    """A letter whose body is encoded already."""

    format: int
    sender: str
    number: int
    body: msgspec.Raw


_FOREIGN: Final = (msgspec.MsgspecError, InvalidMessage, NoTensor, RecursionError, ValueError)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_letter: Final = msgspec.msgpack.Decoder(Letter).decode
_decode_card: Final = msgspec.msgpack.Decoder(Card).decode


def encode(message: Body | Card) -> bytes:
    """Return the bytes of a card, or of what a letter says."""
    return _encode(message)


def seal(sender: str, number: int, body: bytes) -> bytes:
    """Return a letter."""
    return _encode(_Sealed(FORMAT, sender, number, msgspec.Raw(body)))


def decode_letter(payload: bytes) -> Letter:
    """Return the letter in a payload. Raises `ForeignLetter`."""
    try:
        letter = _decode_letter(payload)
        _check_format(letter.format)
        if isinstance(letter.body, Relayed):
            check(letter.body)
    except _FOREIGN as error:
        raise ForeignLetter(f"no letter: {error}") from error
    return letter


def decode_card(payload: bytes) -> Card:
    """Return the card in a payload. Raises `ForeignLetter`."""
    try:
        card = _decode_card(payload)
        _check_format(card.format)
        _check_wants(card.wants)
        if card.hz != card.hz:
            raise ValueError("hz: expected a number")
    except _FOREIGN as error:
        raise ForeignLetter(f"no card: {error}") from error
    return card


def _check_format(number: Any) -> None:
    if number != FORMAT:
        raise ValueError(f"format: expected {FORMAT}, got {number}")


def _check_wants(wants: dict[str, int]) -> None:
    if len(wants) > MAX_WANTED or wants.keys() & {STATS, ALERTS}:
        raise ValueError(f"wants: expected up to {MAX_WANTED} patterns of predictions")
    read_patterns(wants)
