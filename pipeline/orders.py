"""What operators order of all processes of a server, and how the results of all become one answer."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from pipeline.admin_messages import Done, Level, SessionInfo, Sessions
from pipeline.errors import InferenceFailed, Overloaded, UnknownModel, UnknownSession, WaterspoutError

MAX_LISTED: Final = 1000
MAX_RESULT_BYTES: Final = 4 << 20

Text = Annotated[str, Meta(max_length=16_384)]  # as long as the headers of a request may be
Count = Annotated[int, Meta(ge=0)]


class ListSessions(Struct, tag="list", forbid_unknown_fields=True):
    """Tell of open sockets, the oldest first, at most `limit`; of those of one identity where it is named."""

    identity: Text | None
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED)]


class CloseSession(Struct, tag="close", forbid_unknown_fields=True):
    """Close a socket."""

    session: Text


class DrainModel(Struct, tag="drain", forbid_unknown_fields=True):
    """Take no more events for a model, and answer those that were taken; `at` is the time of its `Mark`."""

    model: Text
    at: Count = 0


class ResumeModel(Struct, tag="resume", forbid_unknown_fields=True):
    """Take events for it again."""

    model: Text
    at: Count = 0


class SetLogLevel(Struct, tag="level", forbid_unknown_fields=True):
    """Log more, or less."""

    level: Level


Task = ListSessions | CloseSession | DrainModel | ResumeModel | SetLogLevel


class Order(Struct, forbid_unknown_fields=True):
    """What is to be done, and by whose order."""

    by: Text
    task: Task


class Listed(Struct, tag="listed", forbid_unknown_fields=True):
    """The sockets of one process, as many as were asked for and fit into a message, and how many there are in all."""

    sessions: list[SessionInfo]
    total: Count


class Did(Struct, tag="did", forbid_unknown_fields=True):
    """Whether there was anything to do: a process that does not know the session or the model has nothing to."""

    done: bool


class Failed(Struct, tag="failed", forbid_unknown_fields=True):
    """The process could not do it."""

    reason: Text


Result = Listed | Did | Failed


class Answers(NamedTuple):
    """The encoded results of other processes by their names, and how many of those that were asked gave none."""

    results: Mapping[str, bytes]
    silent: int


#: Carries out an encoded order; returns the encoded result, or nothing where it is not done in so many seconds. Raises
#: `ForeignOrder`.
Obedience = Callable[[bytes, float], Awaitable[bytes]]


async def deaf(order: bytes, wait: float) -> bytes:
    """Do nothing, until somebody is there who obeys."""
    del order, wait
    return b""


class ForeignOrder(Exception):
    """These bytes are no order, result or letter of ours; the text says why."""


_encode: Final = msgspec.msgpack.Encoder().encode
_order: Final = msgspec.msgpack.Decoder(Order).decode
_result: Final = msgspec.msgpack.Decoder(Result).decode
_FOREIGN: Final = (msgspec.MsgspecError, RecursionError, ValueError)


def encode_order(order: Order) -> bytes:
    """Return the bytes of an order."""
    return _encode(order)


def decode_order(payload: bytes) -> Order:
    """Return the order in a payload. Raises `ForeignOrder`."""
    try:
        return _order(payload)
    except _FOREIGN as error:
        raise ForeignOrder(f"no order: {error}") from error


def encode_result(result: Result, most: int = MAX_RESULT_BYTES) -> bytes:
    """Return the bytes of a result, of a list as much of it as fits into `most` bytes: its total tells."""
    payload = _encode(result)
    while len(payload) > most and isinstance(result, Listed) and result.sessions:
        result = Listed(result.sessions[: len(result.sessions) // 2], result.total)
        payload = _encode(result)
    return payload


def decode_result(payload: bytes) -> Result:
    """Return the result in a payload. Raises `ForeignOrder`."""
    try:
        result: Result = _result(payload)
    except _FOREIGN as error:
        raise ForeignOrder(f"no result: {error}") from error
    return result


def merge(task: Task, results: Mapping[str, Result], silent: int) -> Sessions | Done:
    """Return the one answer of all processes, `silent` of which have not answered; nor has one that answers oddly.

    Raises `InferenceFailed` with what failed anywhere; `UnknownModel` or `UnknownSession` where there is none at any
    process, and `Overloaded` where there may be one at a silent one.
    """
    for process, result in results.items():
        if isinstance(result, Failed):
            raise InferenceFailed(f"process {process}: {result.reason}" if process else result.reason)
    if isinstance(task, ListSessions):
        lists = {process: result for process, result in results.items() if isinstance(result, Listed)}
        return _merge_lists(task.limit, lists, silent + len(results) - len(lists))
    deeds = [result for result in results.values() if isinstance(result, Did)]
    silent += len(results) - len(deeds)
    if not any(deed.done for deed in deeds):
        raise _nowhere(task, silent)
    return Done(True, silent)


def _merge_lists(limit: int, lists: Mapping[str, Listed], silent: int) -> Sessions:
    infos = []
    for process, listed in lists.items():
        for info in listed.sessions:
            info.process = process
            infos.append(info)
    infos.sort(key=lambda info: info.seconds, reverse=True)
    return Sessions(infos[:limit], sum(listed.total for listed in lists.values()), silent)


def _nowhere(task: Task, silent: int) -> WaterspoutError:
    """Return what is told where no process has done anything."""
    match task:
        case CloseSession(session=name):
            what = f"session: {name[:100]!r}"
        case DrainModel(model=name) | ResumeModel(model=name):
            what = f"model: {name[:128]!r}"
        case _:
            what = "the order"
    if silent:
        return Overloaded(f"{what}: {silent} of the processes have not answered in time, and no other has done it")
    if isinstance(task, CloseSession):
        return UnknownSession(f"{what} is open nowhere")
    return UnknownModel(f"{what} is not served")
