"""What a server process and the parent of several tell each other."""

from typing import Final

import msgspec
from msgspec import Struct

from pipeline.merged_metrics import Family
from pipeline.standing import Mark

HEADER: Final = 4  # bytes before each message: its length


class Ready(Struct, tag=True, array_like=True):
    """To the parent: the process takes connections."""

    url: str


class Refused(Struct, tag=True, array_like=True):
    """To the parent: a setting, a file or a model is wrong, so that the process ends."""

    reason: str


class Tell(Struct, tag=True, array_like=True):
    """To a process: `Told` is wanted."""


class Told(Struct, tag=True, array_like=True):
    """To the parent: the process's own numbers; one for each `Tell`, and the last ones before it ends."""

    families: list[Family]


class Scrape(Struct, tag=True, array_like=True):
    """To the parent: the numbers of all processes are wanted, in a format that the HTTP header `accept` allows."""

    number: int
    accept: str


class Scraped(Struct, tag=True, array_like=True):
    """To a process: what it asked for."""

    number: int
    content_type: str
    body: bytes


class KeepTicket(Struct, tag=True, array_like=True):
    """To the parent: a ticket was issued. It is answered once any process can redeem it."""

    number: int
    digest: str
    record: bytes


class TakeTicket(Struct, tag=True, array_like=True):
    """To the parent: somebody shows a ticket."""

    number: int
    digest: str


class Ticket(Struct, tag=True, array_like=True):
    """To a process: whether the ticket was kept, or was there, and what it stands for."""

    number: int
    is_there: bool
    record: bytes = b""


class PassOn(Struct, tag=True, array_like=True):
    """To the parent: an operator's order for all other processes; results are waited for so many seconds."""

    number: int
    order: bytes
    wait: float


class PassedOn(Struct, tag=True, array_like=True):
    """To a process: what came of that, by the names of processes, and how many have not answered in time."""

    number: int
    results: dict[str, bytes]
    silent: int


class Obey(Struct, tag=True, array_like=True):
    """To a process: an order that another one was given."""

    number: int
    order: bytes
    wait: float


class Obeyed(Struct, tag=True, array_like=True):
    """To the parent: the result, one for each `Obey`; empty where there is none in time."""

    number: int
    result: bytes


class Marked(Struct, tag=True, array_like=True):
    """Either way: the last orders for models that the sender knows of."""

    marks: dict[str, Mark]


class Drain(Struct, tag=True, array_like=True):
    """To a process: end, as SIGTERM does it."""


Message = (
    Ready
    | Refused
    | Tell
    | Told
    | Scrape
    | Scraped
    | KeepTicket
    | TakeTicket
    | Ticket
    | PassOn
    | PassedOn
    | Obey
    | Obeyed
    | Marked
    | Drain
)

_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Message)


def packed(message: Message) -> bytes:
    """Return a message with its length before it."""
    payload = _encode(message)
    return len(payload).to_bytes(HEADER) + payload


def unpacked(payload: bytes) -> Message:
    """Return the message of a payload, its length left out. Raises `msgspec.DecodeError`."""
    message: Message = _decoder.decode(payload)
    return message


class Seat(Struct):
    """What the parent gives a process on its way, in the environment."""

    number: int  # of the process, from 1
    port: int
    descriptor: int  # of its end of a socket pair


SEAT: Final = "_WATERSPOUT_SEAT"


def seat_of(text: str) -> Seat:
    """Return a seat from the environment's text."""
    return msgspec.json.decode(text, type=Seat)


def seat_text(seat: Seat) -> str:
    """Return a seat as the environment's text."""
    return msgspec.json.encode(seat).decode()
