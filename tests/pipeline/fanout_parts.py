"""Processes that share what is watched, without their sockets: hubs that flush, desks, watchers, and a backbone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec

from pipeline.alert_desk import AlertDesk
from pipeline.audience import Choice
from pipeline.backbone import Backbone
from pipeline.codec import JSON, MSGPACK, Codec
from pipeline.fanout import Fanout
from pipeline.hub import NEVER, Hub
from pipeline.messages import Prediction
from pipeline.observer import Observer, Sighting
from pipeline.stats import ServerStats
from pipeline.tensors import DTYPES, TensorSpec
from pipeline.topics import Topic

EVERY = 0.05  # seconds between two looks at the others
TTL = 0.5
NUMBER = TensorSpec("y", DTYPES["float64"], ())
OBSERVER = Observer(None, "m", "1", [], [NUMBER])


class Form:
    """Messages in a list of their bytes."""

    def __init__(self, codec: Codec, *, lists: bool) -> None:
        self.codec = codec
        self.lists = lists

    def pack(self, messages: list[bytes], choice: Choice, position: int) -> bytes:
        """Return the list."""
        del choice, position
        return msgspec.msgpack.encode(messages)


FORMS = {"json": Form(JSON, lists=True), "bytes": Form(MSGPACK, lists=False), "lists": Form(MSGPACK, lists=True)}


class Looker:
    """A watcher that keeps what it is sent."""

    def __init__(self, form: str = "json") -> None:
        self.format = FORMS[form]
        self.messages: list[dict[str, Any]] = []
        self.gaps: list[tuple[int, str]] = []

    def deliver(self, payload: bytes) -> None:
        decode = msgspec.json.decode if self.format.codec is JSON else msgspec.msgpack.decode
        self.messages += [decode(message) for message in msgspec.msgpack.decode(payload, type=list[bytes])]

    def tell(self, message: Any) -> None:
        self.gaps.append((message.count, message.why))

    @property
    def latest(self) -> dict[str, Any]:
        """The last value of each topic that has numbers."""
        return {message["topic"]: message["outputs"]["y"] for message in self.messages}

    @property
    def ended(self) -> dict[str, bool]:
        """Whether each topic has ended."""
        return {message["topic"]: message.get("ended", False) for message in self.messages}

    @property
    def lost(self) -> int:
        """The sum of its gaps, which are all of one kind."""
        assert {why for _, why in self.gaps} <= {"backbone"}
        return sum(count for count, _ in self.gaps)


class Process:
    """A hub that is flushed when it asks for that, a desk, and their fan-out."""

    def __init__(self, backbone: Backbone, name: str, *, every: float = EVERY, ttl: float = TTL) -> None:
        self.hub = Hub()
        self.stats = ServerStats()
        self.desk = AlertDesk(self.stats, self.hub)
        self.fanout = Fanout(backbone, name, self.hub, self.desk, every=every, ttl=ttl)
        self._woken = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._topics: dict[str, Topic] = {}

    async def __aenter__(self) -> Self:
        self.hub.wake = self._woken.set
        self._flusher = asyncio.create_task(self._flush())
        self.fanout.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.fanout.stop()
        self.freeze()

    def freeze(self) -> None:
        """Flush no more."""
        assert self._flusher is not None
        self._flusher.cancel()

    async def kill(self) -> None:
        """End without a word, as SIGKILL does."""
        self.freeze()
        for task in self.fanout._tasks:
            task.cancel()
        await asyncio.gather(*self.fanout._tasks, return_exceptions=True)

    def watch(self, *patterns: str, form: str = "json", hz: float = 60.0, inputs: bool = False) -> Looker:
        """Return somebody who watches here."""
        looker = Looker(form)
        self.hub.subscribe(looker, list(patterns), hz, inputs=inputs)
        return looker

    def publish(self, name: str, value: float) -> None:
        """Predict a number."""
        if name not in self._topics:
            self._topics[name] = self.hub.topic(name)
        sighting = Sighting(OBSERVER)
        sighting.answer, sighting.at = Prediction(outputs={"y": float(value)}), time.monotonic()
        self._topics[name].publish(sighting)

    def end(self, name: str) -> None:
        """Close the stream of a topic."""
        self._topics.pop(name).release()

    @property
    def is_relaying(self) -> bool:
        """Whether others want anything of this one."""
        return bool(self.hub._relays)

    @property
    def is_quiet(self) -> bool:
        """Whether it has sent what others want, and nothing waits."""
        is_answered = self.fanout.outbox.is_empty and not self.fanout.outgoing._answers
        return self.is_relaying and is_answered and self.hub.next_flush() == NEVER

    async def _flush(self) -> None:
        while True:
            due_at = self.hub.next_flush()
            if due_at > time.monotonic():
                try:
                    async with asyncio.timeout(None if due_at == NEVER else due_at - time.monotonic()):
                        await self._woken.wait()
                except TimeoutError:
                    pass
            self._woken.clear()
            for _ in self.hub.flush(time.monotonic()):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)


@asynccontextmanager
async def processes(backbone: Backbone, names: str, **options: float) -> AsyncIterator[list[Process]]:
    """Run a process for each letter of `names`, until all of them know each other."""
    started = [await Process(backbone, name, **options).__aenter__() for name in names]
    try:
        await until(lambda: all(len(one.fanout.peers.cards) == len(names) - 1 for one in started))
        yield started
    finally:
        for process in started:
            await process.__aexit__()


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's own time limit ends it where it never does."""
    while not condition():  # noqa: ASYNC110 (what is waited for tells nobody)
        await asyncio.sleep(0.002)
