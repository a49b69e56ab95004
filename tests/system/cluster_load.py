"""Clients that keep a cluster busy, and count every event: each is to be answered once, in order and rightly."""

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.typing import Subprotocol

from .client import subprotocol
from .cluster import WORKER_WAIT_SECONDS

KEYS: Final = 4  # of each client: events of every other one have a deadline
BURST: Final = 4  # events in one frame
EVERY: Final = 0.02  # seconds between frames of one client
MOST_UNANSWERED: Final = 64  # of one client
TIMEOUT_MS: Final = 4000  # the others wait for a worker as long as the gateway lets them
GRACE: Final = 2.0  # seconds that a loaded machine may be late
SLOW: Final = 500  # rounds of the slow model: 50 ms
MORE: Final = 40  # predictions for each client show that all is well
FINISHED_WITHIN: Final = WORKER_WAIT_SECONDS + 10.0  # seconds
REFUSALS: Final = {"overloaded", "shutting_down"}  # told at once, whatever came before them


Row = list[float]


@dataclass
class Event:
    """One that was sent."""

    key: str
    row: Row
    latest: float  # when it must be answered


class Client:
    """One socket after the other, to any gateway that takes it."""

    def __init__(self, load: "Load", number: int) -> None:
        self.predictions = 0
        self.unanswered: dict[int, Event] = {}
        self._load = load
        self._number = number
        self._goes_away = False
        self._newest: dict[str, int] = {}  # the event of a key that was answered last

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to be sent or received."""
        return self._load.is_ending and not self.unanswered

    async def run(self) -> None:
        """Send and receive until the load ends, then receive what is missing."""
        for turn in itertools.count(self._number):
            if self.is_done:
                return
            urls = self._load.urls()
            try:
                async with connect(
                    urls[turn % len(urls)] + self._load.path,
                    subprotocols=[Subprotocol(subprotocol("json"))],
                    compression=None,
                    proxy=None,
                    ping_interval=None,
                ) as socket:
                    await self._converse(socket)
            except ConnectionClosed as closed:
                self._lose(closed)
            except (OSError, EOFError, InvalidHandshake, InvalidMessage) as error:
                self._load.refusals[type(error).__name__] += 1
                await asyncio.sleep(EVERY)

    async def _converse(self, socket: ClientConnection) -> None:
        self._goes_away = False
        sender = asyncio.create_task(self._send(socket))
        try:
            while not self.is_done:
                with contextlib.suppress(TimeoutError):  # the load may have ended meanwhile
                    async with asyncio.timeout(EVERY * 10):
                        self._take(json.loads(await socket.recv()))
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, socket: ClientConnection) -> None:
        while not self._load.is_ending and not self._goes_away:
            if len(self.unanswered) + BURST <= MOST_UNANSWERED:
                await socket.send(json.dumps([self._event() for _ in range(BURST)]))
            await asyncio.sleep(EVERY)

    def _event(self) -> dict[str, Any]:
        number = next(self._load.numbers)
        key, row, wait = f"{self._number}-{number % KEYS}", self._load.row(number), WORKER_WAIT_SECONDS
        event: dict[str, Any] = {"id": number, "data": row, "key": key}
        if number % 2:
            event["timeout_ms"] = TIMEOUT_MS
            wait = TIMEOUT_MS / 1000
        self.unanswered[number] = Event(key, row, time.monotonic() + wait + GRACE)
        return event

    def _take(self, message: dict[str, Any]) -> None:
        if "op" in message:
            self._goes_away = message["op"] == "goaway"
            return
        number, load = message["id"], self._load
        event = self.unanswered.pop(number, None)
        if event is None:
            load.fail(f"event {number} was answered twice")
            return
        if (late := time.monotonic() - event.latest) > 0:
            load.fail(f"event {number} was answered {late:.2f} s too late: {message}")
        error = message.get("error")
        if error is None:
            self.predictions += 1
            if message["outputs"]["y"] != load.answer(event.row):
                load.fail(f"event {number} {event.row} was answered wrongly: {message}")
        else:
            load.errors[error["code"]] += 1
            if not error["retryable"]:
                load.fail(f"event {number} was given up: {message}")
        if error is None or error["code"] not in REFUSALS:
            if number < self._newest.get(event.key, 0):
                load.fail(f"event {number} of {event.key} was answered after {self._newest[event.key]}")
            self._newest[event.key] = number

    def _lose(self, closed: ConnectionClosed) -> None:
        """Forget what was sent on a socket that is gone; who goes in peace must have answered it."""
        if closed.rcvd is None:
            self._load.cut += 1
        elif self.unanswered:
            self._load.fail(f"{len(self.unanswered)} events were not answered before {closed}")
        self._load.lost += len(self.unanswered)
        self.unanswered.clear()


def _four_floats(number: int) -> Row:
    return [float(number % 1000 + place) for place in range(4)]


def _doubled(row: Row) -> Row:
    return [2 * value for value in row]


class Load:
    """Clients on a loop of their own, in a thread."""

    def __init__(
        self,
        urls: Callable[[], list[str]],
        model: str = "double",
        *,
        row: Callable[[int], Row] = _four_floats,
        answer: Callable[[Row], Row] = _doubled,
        clients: int = 4,
    ) -> None:
        """`urls` are those of the gateways there are; the outputs that events have follow from their rows."""
        self.urls = urls
        self.path = f"/v1/models/{model}/stream"
        self.row = row
        self.answer = answer
        self.numbers = itertools.count(1)
        self.is_ending = False
        self.cut = 0  # sockets that were cut
        self.lost = 0  # events on them that were not answered
        self.errors: Counter[str] = Counter()  # answers by their code
        self.refusals: Counter[str] = Counter()  # sockets that could not be opened
        self._failures: list[str] = []
        self._clients = [Client(self, number) for number in range(clients)]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __repr__(self) -> str:
        unanswered = [len(client.unanswered) for client in self._clients]
        return (
            f"<Load predictions={self.predictions} {unanswered=} lost={self.lost} errors={dict(self.errors)} "
            f"refusals={dict(self.refusals)} failures={self._failures[:5]}>"
        )

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self._clients)

    @property
    def predictions(self) -> int:
        """How many events all clients together have had answered by a prediction."""
        return sum(client.predictions for client in self._clients)

    def fail(self, why: str) -> None:
        """Note what must not happen."""
        self._failures.append(why)

    def start(self) -> None:
        """Begin, and wait until all clients get predictions."""
        self._thread.start()
        self.recover()

    def recover(self, within: float = 15.0) -> None:
        """Wait until every client gets predictions again."""
        wanted = {client: client.predictions + MORE for client in self._clients}
        self.until(lambda: all(client.predictions >= count for client, count in wanted.items()), within)

    def until(self, condition: Callable[[], object], within: float = 15.0) -> None:
        """Wait until a condition holds, and tell of the load if it does not."""
        deadline = time.monotonic() + within
        while not condition():
            assert self._thread.is_alive(), self
            assert time.monotonic() < deadline, self
            time.sleep(EVERY)

    def finish(self) -> None:
        """Send nothing more, and check that all was answered."""
        self.is_ending = True
        self._thread.join(FINISHED_WITHIN)
        assert not self._thread.is_alive(), self
        assert not self._failures, self

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for client in self._clients:
                tasks.create_task(client.run())


@contextmanager
def running_load(urls: Callable[[], list[str]], model: str = "double", **options: Any) -> Iterator[Load]:
    """Give a load that runs, and finish it; what it has to complain of is told in any case."""
    load = Load(urls, model, **options)
    load.start()
    try:
        yield load
    finally:
        load.finish()


def running_slow_load(urls: Callable[[], list[str]]) -> contextlib.AbstractContextManager[Load]:
    """Give a load whose runs take long; it is a light one."""
    return running_load(urls, "slow", row=lambda number: [float(SLOW + number % 7)], answer=lambda row: row, clients=1)
