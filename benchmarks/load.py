"""Load one server from many WebSockets in one process: `python -m benchmarks.load`, a job as JSON on stdin.

The size of every answer is looked at; one of a new size, and every 64th of any size, is decoded and compared
with what the model must say. A wrong answer, an error or a lost socket ends the job with exit code 1.
"""

import asyncio
import gc
import sys
import time
from collections import deque
from collections.abc import Sequence
from itertools import cycle
from time import perf_counter
from typing import TypeVar

import msgspec
import numpy as np
import uvloop
from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.jobs import Door, Idle, IdleJob, Load, LoadJob
from benchmarks.messages import Messages, WrongAnswerError
from benchmarks.metrics import metric
from benchmarks.mlp import ROWS
from benchmarks.usage import allow_open_files, cpu_seconds, machine_cpu_seconds, resident_bytes

CHECK_EVERY = 64
CONNECT_AT_ONCE = 50
READ_BUFFER_BYTES = 4096
DRAIN_SECONDS = 5.0
SETTLE_SECONDS = 1.0
MEGABYTE = 1e6


class Run:
    """What all sockets of a job share; `again` sends the next event as soon as one is answered."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.messages = Messages(door.encoding, echoed=door.echoes, expected=door.expected)
        self.known_sizes: set[int] = set()
        self.latencies: list[float] = []
        self.again = True
        self.closing = False
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End the job with the first thing that went wrong."""
        if not (self.closing or self.failed.done()):
            self.failed.set_exception(error)

    async def last(self, seconds: float) -> None:
        """Let the load go on for so long; raise what went wrong meanwhile."""
        done, _ = await asyncio.wait([self.failed], timeout=seconds)
        for failed in done:
            await failed


class Client(WSListener):
    """One socket; answers come in the order of its events."""

    def __init__(self, run: Run, first_row: int) -> None:
        self.run, self.row = run, first_row
        self.sent: deque[float] = deque()
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, at: float) -> None:
        """Send the next row's event; its latency counts from `at`, in seconds of perf_counter."""
        self.sent.append(at)
        self.transport.send(self.run.messages.kind, self.run.messages.encoded[self.row])
        self.row = (self.row + 1) % ROWS

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the way to the server; a subprotocol promises a greeting."""
        self.transport = transport
        if not self.run.door.subprotocol:
            self.greeted.set_result(None)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one answer and, in a closed loop, ask again."""
        run, sent = self.run, self.sent
        if not sent:
            self._take_unasked(frame)
            return
        now, latencies = perf_counter(), run.latencies
        latencies.append(now - sent.popleft())
        if frame.payload_size not in run.known_sizes or not len(latencies) % CHECK_EVERY:
            self._check(frame)
        if run.again:
            self.send(now)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Fail the job: no server may close a socket under load."""
        self.run.fail(ConnectionError(f"a socket was closed: {transport.close_handshake}"))

    def _take_unasked(self, frame: WSFrame) -> None:
        try:
            self.run.messages.check_welcome(frame.get_payload_as_bytes())
            self.greeted.set_result(None)
        except (WrongAnswerError, msgspec.DecodeError, asyncio.InvalidStateError) as error:
            self.run.fail(error)

    def _check(self, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self.run.fail(ConnectionError(f"closed: {frame.get_close_code()} {frame.get_close_reason()}"))
            return
        try:
            row = (self.row - len(self.sent) - 1) % ROWS
            self.run.messages.check(row, frame.get_payload_as_bytes())
            self.run.known_sizes.add(frame.payload_size)
        except (WrongAnswerError, msgspec.DecodeError) as error:
            self.run.fail(error)


AnyClient = TypeVar("AnyClient", bound=Client)


class Pacer:
    """Send at a fixed rate over all sockets in turn, whatever the server does, until stopped."""

    def __init__(self, clients: Sequence[Client], rate: float) -> None:
        self.turns, self.interval = cycle(clients), 1 / rate
        self.due = perf_counter()
        self.running = True
        self.tick()

    def tick(self) -> None:
        """Send what is due, each event timed from when it should have left; look again next turn."""
        now = perf_counter()
        while self.due <= now:
            next(self.turns).send(self.due)
            self.due += self.interval
        if self.running:
            # The loop's timers are 1 ms apart, which would blur the latencies; this process has its own core.
            asyncio.get_running_loop().call_soon(self.tick)


async def connect(run: Run, count: int, kind: type[AnyClient]) -> list[AnyClient]:
    """Open `count` sockets, a few at a time, and wait until each may send."""
    subprotocol = run.door.subprotocol
    headers = {"Sec-WebSocket-Protocol": subprotocol} if subprotocol else {}
    clients: list[AnyClient] = []

    async def open_one(client: Client) -> None:
        await ws_connect(lambda: client, run.door.url, extra_headers=headers, read_buffer_init_size=READ_BUFFER_BYTES)
        await asyncio.wait({client.greeted, run.failed}, return_when=asyncio.FIRST_COMPLETED)

    for start in range(0, count, CONNECT_AT_ONCE):
        batch = [kind(run, i % ROWS) for i in range(start, min(start + CONNECT_AT_ONCE, count))]
        await asyncio.gather(*[open_one(client) for client in batch])
        await run.last(0)
        clients += batch
    return clients


async def close(run: Run, clients: Sequence[Client]) -> None:
    """Say goodbye on all sockets."""
    run.closing = True
    for client in clients:
        client.transport.send_close(WSCloseCode.OK)
        client.transport.disconnect()
    await asyncio.gather(*[client.transport.wait_disconnected() for client in clients])


async def load(job: LoadJob) -> Load:
    """Warm up, measure, and let the answers of an open loop come in."""
    run, pid = Run(job.door), job.door.pid
    clients = await connect(run, job.shape.sockets, Client)
    pacer = None
    if job.shape.rate:
        run.again = False
        pacer = Pacer(clients, job.shape.rate)
    for client in clients:
        for _ in range(job.shape.in_flight):
            client.send(perf_counter())
    await run.last(job.warm_up)
    counted = await count(job)
    first, started = len(run.latencies), perf_counter()
    cpu, own_cpu, all_cpu = cpu_seconds(pid), time.process_time(), machine_cpu_seconds()
    others = [cpu_seconds(other) for other in job.others]
    await run.last(job.seconds)
    predictions, seconds = len(run.latencies) - first, perf_counter() - started
    cpu, own_cpu = cpu_seconds(pid) - cpu, time.process_time() - own_cpu
    all_cpu = machine_cpu_seconds() - all_cpu
    others = [cpu_seconds(other) - before for other, before in zip(job.others, others, strict=True)]
    counted = [now - before for now, before in zip(await count(job), counted, strict=True)]
    if pacer:
        pacer.running = False
        await drain(run, clients)
    if not predictions:
        raise TimeoutError(f"no answer within {job.seconds} s")
    p50, p99 = np.percentile(np.array(run.latencies[first:]) * 1e3, [50, 99])
    run.closing = True
    return Load(
        predictions=predictions,
        seconds=seconds,
        p50_ms=float(p50),
        p99_ms=float(p99),
        cpu_us=cpu / predictions * 1e6,
        resident_mb=resident_bytes(pid) / MEGABYTE,
        server_busy=cpu / seconds,
        load_busy=own_cpu / seconds,
        others_busy=max(0.0, all_cpu - cpu - own_cpu - sum(others)) / seconds,
        others_cpu_us=[used / predictions * 1e6 for used in others],
        counted=[rise / predictions for rise in counted],
    )


async def count(job: LoadJob) -> list[float]:
    """Return the counters, while the load goes on."""
    return [await asyncio.to_thread(metric, *counter) for counter in job.counters]


async def drain(run: Run, clients: Sequence[Client]) -> None:
    """Wait until every event is answered, so that the slowest count; raise TimeoutError after 5 s."""
    deadline = perf_counter() + DRAIN_SECONDS
    while any(client.sent for client in clients):
        if perf_counter() > deadline:
            raise TimeoutError("the server fell behind the rate")
        await run.last(0.01)


async def idle(job: IdleJob) -> Idle:
    """Compare the server's memory before and with so many open sockets."""
    passing = Run(job.door)
    await close(passing, await connect(passing, job.warm_up, Client))
    await asyncio.sleep(SETTLE_SECONDS)
    baseline = resident_bytes(job.door.pid)
    run = Run(job.door)
    await connect(run, job.sockets, Client)
    await run.last(SETTLE_SECONDS)
    resident = resident_bytes(job.door.pid)
    run.closing = True
    return Idle(
        sockets=job.sockets,
        baseline_mb=baseline / MEGABYTE,
        resident_mb=resident / MEGABYTE,
        bytes_per_socket=(resident - baseline) / job.sockets,
    )


async def main() -> None:
    """Do the job on stdin and print its result as JSON."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadJob | IdleJob)
    allow_open_files()
    gc.disable()
    result = await (load(job) if isinstance(job, LoadJob) else idle(job))
    print(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except (WrongAnswerError, WSError, msgspec.DecodeError, OSError) as failure:
        sys.exit(f"{type(failure).__name__}: {failure}")
