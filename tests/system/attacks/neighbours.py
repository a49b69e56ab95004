"""Polite clients, as a process of their own: they send at a steady rate and print how long each answer took.

`python -m tests.system.attacks.neighbours ws://HOST:PORT`, with `NEIGHBOURS_KEY` where one is needed. Prints one line
every tenth of a second: a JSON list of `[sent, seconds]`, by the monotonic clock that all processes of the machine
share. It ends with an error as soon as an answer is wrong or missing, or a socket closes.
"""

import asyncio
import json
import os
import sys
import time
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.system.client import decode, encode, subprotocol

CLIENTS: Final = 8
EVERY: Final = 0.02  # seconds between events of one client
REPORT_EVERY: Final = 0.1  # seconds
PATIENCE: Final = 10.0  # seconds that an answer may take
PATH: Final = "/v1/models/double/stream?tensors=list"

Sample = tuple[float, float]


class Neighbour:
    """One client. Its events leave on time, whether those before them were answered or not."""

    def __init__(self, url: str, encoding: str, samples: list[Sample]) -> None:
        self._url = url
        self._encoding = encoding
        self._samples = samples
        self._headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get("NEIGHBOURS_KEY")) else None
        self._sent: dict[int, float] = {}

    async def run(self, delay: float) -> None:
        """Send and receive for ever. Raises an error for whatever is not as it should be."""
        await asyncio.sleep(delay)
        offered = [Subprotocol(subprotocol(self._encoding))]
        async with connect(
            self._url,
            additional_headers=self._headers,
            subprotocols=offered,
            compression=None,
            proxy=None,
            ping_interval=None,
        ) as socket:
            assert "model" in decode(await socket.recv())  # the welcome
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(socket))
                tasks.create_task(self._receive(socket))

    async def _send(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        due, number = loop.time(), 0
        while True:
            number += 1
            message = encode({"id": number, "data": [number, 1, 2, 3]}, self._encoding)
            self._sent[number] = time.monotonic()
            await socket.send(message)
            due += EVERY
            await asyncio.sleep(due - loop.time())

    async def _receive(self, socket: ClientConnection) -> None:
        for expected in range(1, sys.maxsize):
            async with asyncio.timeout(PATIENCE):
                answer = decode(await socket.recv())
            now = time.monotonic()
            assert answer == {"id": expected, "outputs": {"y": [2 * expected, 2, 4, 6]}}, answer
            sent = self._sent.pop(expected)
            self._samples.append((sent, now - sent))


async def report(samples: list[Sample]) -> None:
    """Print what was measured since the last line."""
    while True:
        await asyncio.sleep(REPORT_EVERY)
        print(json.dumps(samples), flush=True)
        samples.clear()


async def main(server: str) -> None:
    """Run all clients, their events spread evenly over time."""
    samples: list[Sample] = []
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            encoding = "msgpack" if number % 2 else "json"
            tasks.create_task(Neighbour(server + PATH, encoding, samples).run(number * EVERY / CLIENTS))
        tasks.create_task(report(samples))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
