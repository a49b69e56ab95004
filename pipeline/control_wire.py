"""Messages between a server process and the parent of several, and the process's side of it."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Self

from pipeline.control_messages import (
    HEADER,
    SEAT,
    Drain,
    KeepTicket,
    Marked,
    Message,
    Obey,
    Obeyed,
    PassedOn,
    PassOn,
    Ready,
    Refused,
    Scrape,
    Scraped,
    Seat,
    TakeTicket,
    Tell,
    Ticket,
    Told,
    packed,
    seat_of,
    unpacked,
)
from pipeline.errors import Overloaded, ShuttingDown
from pipeline.merged_metrics import Family
from pipeline.orders import Answers, ForeignOrder, Obedience, deaf
from pipeline.standing import Standing

ANSWER_SECONDS: Final = 2.0  # the parent waits for the other processes for less
MOST_SCRAPES: Final = 16  # at the same time: each costs every process
FLUSH_SECONDS: Final = 1.0


class Wire:
    """One end of a socket pair. It ends when the process at the other end does, however that came about."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Return a wire over one end of a pair of stream sockets, which it closes."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Message) -> None:
        """Send a message; what nobody will read any more is dropped."""
        if not self._writer.is_closing():
            self._writer.write(packed(message))

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what comes until the other end is closed."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await self._reader.readexactly(HEADER))
                yield unpacked(await self._reader.readexactly(length))

    async def close(self) -> None:
        """Close it once all has been sent, or after `FLUSH_SECONDS`."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), FLUSH_SECONDS)


class ParentLink:
    """What a process that has a parent tells it, is asked by it, and asks of it."""

    def __init__(self, wire: Wire, drain: Callable[[], None], name: str = "") -> None:
        """`drain` is called when the parent says so, and when it is gone; `name`: the process's among its siblings."""
        self.name = name
        self._wire = wire
        self._obedience: Obedience = deaf
        self._standing = Standing()
        self._drain = drain
        self._tell: Callable[[], list[Family]] = list
        self._answers: dict[int, asyncio.Future[Any]] = {}  # what is asked, by number
        self._asked = 0
        self._scrapes = 0  # that are under way
        self._obeying: set[asyncio.Task[None]] = set()
        self._is_up = True
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def of(cls, seat: Seat, drain: Callable[[], None]) -> Self:
        """Return the link of the process that was given a seat."""
        end = socket.socket(fileno=seat.descriptor)
        end.set_inheritable(False)
        return cls(await Wire.over(end), drain, str(seat.number))

    def ready(self, url: str, tell: Callable[[], list[Family]]) -> None:
        """Say that the process takes connections; from now on it can be asked to `tell` its numbers."""
        self._tell = tell
        self._wire.send(Ready(url))

    def refuse(self, reason: str) -> None:
        """Say why the process does not start."""
        self._wire.send(Refused(reason))

    async def scrape(self, accept: str) -> Scraped:
        """Return the numbers of all processes.

        Raises `ShuttingDown` without a parent, and `Overloaded` if it does not answer or too many ask.
        """
        if self._scrapes >= MOST_SCRAPES:
            raise Overloaded(f"more than {MOST_SCRAPES} ask for the metrics at the same time")
        self._scrapes += 1
        try:
            answer: Scraped = await self._ask(lambda number: Scrape(number, accept))
        finally:
            self._scrapes -= 1
        return answer

    async def keep_ticket(self, digest: str, record: bytes) -> bool:
        """Have any of the processes redeem a ticket from now on; return False where there are too many.

        Raises `ShuttingDown` and `Overloaded` as `scrape` does.
        """
        answer: Ticket = await self._ask(lambda number: KeepTicket(number, digest, record))
        return answer.is_there

    async def take_ticket(self, digest: str) -> bytes | None:
        """Return what a ticket stands for, to the first who asks. Raises as `keep_ticket` does."""
        answer: Ticket = await self._ask(lambda number: TakeTicket(number, digest))
        return answer.record if answer.is_there else None

    def serve(self, obey: Obedience, standing: Standing) -> None:
        """Carry out from now on what siblings order, and share with them what stands."""
        self._obedience, self._standing = obey, standing
        standing.on_change = lambda: self._wire.send(Marked(standing.marks))

    async def order(self, order: bytes, wait: float) -> Answers:
        """Have all siblings that are ready carry out an order, as `Others` says."""
        try:
            answer: PassedOn = await self._ask(lambda number: PassOn(number, order, wait), wait + ANSWER_SECONDS)
        except (ShuttingDown, Overloaded):
            return Answers({}, 1)
        return Answers(answer.results, answer.silent)

    async def close(self) -> None:
        """Tell the last numbers, and part."""
        self._wire.send(Told(self._tell()))
        self._reading.cancel()
        for task in self._obeying:
            task.cancel()
        await self._wire.close()

    async def _ask(self, question: Callable[[int], Message], patience: float | None = None) -> Any:
        """Return the parent's answer to a question, which is given its number; wait for `ANSWER_SECONDS` or longer."""
        if not self._is_up:
            raise ShuttingDown("the parent of this process is gone")
        self._asked += 1
        number = self._asked
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        self._wire.send(question(number))
        try:
            return await asyncio.wait_for(future, ANSWER_SECONDS if patience is None else patience)
        except TimeoutError as error:
            raise Overloaded("the parent of this process does not answer") from error
        finally:
            del self._answers[number]

    async def _read(self) -> None:
        async for message in self._wire.messages():
            match message:
                case Tell():
                    self._wire.send(Told(self._tell()))
                case Obey():
                    task = asyncio.create_task(self._obey(message))
                    self._obeying.add(task)
                    task.add_done_callback(self._obeying.discard)
                case Marked(marks=marks):
                    self._standing.merge(marks)
                    self._standing.follow()
                case Scraped(number=number) | Ticket(number=number) | PassedOn(number=number):
                    if (future := self._answers.get(number)) is not None and not future.done():
                        future.set_result(message)
                case Drain():
                    self._drain()
        self._is_up = False
        for future in self._answers.values():
            if not future.done():
                future.set_exception(ShuttingDown("the parent of this process is gone"))
        self._drain()

    async def _obey(self, message: Obey) -> None:
        try:
            result = await self._obedience(message.order, message.wait)
        except ForeignOrder:
            result = b""
        self._wire.send(Obeyed(message.number, result))


def own_seat() -> Seat | None:
    """Return what the parent gave this process, if it has one, and hide it from others."""
    text = os.environ.pop(SEAT, None)
    return None if text is None else seat_of(text)
