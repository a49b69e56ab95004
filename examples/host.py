"""Stream this machine's CPU, memory, disk and network counters at 10 Hz and print how unusual they are.

python -m examples.host [URL]

A server that needs credentials is shown that of WATERSPOUT_CREDENTIAL.
"""

import argparse
import asyncio
import contextlib
import random
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import msgpack
import numpy as np
import psutil
from tornado.httpclient import HTTPError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from examples.counters import Counters, core_times, sample
from examples.device import answers, connect, run

SAMPLES_PER_SECOND: Final = 10
HISTORY: Final = 300  # samples that are kept, to fill the model's window at once after a reconnection
RECONNECT_SECONDS: Final = (0.5, 10.0)


def read_counters() -> Counters:
    """Read the machine's counters; what the platform does not count stays 0."""
    memory = psutil.virtual_memory()
    events = psutil.cpu_stats()
    disk, net = psutil.disk_io_counters(), psutil.net_io_counters()
    return Counters(
        time.monotonic(),
        tuple(map(core_times, psutil.cpu_times(percpu=True))),
        1 - memory.available / memory.total,
        events.ctx_switches,
        events.interrupts,
        disk.read_bytes if disk else 0,
        disk.write_bytes if disk else 0,
        net.bytes_recv if net else 0,
        net.bytes_sent if net else 0,
    )


class Sensor:
    """Takes samples for ever, whether or not anybody is connected, and keeps the latest."""

    def __init__(self, samples_per_second: float = SAMPLES_PER_SECOND) -> None:
        self.taken = 0
        self._period = 1 / samples_per_second
        self._latest: deque[list[float]] = deque(maxlen=HISTORY)
        self._fresh = asyncio.Condition()

    async def run(self) -> None:
        """Take samples. Those that a stalled machine missed are left out."""
        loop = asyncio.get_running_loop()
        before, due = read_counters(), loop.time()
        while True:
            due = max(due + self._period, loop.time())
            await asyncio.sleep(due - loop.time())
            after = read_counters()
            async with self._fresh:
                self._latest.append(sample(before, after))
                self.taken += 1
                self._fresh.notify_all()
            before = after

    async def after(self, number: int) -> tuple[int, list[list[float]]]:
        """Wait until more than `number` samples were taken; return how many were, and the new ones still kept."""
        async with self._fresh:
            await self._fresh.wait_for(lambda: self.taken > number)
            return self.taken, list(self._latest)[-(self.taken - number) :]


Tell = Callable[[dict[str, Any]], None]


async def stream(url: str, sensor: Sensor, tell: Tell) -> None:
    """Stream the samples for ever and tell of each answer; reconnect with exponential backoff and full jitter.

    Raises `Refused`.
    """
    wait, longest = RECONNECT_SECONDS
    door = f"{url.replace('http', 'ws', 1)}/v1/models/host/stream?key={quote(socket.gethostname(), safe='')}"
    while True:
        with contextlib.suppress(OSError, HTTPError, WebSocketClosedError):
            connection = await connect(door)
            wait, _ = RECONNECT_SECONDS
            try:
                await _converse(connection, sensor, tell)
            finally:
                connection.close()
        await asyncio.sleep(random.uniform(0, wait))  # noqa: S311 - jitter, no secret
        wait = min(2 * wait, longest)


async def _converse(connection: WebSocketClientConnection, sensor: Sensor, tell: Tell) -> None:
    sender = asyncio.create_task(_send(connection, sensor))
    try:
        async for answer in answers(connection):
            tell(answer)
    finally:
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketClosedError):
            await sender


async def _send(connection: WebSocketClientConnection, sensor: Sensor) -> None:
    sent = 0
    while True:
        sent, chunk = await sensor.after(sent)
        event = {"id": sent, "data": np.array(chunk, "<f4").tobytes(), "ts": time.time()}
        await connection.write_message(msgpack.packb(event), binary=True)


def score_of(answer: dict[str, Any]) -> float:
    """Return the anomaly score of a prediction."""
    (score,) = np.frombuffer(answer["outputs"]["score"], "<f4").tolist()
    return float(score)


async def feed(url: str, least: float = 0.0) -> None:
    """Stream for ever and print the scores that are at least `least`, and errors. Raises `Refused`s in a group."""
    name = socket.gethostname()

    def tell(answer: dict[str, Any]) -> None:
        if "error" in answer:
            print(f"{name}: {answer['error']['code']}: {answer['error']['message']}", flush=True)
        elif (score := score_of(answer)) >= least:
            print(f"{name}: anomaly {score:.2f} ({answer['label']})", flush=True)

    sensor = Sensor()
    async with asyncio.TaskGroup() as group:
        group.create_task(sensor.run())
        group.create_task(stream(url, sensor, tell))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8888", help="of the server (default: %(default)s)")
    run(feed(parser.parse_args().url))


if __name__ == "__main__":
    main()
