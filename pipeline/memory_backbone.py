"""A backbone within one process: for several engines beside each other, and for tests of all that stands on one."""

import asyncio
import itertools
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

from pipeline.backbone import BackboneDown, BackboneFull, Delivery, Depth, Receive, shard_of

ENTRY_BYTES = 128  # what an entry is taken to cost beside its payload


@dataclass(slots=True)
class _Entry:
    id: str
    payload: bytes
    born: float
    worker: str = ""
    count: int = 0
    since: float = 0.0  # when its worker was last heard of


@dataclass(slots=True)
class _Queue:
    waiting: OrderedDict[str, _Entry] = field(default_factory=OrderedDict)
    pending: dict[str, _Entry] = field(default_factory=dict)


@dataclass(slots=True)
class _Box:
    expires: float
    letters: deque[tuple[int, bytes]] = field(default_factory=deque)


class MemoryBackbone:
    """Queues, boxes and members in dicts, of one loop. `clock` gives seconds and decides what is idle, old or expired.

    Tests set `is_up` by `go_down` and `come_back`, and `forget` everything as a store does that restarts without data.
    """

    def __init__(
        self, *, clock: Callable[[], float] = monotonic, max_bytes: int = 256 << 20, max_dead_letters: int = 1000
    ) -> None:
        self.dead_letters: deque[tuple[Delivery, str]] = deque(maxlen=max_dead_letters)
        self.buried = 0
        self.foreign = 0  # there is no other way in
        self.bytes_held = 0
        self._clock = clock
        self._max_bytes = max_bytes
        self._is_up = True
        self._ids = itertools.count(1)
        self._news = asyncio.Event()  # set and cleared at once: wakes those who wait now
        self._queues: dict[str, _Queue] = {}
        self._boxes: dict[str, _Box] = {}
        self._members: dict[str, dict[str, tuple[float, bytes]]] = {}
        self._listeners: list[tuple[str, Receive]] = []

    def __repr__(self) -> str:
        depths = {name: (len(queue.waiting), len(queue.pending)) for name, queue in self._queues.items()}
        return f"<MemoryBackbone queues={depths} boxes={len(self._boxes)} bytes={self.bytes_held} up={self._is_up}>"

    @property
    def is_up(self) -> bool:
        """Whether it can be reached."""
        return self._is_up

    def go_down(self) -> None:
        """Raise `BackboneDown` from all that is asked, and from all that waits."""
        self._is_up = False
        self._tell()

    def come_back(self) -> None:
        """Serve again, with what was held."""
        self._is_up = True

    def forget(self) -> None:
        """Lose all queues, boxes and members."""
        self._queues.clear()
        self._boxes.clear()
        self._members.clear()
        self.bytes_held = 0

    async def put(self, queue: str, payloads: Sequence[bytes]) -> list[str]:
        """Append all of the payloads, or none."""
        self._check()
        self._make_room(payloads)
        held, now = self._queue(queue), self._clock()
        ids = []
        for payload in payloads:
            entry = _Entry(str(next(self._ids)), payload, now)
            held.waiting[entry.id] = entry
            ids.append(entry.id)
        self._tell()
        return ids

    async def holds(self, queue: str, ids: Sequence[str]) -> set[str]:
        """Return those of the ids whose entries have not been acknowledged."""
        self._check()
        held = self._queue(queue)
        return {entry_id for entry_id in ids if entry_id in held.waiting or entry_id in held.pending}

    async def take(self, queues: Sequence[str], worker: str, most: int, wait: float) -> list[Delivery]:
        """Return up to `most` entries of each queue of a shard that no worker has had."""
        self._check()
        _check_together(*queues)
        await self._until(lambda: any(self._queue(name).waiting for name in queues), wait)
        return [self._deliver(name, worker, entry) for name in queues for entry in self._pop(name, most)]

    async def claim(self, queue: str, worker: str, idle: float, most: int) -> list[Delivery]:
        """Return up to `most` entries that a worker has had for `idle` seconds without a word."""
        self._check()
        latest = self._clock() - idle
        stale = [entry for entry in self._queue(queue).pending.values() if entry.since <= latest]
        return [self._deliver(queue, worker, entry) for entry in stale[:most]]

    async def keep(self, queue: str, worker: str, ids: Sequence[str]) -> None:
        """Let the idle time of the worker's own entries start anew."""
        self._check()
        pending = self._queue(queue).pending
        for entry_id in ids:
            if entry_id in pending and pending[entry_id].worker == worker:
                pending[entry_id].since = self._clock()

    async def done(self, queue: str, ids: Sequence[str]) -> None:
        """Forget entries, whoever has them."""
        self._check()
        self._remove(queue, ids)

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """Lay an entry with the dead letters and forget it."""
        self._check()
        self.dead_letters.append((delivery, reason))
        self.buried += 1
        self._remove(delivery.queue, [delivery.id])

    async def depth(self, queue: str) -> Depth:
        """Return how much there is in a queue."""
        self._check()
        held = self._queue(queue)
        return Depth(len(held.waiting), len(held.pending))

    async def open_box(self, box: str, ttl: float) -> bool:
        """Make a box, or keep the one there is, for `ttl` seconds from now; return whether it is new."""
        self._check()
        now = self._clock()
        for name in [name for name, held in self._boxes.items() if held.expires <= now]:
            self.bytes_held -= sum(_cost(payload) for _, payload in self._boxes.pop(name).letters)
        is_new = box not in self._boxes
        self._boxes.setdefault(box, _Box(now)).expires = now + ttl
        return is_new

    async def reply(self, box: str, payloads: Sequence[bytes]) -> bool:
        """Append to a box; False where there is none."""
        self._check()
        held = self._open(box)
        if held is None:
            return False
        self._make_room(payloads)
        held.letters.extend((next(self._ids), payload) for payload in payloads)
        self._tell()
        return True

    async def settle(self, box: str, payloads: Sequence[bytes], queue: str, ids: Sequence[str]) -> bool:
        """Append to a box and forget the entries that are answered by that."""
        _check_together(box, queue)
        is_wanted = await self.reply(box, payloads)
        self._remove(queue, ids)
        return is_wanted

    async def replies(self, box: str, after: str, most: int, wait: float) -> list[tuple[str, bytes]]:
        """Return up to `most` payloads behind `after`, and forget those up to it."""
        self._check()
        cursor = int(after or 0)
        self._trim(box, cursor)
        await self._until(lambda: (held := self._open(box)) is not None and bool(held.letters), wait)
        held = self._open(box)
        letters = [] if held is None else [letter for letter in held.letters if letter[0] > cursor]
        return [(str(number), payload) for number, payload in letters[:most]]

    async def announce(self, kind: str, member: str, card: bytes, ttl: float) -> None:
        """Hold a member's card for `ttl` seconds."""
        self._check()
        self._members.setdefault(kind, {})[member] = (self._clock() + ttl, card)

    async def withdraw(self, kind: str, member: str) -> None:
        """Forget a member."""
        self._check()
        self._members.get(kind, {}).pop(member, None)

    async def members(self, kind: str) -> dict[str, bytes]:
        """Return the cards of those who have been heard of in time, and forget the others."""
        self._check()
        now = self._clock()
        self._members[kind] = {name: held for name, held in self._members.get(kind, {}).items() if held[0] > now}
        return {name: card for name, (_, card) in self._members[kind].items()}

    async def publish(self, channel: str, payloads: Sequence[bytes]) -> None:
        """Tell those who listen now, in the loop's next turn."""
        self._check()
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            if listener[0] == channel:
                for payload in payloads:
                    loop.call_soon(self._hand, listener, payload)

    @asynccontextmanager
    async def listen(self, channel: str, receive: Receive) -> AsyncIterator[None]:
        """Call `receive` with what is published while the context is open."""
        self._check()
        listener = (channel, receive)
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners = [other for other in self._listeners if other is not listener]

    async def close(self) -> None:
        """Forget everything; those who wait get `BackboneDown`."""
        self.forget()
        self.go_down()

    def _check(self) -> None:
        if not self._is_up:
            raise BackboneDown("the backbone in memory is down")

    def _tell(self) -> None:
        self._news.set()
        self._news.clear()

    async def _until(self, condition: Callable[[], bool], wait: float) -> None:
        """Wait until the condition holds, at most `wait` seconds of the loop."""
        try:
            async with asyncio.timeout(wait):
                while not condition():
                    await self._news.wait()
                    self._check()
        except TimeoutError:
            pass

    def _make_room(self, payloads: Sequence[bytes]) -> None:
        size = sum(map(_cost, payloads))
        if self.bytes_held + size > self._max_bytes:
            raise BackboneFull(f"{self.bytes_held} of {self._max_bytes} bytes are taken")
        self.bytes_held += size

    def _queue(self, name: str) -> _Queue:
        return self._queues.setdefault(name, _Queue())

    def _pop(self, queue: str, most: int) -> list[_Entry]:
        held = self._queue(queue)
        taken = [held.waiting.popitem(last=False)[1] for _ in range(min(most, len(held.waiting)))]
        held.pending.update((entry.id, entry) for entry in taken)
        return taken

    def _deliver(self, queue: str, worker: str, entry: _Entry) -> Delivery:
        entry.worker, entry.since = worker, self._clock()
        entry.count += 1
        return Delivery(queue, entry.id, entry.payload, entry.count, entry.since - entry.born)

    def _remove(self, queue: str, ids: Sequence[str]) -> None:
        held = self._queue(queue)
        for entry_id in ids:
            entry = held.pending.pop(entry_id, None) or held.waiting.pop(entry_id, None)
            if entry is not None:
                self.bytes_held -= _cost(entry.payload)

    def _open(self, name: str) -> _Box | None:
        held = self._boxes.get(name)
        return held if held is not None and held.expires > self._clock() else None

    def _trim(self, box: str, cursor: int) -> None:
        held = self._open(box)
        while held is not None and held.letters and held.letters[0][0] <= cursor:
            self.bytes_held -= _cost(held.letters.popleft()[1])

    def _hand(self, listener: tuple[str, Receive], payload: bytes) -> None:
        if any(listener is other for other in self._listeners):
            listener[1](payload)


def _check_together(*names: str) -> None:
    if len(set(map(shard_of, names))) > 1:
        raise ValueError(f"{', '.join(names)}: expected names of one shard")


def _cost(payload: bytes) -> int:
    return ENTRY_BYTES + len(payload)
