"""The backbone over Redis or Valkey: streams with a consumer group, streams as boxes, hashes of members, pub/sub.

Redis 6.2 is enough, alone or as a cluster: there are no scripts, and no command touches keys of more than one slot.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Any, TypeVar

from redis.exceptions import OutOfMemoryError

from pipeline.backbone import BackboneFull, Delivery, Depth, Receive
from pipeline.redis_checks import check, check_files
from pipeline.redis_link import TIMEOUT, Command, NoGroup, RedisLink
from pipeline.redis_listener import listening
from pipeline.redis_nodes import RedisNodes
from pipeline.redis_records import GROUP, PAYLOAD, Keys, next_id, pack_card, payload_of, unpack_card

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_DEAD_LETTERS = 1000
QUEUE_TTL_MS = 7 * 86_400_000  # a queue that no worker has looked at for so long is forgotten
KIND_TTL_MS = 86_400_000
WORKER_TTL = 86_400.0  # seconds after which a worker that has nothing is forgotten
FORGET_EVERY = 3600.0  # seconds
HELD_AT_ONCE = 64
STALE_MS = 60_000  # a member's card is taken away so long after it expired: it may just be on its way again
MAX_OWN = 10_000  # entries that a worker may have at once
SETTLED_MS = 100  # an entry that was heard of so recently need not be kept
TRIES = 2  # a group that was just made may be lost as well
FOREIGN_BYTES = 4096  # of what is no entry of ours, in its dead letter


class RedisBackbone:
    """Counts what happens: `buried`, `foreign` (entries that are none of ours), and `nodes` for the connections."""

    def __init__(self, url: str, prefix: str = "ws", *, timeout: float = TIMEOUT) -> None:
        """Raise `ValueError` for what is no URL of a Redis; connect when first used. `timeout`: seconds of a call."""
        self.keys = Keys(prefix)
        self.nodes = RedisNodes(url, self.keys, timeout)
        self.buried = 0
        self._foreign = 0
        self._url = url
        self._forgot: dict[str, float] = {}  # when a queue's workers were looked through
        self._grouped: dict[str, str] = {}  # the generation in which this process saw to a queue's group

    def __repr__(self) -> str:
        return f"<RedisBackbone {self.nodes!r} buried={self.buried} foreign={self.foreign}>"

    @property
    def is_up(self) -> bool:
        """Whether the last that was tried succeeded."""
        return self.nodes.is_up

    @property
    def foreign(self) -> int:
        """How many entries, letters and whole keys that are none of ours were found."""
        return self._foreign + self.nodes.counts.foreign

    async def check(self) -> None:
        """Raise `ConfigError` that names what is wrong with this Redis, `RedisUnreachable` if nothing answers."""
        check_files(self._url)
        await check(self.nodes)

    async def put(self, queue: str, payloads: Sequence[bytes]) -> list[str]:
        """Append all of the payloads, or none."""
        key = self.keys.queue(queue)
        link = await self.nodes.of(key)
        if self._grouped.get(queue) != link.generation:  # when memory is short no worker could make it
            await self._make_groups(link, [queue])
            self._grouped[queue] = link.generation
        commands: list[Command] = [("XADD", key, "*", PAYLOAD, payload) for payload in payloads]
        if len(commands) > 1:
            replies = (await link.run(("MULTI",), *commands, ("EXEC",)))[-1]
        else:
            replies = await link.run(*commands) if commands else []
        return [reply.decode() for reply in replies]

    async def holds(self, queue: str, ids: Sequence[str]) -> set[str]:
        """Return those of the ids whose entries have not been acknowledged."""
        key = self.keys.queue(queue)
        replies: list[Any] = []
        for first in range(0, len(ids), HELD_AT_ONCE):  # the replies have the payloads in them
            part = ids[first : first + HELD_AT_ONCE]
            replies += await self._run(key, *(("XRANGE", key, entry_id, entry_id) for entry_id in part))
        return {entry_id for entry_id, found in zip(ids, replies, strict=True) if found}

    async def take(self, queues: Sequence[str], worker: str, most: int, wait: float) -> list[Delivery]:
        """Return up to `most` entries of each queue of a shard that no worker has had; wait up to `wait` seconds."""
        names = {self.keys.queue(queue): queue for queue in queues}
        if not names:
            await asyncio.sleep(wait)
            return []

        async def read(block: Command) -> list[Delivery]:
            streams = ("STREAMS", *names, *">" * len(names))
            reading = ("XREADGROUP", "GROUP", GROUP, worker, "COUNT", most, *block, *streams)
            reply = (await self._with_groups(queues, lambda link: link.wait(reading)))[0]
            found = [(names[key.decode()], entries) for key, entries in reply or ()]
            return [delivery for queue, entries in found for delivery in await self._deliver(queue, entries, {})]

        return await self._blocking(read, wait)

    async def claim(self, queue: str, worker: str, idle: float, most: int) -> list[Delivery]:
        """Return up to `most` entries that a worker has had for `idle` seconds without a word."""
        key, idle_ms = self.keys.queue(queue), int(idle * 1000)
        if monotonic() - self._forgot.get(queue, -FORGET_EVERY) >= FORGET_EVERY:
            self._forgot[queue] = monotonic()
            await self.forget_workers(queue, WORKER_TTL)
        listing: tuple[Command, ...] = (
            ("XPENDING", key, GROUP, "IDLE", idle_ms, "-", "+", most),
            ("PEXPIRE", key, QUEUE_TTL_MS),
        )
        rows = (await self._with_groups([queue], lambda link: link.run(*listing)))[0]
        if not rows:
            return []
        counts = {row[0]: row[3] + 1 for row in rows}
        entries = (await self._run(key, ("XCLAIM", key, GROUP, worker, idle_ms, *counts)))[0]
        entries = [entry for entry in entries if entry is not None and entry[1] is not None]
        await self._forget_deleted(key, counts.keys() - {entry[0] for entry in entries})
        return await self._deliver(queue, entries, counts)

    async def forget_workers(self, queue: str, idle: float) -> None:
        """Remove the group's workers that have nothing and were not heard of for `idle` seconds."""
        key = self.keys.queue(queue)
        listing = ("XINFO", "CONSUMERS", key, GROUP)
        rows = (await self._with_groups([queue], lambda link: link.run(listing)))[0]
        workers = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
        gone = [row[b"name"] for row in workers if row[b"pending"] == 0 and row[b"idle"] >= idle * 1000]
        await self._run(key, *(("XGROUP", "DELCONSUMER", key, GROUP, name) for name in gone))

    async def keep(self, queue: str, worker: str, ids: Sequence[str]) -> None:
        """Let the idle time of the worker's own entries start anew."""
        key, wanted = self.keys.queue(queue), {entry_id.encode() for entry_id in ids}
        if not wanted:
            return
        listing = ("XPENDING", key, GROUP, "IDLE", SETTLED_MS, "-", "+", MAX_OWN, worker)
        rows = (await self._with_groups([queue], lambda link: link.run(listing)))[0]
        own = {row[0]: row[2] for row in rows if row[0] in wanted}
        if own:  # what another claims in between has been idle for less
            await self._run(key, ("XCLAIM", key, GROUP, worker, min(own.values()), *own, "IDLE", 0, "JUSTID"))

    async def done(self, queue: str, ids: Sequence[str]) -> None:
        """Delete and acknowledge entries; in this order, as what is deleted only is found by `claim`."""
        if ids:
            key = self.keys.queue(queue)
            await self._run(key, ("XDEL", key, *ids), ("XACK", key, GROUP, *ids))

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """Lay an entry with the dead letters, or lose it where there is no memory for that."""
        fields = ("queue", delivery.queue, "id", delivery.id, "count", delivery.count, "reason", reason)
        letter = ("XADD", self.keys.dead, "MAXLEN", "~", MAX_DEAD_LETTERS, "*", *fields, "payload", delivery.payload)
        try:
            await self._run(self.keys.dead, letter)
        except BackboneFull as error:
            log.warning("%s: an entry of %s is thrown away: %s", error, delivery.queue, reason)
        self.buried += 1
        await self.done(delivery.queue, [delivery.id])

    async def depth(self, queue: str) -> Depth:
        """Return how much there is in a queue."""
        key = self.keys.queue(queue)
        sizes = ("XLEN", key), ("XPENDING", key, GROUP)
        length, pending = await self._with_groups([queue], lambda link: link.run(*sizes))
        return Depth(max(0, length - pending[0]), pending[0])

    async def open_box(self, box: str, ttl: float) -> bool:
        """Make a box, or keep the one there is, for `ttl` seconds from now; return whether it is new."""
        key = self.keys.box(box)
        make = ("XGROUP", "CREATE", key, GROUP, "0", "MKSTREAM")
        link = await self.nodes.of(key)
        made, kept, *survey = await link.attempt(make, ("PEXPIRE", key, int(ttl * 1000)), *link.survey)
        link.note_survey(survey)
        if str(made).startswith("BUSYGROUP") or (isinstance(made, OutOfMemoryError) and kept == 1):
            return False
        link.checked([made], make)
        return True

    async def reply(self, box: str, payloads: Sequence[bytes]) -> bool:
        """Append to a box; False where there is none."""
        key = self.keys.box(box)
        commands: list[Command] = [("XADD", key, "NOMKSTREAM", "*", PAYLOAD, payload) for payload in payloads]
        link = await self.nodes.of(key)
        replies = await link.attempt(*commands)
        if None in replies:
            return False
        link.checked(replies, *commands)
        return True

    async def settle(self, box: str, payloads: Sequence[bytes], queue: str, ids: Sequence[str]) -> bool:
        """Append to a box and acknowledge what is answered by that, in a transaction."""
        key, work = self.keys.box(box), self.keys.queue(queue)
        letters: list[Command] = [("XADD", key, "NOMKSTREAM", "*", PAYLOAD, payload) for payload in payloads]
        ending: list[Command] = [("XDEL", work, *ids), ("XACK", work, GROUP, *ids)]
        *_, replies = await self._run(key, ("MULTI",), *letters, *ending, ("EXEC",))
        return None not in replies[: len(letters)]

    async def replies(self, box: str, after: str, most: int, wait: float) -> list[tuple[str, bytes]]:
        """Return up to `most` payloads behind `after`, and forget those up to it."""
        key, cursor = self.keys.box(box), after or "0-0"

        async def read(block: Command) -> list[tuple[str, bytes]]:
            nonlocal cursor
            trim = ("XTRIM", key, "MINID", next_id(cursor))
            link = await self.nodes.of(key)
            reply = (await link.wait(trim, ("XREAD", "COUNT", most, *block, "STREAMS", key, cursor)))[-1]
            entries = reply[0][1] if reply else []
            letters = [(letter_id.decode(), payload_of(fields)) for letter_id, fields in entries]
            if letters:
                cursor = letters[-1][0]
            self._foreign += sum(payload is None for _, payload in letters)
            return [(letter_id, payload) for letter_id, payload in letters if payload is not None]

        return await self._blocking(read, wait)

    async def announce(self, kind: str, member: str, card: bytes, ttl: float) -> None:
        """Hold a member's card for `ttl` seconds of Redis' clock."""
        key = self.keys.members(kind)
        link = await self.nodes.of(key)
        link.note_survey(await link.attempt(*link.survey))
        value = pack_card(card, link.clock.now_ms(monotonic()) + int(ttl * 1000))
        await link.run(("HSET", key, member, value), ("PEXPIRE", key, KIND_TTL_MS))

    async def withdraw(self, kind: str, member: str) -> None:
        """Forget a member."""
        key = self.keys.members(kind)
        await self._run(key, ("HDEL", key, member))

    async def members(self, kind: str) -> dict[str, bytes]:
        """Return the cards of those who have been heard of in time, and forget the others."""
        key = self.keys.members(kind)
        (seconds, micros), flat = await self._run(key, ("TIME",), ("HGETALL", key))
        now = int(seconds) * 1000 + int(micros) // 1000
        cards = {name: unpack_card(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
        stale = [name for name, (_, expires) in cards.items() if expires + STALE_MS <= now]
        if stale:
            await self._run(key, ("HDEL", key, *stale))
        return {name.decode("utf-8", "replace"): card for name, (card, expires) in cards.items() if expires > now}

    async def publish(self, channel: str, payloads: Sequence[bytes]) -> None:
        """Tell those who listen now."""
        name = self.keys.channel(channel)
        link = await self.nodes.of(name)
        verb = "SPUBLISH" if self.nodes.has_sharded_channels else "PUBLISH"
        if payloads:
            await link.run(*((verb, name, payload) for payload in payloads))

    def listen(self, channel: str, receive: Receive) -> AbstractAsyncContextManager[None]:
        """Call `receive` with what is published while the context is open, on the loop."""
        return listening(self.nodes, self.keys.channel(channel), receive)

    async def close(self) -> None:
        """Close all connections."""
        await self.nodes.close()

    async def _run(self, key: str, *commands: Command) -> list[Any]:
        """Run commands where a key lies."""
        return await (await self.nodes.of(key)).run(*commands) if commands else []

    async def _with_groups(self, queues: Sequence[str], call: Callable[[RedisLink], Awaitable[list[Any]]]) -> list[Any]:
        """Call with the link of the queues' shard; where a group is missing make those of the queues and call again."""
        for _ in range(TRIES):
            link = await self.nodes.of(self.keys.queue(queues[0]))
            try:
                return await call(link)
            except NoGroup:
                await self._make_groups(link, queues)
        return await call(link)

    async def _make_groups(self, link: RedisLink, queues: Sequence[str]) -> None:
        makes = [("XGROUP", "CREATE", self.keys.queue(queue), GROUP, "0", "MKSTREAM") for queue in queues]
        keeps = [("PEXPIRE", make[2], QUEUE_TTL_MS) for make in makes]
        replies = await link.attempt(*makes, *keeps)
        for make, made in zip(makes, replies, strict=False):
            if not str(made).startswith("BUSYGROUP"):
                link.checked([made], make)

    async def _deliver(self, queue: str, entries: Sequence[Any], counts: dict[bytes, int]) -> list[Delivery]:
        """Return entries as deliveries; bury those that are not ours."""
        clock = (await self.nodes.of(self.keys.queue(queue))).clock
        deliveries, here = [], monotonic()
        for raw_id, fields in entries:
            entry_id, payload = raw_id.decode(), payload_of(fields)
            count, age = counts.get(raw_id, 1), clock.age(entry_id, here)
            if payload is not None:
                deliveries.append(Delivery(queue, entry_id, payload, count, age))
            else:
                self._foreign += 1
                found = b" ".join(fields or ())[:FOREIGN_BYTES]
                await self.bury(Delivery(queue, entry_id, found, count, age), "not an entry of ours")
        return deliveries

    async def _forget_deleted(self, key: str, ids: Iterable[bytes]) -> None:
        """Acknowledge those of the ids whose entries are not there any more; others have been claimed by others."""
        missing = list(ids)
        found = await self._run(key, *(("XRANGE", key, entry_id, entry_id) for entry_id in missing))
        gone = [entry_id for entry_id, entries in zip(missing, found, strict=True) if not entries]
        if gone:
            await self._run(key, ("XACK", key, GROUP, *gone))

    async def _blocking(self, read: Callable[[Command], Awaitable[list[T]]], wait: float) -> list[T]:
        """Call `read` with the part of a command that lets it block, until it returns something or the time is up."""
        end = monotonic() + wait
        while True:
            left = end - monotonic()
            block = max(1, int(min(left, self.nodes.patience) * 1000))
            found = await read(("BLOCK", block) if left > 0 else ())
            if found or left <= 0:
                return found
