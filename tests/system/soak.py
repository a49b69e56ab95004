"""Everything at once, for as long as it is told: clients that come and go, new versions, floods, watchers and HTTP."""

import asyncio
import contextlib
import itertools
import json
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from .client import Http, decode, encode
from .graphs import plus, write_model
from .process import Server

SWAP_EVERY: Final = 3.0  # seconds
KEPT: Final = 2  # versions on disk
PATIENCE: Final = 20.0  # seconds within which everything is answered
FLOOD: Final = 600  # events at once, of which `max_in_flight` are taken
PATHS: Final = ("/v1/models/double/stream?key=churn", "/v1/models/double/stream?tensors=list", "/v1/stream")
INFER: Final = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [1.0] * 8}]}

Role = Callable[[], Awaitable[None]]


class Soak:
    """Clients of one server, in a thread of their own; `counts` is what they have done."""

    def __init__(self, server: Server, models: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._server = server
        self._models = models
        self._is_over = threading.Event()
        self._rng = random.Random(6)
        self._failures: list[BaseException] = []
        roles: list[Role] = [self._churn, self._churn, self._flood, self._watch, self._listen]
        self._threads = [
            threading.Thread(target=self._guarded, args=(lambda: asyncio.run(self._all(roles)),)),
            threading.Thread(target=self._guarded, args=(self._ask,)),
            threading.Thread(target=self._guarded, args=(self._swap,)),
        ]

    def check(self) -> None:
        """Fail if anything failed."""
        assert not self._failures, self._failures

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once everything that is under way has been answered."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failures.append(error)

    async def _all(self, roles: list[Role]) -> None:
        async with asyncio.TaskGroup() as group:
            for role in roles:
                group.create_task(self._again(role))
        await asyncio.sleep(0.1)  # for what was aborted to be closed

    async def _again(self, role: Role) -> None:
        while not self._is_over.is_set():
            async with asyncio.timeout(PATIENCE):
                await role()

    @contextlib.asynccontextmanager
    async def _socket(self, path: str) -> Any:
        async with connect(self._server.ws + path, compression=None, proxy=None, ping_interval=None) as socket:
            yield socket

    async def _churn(self) -> None:
        """Open a socket, have some events answered, and go: politely, at once, or with an event under way."""
        async with self._socket(self._rng.choice(PATHS)) as socket:
            encoding = self._rng.choice(("json", "msgpack"))
            numbers = range(self._rng.randint(1, 20))
            for number in numbers:
                event = {"id": number, "model": "double", "key": f"k{number % 3}", "data": [number, 1, 2, 3]}
                await socket.send(encode(event, encoding))
            answers = [decode(await socket.recv()) for _ in numbers]
            assert all("outputs" in answer for answer in answers), answers
            ids = [answer["id"] for answer in answers]
            assert sorted(ids) == list(numbers)
            assert sorted(ids, key=lambda number: number % 3) == sorted(numbers, key=lambda number: number % 3)
            self.counts["answers"] += len(numbers)
            match self._rng.randrange(3):
                case 0:
                    socket.transport.abort()
                case 1:
                    await socket.send(encode({"model": "double", "data": [0, 0, 0, 0]}, encoding))
                    socket.transport.abort()
        self.counts["sockets"] += 1

    async def _flood(self) -> None:
        """Send more than fits: each event is answered, some by a refusal."""
        async with self._socket("/v1/models/slow/stream") as socket:
            for number in range(0, FLOOD, 100):
                await socket.send(json.dumps([{"id": number + at, "data": 5} for at in range(100)]))
            ids = set()
            for _ in range(FLOOD):
                answer = decode(await socket.recv())
                ids.add(answer["id"])
                self.counts[answer["error"]["code"] if "error" in answer else "answers"] += 1
            assert len(ids) == FLOOD
        await asyncio.sleep(1.0)

    async def _watch(self) -> None:
        """Watch everything for a while."""
        async with self._socket("/v1/watch") as watcher:
            await watcher.send(json.dumps({"op": "subscribe", "topics": ["*/*", "$stats"], "hz": 20}))
            await self._read(watcher, 0.5)

    async def _read(self, watcher: ClientConnection, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await watcher.recv()
                    self.counts["updates"] += 1

    async def _listen(self) -> None:
        """Watch by server-sent events, and go without a word."""
        reader, writer = await asyncio.open_connection(*self._server.address)
        writer.write(b"GET /v1/watch/sse?topics=*/* HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while await reader.read(65536):
                    self.counts["chunks"] += 1
        writer.transport.abort()

    def _ask(self) -> None:
        """Send requests, right and wrong, on connections that are kept for a while."""
        requests: list[tuple[int, str, str, str | None]] = [
            (200, "POST", "/v1/models/double/predict", '[{"data":[1,2,3,4]},{"data":[1,2,3,4]}]'),
            (200, "POST", "/v2/models/double/infer", json.dumps(INFER)),
            (400, "POST", "/v2/models/double/infer", "{"),
            (400, "POST", "/v1/models/double/predict", '{"data":1}'),
            (200, "POST", "/v1/models/plain/predict", '{"data":[1]}'),
            (404, "GET", "/v1/models/nowhere", None),
            (200, "GET", "/v1/stats", None),
        ]
        while not self._is_over.is_set():
            with Http(self._server) as http:
                for status, method, path, body in requests * 5:
                    assert http.request(method, path, body).status == status, path
                    self.counts["requests"] += 1
                    time.sleep(0.005)

    def _swap(self) -> None:
        """Put one version after the other."""
        for version in itertools.count(2):
            if self._is_over.wait(SWAP_EVERY):
                return
            write_model(self._models, "plain", plus(version), version=str(version))
            shutil.rmtree(self._models / "plain" / str(version - KEPT), ignore_errors=True)
            self.counts["versions"] += 1


@contextmanager
def soaking(server: Server, models: Path) -> Iterator[Soak]:
    """Give a soak that runs, and end it."""
    soak = Soak(server, models)
    soak.start()
    try:
        yield soak
    finally:
        soak.stop()
    soak.check()
