"""40 smartwatches, each on its own WebSocket, stream real recordings at 10 Hz and print what the server sees in them.

python -m examples.smartwatches [URL]

A server that needs credentials is shown that of WATERSPOUT_CREDENTIAL.
"""

import argparse
import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray
from tornado.httpclient import HTTPError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from examples.device import answers, connect, run

RECORDINGS = Path(__file__).parent.parent / "models" / "activity" / "test_split.npz"
SAMPLES_PER_SECOND = 10
HISTORY = 90  # samples a watch has stored when it connects: it sends them as one chunk
RECONNECT_SECONDS = (0.5, 10.0)


@dataclass
class Watch:
    """One device: `samples` is float32[100, 6], played over and over; `activity` is what its wearer does."""

    name: str
    samples: NDArray[np.float32]
    activity: str


@dataclass
class Board:
    """What came back so far."""

    right: int = 0
    total: int = 0
    connected: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latest: dict[str, str] = field(default_factory=dict)
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=400))
    sample: str = ""

    def add(self, watch: Watch, answer: dict[str, Any], seconds: float) -> None:
        """Take one answer of the server."""
        if "error" in answer:
            self.errors[answer["error"]["code"]] += 1
            return
        label, scores = answer["label"], np.frombuffer(answer["outputs"]["scores"], "<f4")
        self.total += 1
        self.right += label == watch.activity
        self.latest[watch.name] = label
        self.seconds.append(seconds)
        self.sample = f"{watch.name}: {label} ({scores.max():.0%}), it is {watch.activity}"

    def __str__(self) -> str:
        counts = "  ".join(f"{label} {n}" for label, n in sorted(Counter(self.latest.values()).items()))
        accuracy = f"{self.right / self.total:7.2%}" if self.total else "      -"
        median = f"{np.median(self.seconds) * 1e3:.1f} ms" if self.seconds else "-"
        errors = "".join(f" | {code} {n}" for code, n in sorted(self.errors.items()))
        return (
            f"{self.connected} watches | accuracy {accuracy} of {self.total} | {counts} | p50 {median}"
            f"{errors} | {self.sample}"
        )


def load_watches(path: Path = RECORDINGS) -> list[Watch]:
    """Return one watch for each recording of the test split."""
    with np.load(path) as data:
        classes = [str(name) for name in data["classes"]]
        return [
            Watch(f"watch-{i:02d}", samples, classes[label])
            for i, (samples, label) in enumerate(zip(data["samples"], data["labels"], strict=True))
        ]


async def stream(url: str, watch: Watch, board: Board) -> None:
    """Stream one watch for ever; reconnect with exponential backoff and full jitter. Raises `Refused`."""
    wait, longest = RECONNECT_SECONDS
    while True:
        with contextlib.suppress(OSError, HTTPError, WebSocketClosedError):
            connection = await connect(f"{url}/v1/models/activity/stream?key={watch.name}")
            board.connected += 1
            wait, _ = RECONNECT_SECONDS
            try:
                await _converse(connection, watch, board)
            finally:
                board.connected -= 1
                connection.close()
        await asyncio.sleep(random.uniform(0, wait))  # noqa: S311 - jitter, no secret
        wait = min(2 * wait, longest)


async def _converse(connection: WebSocketClientConnection, watch: Watch, board: Board) -> None:
    sent_at: deque[tuple[int, float]] = deque(maxlen=64)
    sender = asyncio.create_task(_send(connection, watch, sent_at))
    try:
        async for answer in answers(connection):
            times = dict(sent_at)
            board.add(watch, answer, time.monotonic() - times.get(answer.get("id", -1), time.monotonic()))
    finally:
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketClosedError):
            await sender


async def _send(connection: WebSocketClientConnection, watch: Watch, sent_at: deque[tuple[int, float]]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(random.uniform(0, 1))  # noqa: S311 - watches are not in step
    await connection.write_message(msgpack.packb({"id": -1, "data": watch.samples[:HISTORY].tobytes()}), binary=True)
    due = loop.time()
    for number in range(HISTORY, 1 << 60):
        due += 1 / SAMPLES_PER_SECOND
        await asyncio.sleep(due - loop.time())
        sample = watch.samples[number % len(watch.samples)]
        sent_at.append((number, time.monotonic()))
        event = {"id": number, "data": sample.tobytes(), "ts": time.time()}
        await connection.write_message(msgpack.packb(event), binary=True)


async def feed(url: str) -> None:
    """Run all watches and print one line a second. Raises `Refused`s in a group."""
    board = Board()
    async with asyncio.TaskGroup() as group:
        for watch in load_watches():
            group.create_task(stream(url.replace("http", "ws", 1), watch, board))
        started = time.monotonic()
        while True:
            await asyncio.sleep(1)
            print(f"{time.monotonic() - started:5.0f} s | {board}", flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8888", help="of the server (default: %(default)s)")
    run(feed(parser.parse_args().url))


if __name__ == "__main__":
    main()
