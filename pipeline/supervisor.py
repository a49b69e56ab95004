"""The parent of several server processes on one port: starts them, again if need be, and ends them with itself."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

from pipeline.control_messages import (
    SEAT,
    Drain,
    KeepTicket,
    Marked,
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
    seat_text,
)
from pipeline.control_wire import Wire
from pipeline.errors import ConfigError
from pipeline.merged_metrics import Ledger, expose, process_metrics
from pipeline.order_relay import OrderRelay
from pipeline.restarts import Restarts
from pipeline.tickets import MemoryTickets

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 0.5
GRACE_SECONDS: Final = 5.0  # beyond `drain_seconds`, for a process that does not keep to them
STDERR: Final = 2
REFUSED: Final = 2  # exit code of a process that says its configuration is wrong


class State(StrEnum):
    """What a process is about."""

    STARTING = "starting"
    READY = "ready"
    SILENT = "silent"  # ready, and does not tell its numbers in time
    DOWN = "down"  # until it is started again


class Child:
    """One of the processes, whatever runs in its place now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = str(number)
        self.state = State.DOWN
        self.restarts = Restarts()
        self.refusal = ""
        self.process: asyncio.subprocess.Process | None = None
        self.wire: Wire | None = None
        self.asked: deque[asyncio.Future[None]] = deque()  # one for each `Tell` that is not answered

    def __repr__(self) -> str:
        return f"<Child {self.number} {self.state} {self.restarts!r}>"

    def ask(self) -> asyncio.Future[None]:
        """Ask for its numbers; the future is cancelled if it ends."""
        future = asyncio.get_running_loop().create_future()
        if self.owes_an_answer or self.wire is None:
            future.cancel()
            return future
        self.asked.append(future)
        self.wire.send(Tell())
        return future

    @property
    def owes_an_answer(self) -> bool:
        """Whether it was asked and nobody waits for the answer any more."""
        return bool(self.asked) and self.asked[0].done()

    def send_drain(self) -> None:
        """Have it end, if it runs."""
        if self.wire is not None:
            self.wire.send(Drain())

    def kill(self) -> None:
        """End it at once, if it runs."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Keeps processes running that serve the same port. All methods belong to the loop's thread."""

    def __init__(
        self, command: Sequence[str], processes: int, port: int, drain_seconds: float, announce: Callable[[str], None]
    ) -> None:
        """`announce` gets the URL when all processes are ready for the first time."""
        self._command = command
        self._port = port
        self._drain_seconds = drain_seconds
        self._announce = announce
        self._children = [Child(number) for number in range(1, processes + 1)]
        self._ledger = Ledger()
        self._tickets = MemoryTickets()
        self._stopping = asyncio.Event()
        self._was_announced = False
        self._refusal: str | None = None
        self._exit_code = 0
        self._orders = OrderRelay()
        self._answering: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Supervisor stopping={self._stopping.is_set()} {self._children!r}>"

    async def run(self) -> int:
        """Run until `stop`; return 0 if all processes ended well then, or 1.

        Raises `ConfigError` with what a process refuses to start for.
        """
        async with asyncio.TaskGroup() as group:
            for child in self._children:
                group.create_task(self._keep(child))
        if self._refusal is not None:
            raise ConfigError(self._refusal)
        return self._exit_code

    def stop(self) -> None:
        """Let the processes drain; if they do already, end them at once."""
        if self._stopping.is_set():
            self._kill()
            return
        self._stopping.set()
        for child in self._children:
            child.send_drain()
        asyncio.get_running_loop().call_later(self._drain_seconds + GRACE_SECONDS, self._kill)

    def reload(self) -> None:
        """Have those that are ready read again what may be renewed; others read it as they start."""
        for child in self._children:
            if child.state in (State.READY, State.SILENT):
                child.send(signal.SIGHUP)

    async def _keep(self, child: Child) -> None:
        """Run one process after the other."""
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            started_at = loop.time()
            code = await self._run_once(child)
            if self._stopping.is_set():
                if code != 0:
                    self._exit_code = 1
                return
            if code == REFUSED and not self._is_serving():
                self._refusal = child.refusal or f"process {child.number} exited with code {code}"
                self.stop()
                return
            pause = child.restarts.pause(loop.time() - started_at)
            log.error(
                "process %d %s: it starts again in %g s",
                child.number,
                _outcome(code) + (f" ({child.refusal})" if child.refusal else ""),
                pause,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    def _is_serving(self) -> bool:
        """Whether there is something to lose: all were ready once, and one is."""
        return self._was_announced and any(child.state in (State.READY, State.SILENT) for child in self._children)

    async def _run_once(self, child: Child) -> int | None:
        """Run a process to its end; return its exit code, or None if it could not be started."""
        child.state, child.refusal = State.STARTING, ""
        try:
            child.process, child.wire = await self._start(child.number)
        except OSError as error:
            child.state = State.DOWN
            log.error("process %d cannot be started: %s", child.number, error)  # noqa: TRY400
            return None
        if self._stopping.is_set():
            child.send_drain()
        await self._hear(child)
        code = await child.process.wait()
        child.state = State.DOWN
        self._orders.leave(child.name)
        await child.wire.close()
        child.process = child.wire = None
        while child.asked:
            child.asked.popleft().cancel()
        self._ledger.forget(child.number)
        return code

    async def _hear(self, child: Child) -> None:
        """Take what a process says until it ends."""
        assert child.wire is not None
        async for message in child.wire.messages():
            match message:
                case Ready(url=url):
                    child.state = State.READY
                    self._orders.join(child.name, child.wire.send)
                    log.info("process %d is ready, pid %d", child.number, child.process.pid if child.process else 0)
                    self._announce_once(url)
                case Refused(reason=reason):
                    child.refusal = reason
                case Told(families=families):
                    self._ledger.tell(child.number, families)
                    if child.asked and not (future := child.asked.popleft()).done():
                        future.set_result(None)
                case KeepTicket(number=number, digest=digest, record=record):
                    child.wire.send(Ticket(number, self._tickets.put(digest, record)))
                case TakeTicket(number=number, digest=digest):
                    kept = self._tickets.pop(digest)
                    child.wire.send(Ticket(number, kept is not None, kept or b""))
                case Obeyed(number=number, result=result):
                    self._orders.take(child.name, number, result)
                case Marked(marks=marks):
                    self._orders.mark(child.name, marks)
                case Scrape():
                    self._begin(self._answer(child.wire, message))
                case PassOn():
                    self._begin(self._pass_on(child, child.wire, message))

    async def _start(self, number: int) -> tuple[asyncio.subprocess.Process, Wire]:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                seat = Seat(number, self._port, theirs.fileno())
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=STDERR,  # who reads the parent's stdout waits for one line, and for the parent's end
                    env={**os.environ, SEAT: seat_text(seat)},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # Ctrl-C of a terminal is for the parent alone
                )
        except BaseException:
            ours.close()
            raise
        return process, await Wire.over(ours)

    def _announce_once(self, url: str) -> None:
        if not self._was_announced and all(child.state is State.READY for child in self._children):
            self._was_announced = True
            self._announce(url)

    def _begin(self, answer: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(answer)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def _kill(self) -> None:
        for child in self._children:
            child.kill()

    async def _pass_on(self, child: Child, wire: Wire, message: PassOn) -> None:
        """Answer with what came of an order at the other processes."""
        answers = await self._orders.pass_on(child.name, message.order, message.wait)
        wire.send(PassedOn(message.number, dict(answers.results), answers.silent))

    async def _answer(self, wire: Wire, scrape: Scrape) -> None:
        """Answer with the numbers of all processes."""
        asked = {child: child.ask() for child in self._children if child.state in (State.READY, State.SILENT)}
        if asked:
            await asyncio.wait(asked.values(), timeout=ANSWER_SECONDS)
        for child, future in asked.items():
            has_answered = future.done() and not future.cancelled()
            future.cancel()
            if child.state in (State.READY, State.SILENT):
                child.state = State.READY if has_answered else State.SILENT
        present = {child.number for child in asked if child.state is State.READY}
        states = Counter({state.value: 0 for state in State})
        states.update(child.state.value for child in self._children)
        restarts = sum(child.restarts.count for child in self._children)
        metrics = [*process_metrics(states, restarts), *self._ledger.metrics(present)]
        wire.send(Scraped(scrape.number, *expose(metrics, scrape.accept)))


@contextlib.contextmanager
def held_port(address: str, port: int) -> Iterator[int]:
    """Keep a port for processes that share it; 0 picks a free one.

    Raises `ConfigError` where it is in use, or cannot be shared on this platform.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigError("processes: this platform cannot share a port between processes (SO_REUSEPORT)")
    with contextlib.ExitStack() as held:
        try:
            places = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, *_, place in dict.fromkeys(places):
                if port:
                    _bind(family, place, port, shared=False).close()  # those that share it already are no kin of ours
                port = held.enter_context(_bind(family, place, port, shared=True)).getsockname()[1]
        except OSError as error:
            raise ConfigError(f"cannot listen on {address}:{port}: {error.strerror}") from error
        yield port


def _bind(family: int, place: tuple[Any, ...], port: int, *, shared: bool) -> socket.socket:
    """Return a socket that is bound and does not listen."""
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((place[0], port, *place[2:]))
    except OSError:
        bound.close()
        raise
    return bound


def _outcome(code: int | None) -> str:
    if code is None:
        return "did not start"
    return f"exited with code {code}" if code >= 0 else f"was ended by signal {-code} ({signal.strsignal(-code)})"
