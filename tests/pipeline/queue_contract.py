"""The part of the contract of backbones that is about queues."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from pipeline.backbone import Backbone, Delivery, Depth

Open = Callable[[], AbstractAsyncContextManager[Backbone]]

SHORT = 0.02  # seconds to wait for what must not come
LONG = 5.0  # seconds to wait for what must come
IDLE = 0.15  # seconds


async def take(backbone: Backbone, worker: str = "w1", most: int = 10, wait: float = LONG) -> list[Delivery]:
    return await backbone.take(["q"], worker, most, wait)


def payloads(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.payload for delivery in deliveries]


class QueueContract:
    """`opened` gives backbones of one store: each is what one process has; all that is held is gone before a test."""

    async def test_entries_are_taken_in_the_order_they_were_put(self, opened: Open) -> None:
        async with opened() as gateway, opened() as worker:
            ids = await gateway.put("q", [b"a", b"b"])
            ids += await gateway.put("q", [b"c"])
            taken = await take(worker)
        assert [(d.queue, d.id, d.payload, d.count) for d in taken] == [
            ("q", entry_id, payload, 1) for entry_id, payload in zip(ids, [b"a", b"b", b"c"], strict=True)
        ]
        assert len(set(ids)) == 3

    @pytest.mark.parametrize("payload", [b"", bytes(range(256)), b"\r\n$-1\r\n", b"x" * 1_000_000])
    async def test_payloads_are_bytes_of_any_kind(self, opened: Open, payload: bytes) -> None:
        async with opened() as backbone:
            await backbone.open_box("b", LONG)
            await backbone.put("q", [payload])
            assert await backbone.reply("b", [payload])
            await backbone.announce("kind", "m", payload, LONG)
            assert payloads(await take(backbone)) == [payload]
            assert [letter for _, letter in await backbone.replies("b", "", 1, LONG)] == [payload]
            assert await backbone.members("kind") == {"m": payload}

    async def test_nothing_put_is_nothing_done(self, opened: Open) -> None:
        async with opened() as backbone:
            assert await backbone.put("q", []) == []
            assert await backbone.holds("q", []) == set()
            await backbone.keep("q", "w1", [])
            await backbone.done("q", [])
            await backbone.publish("c", [])
            assert await backbone.depth("q") == Depth(0, 0)

    async def test_an_entry_goes_to_one_worker(self, opened: Open) -> None:
        async with opened() as one, opened() as other:
            await one.put("q", [b"%d" % number for number in range(100)])
            taken = await asyncio.gather(*(take(one if i % 2 else other, f"w{i}", 10) for i in range(10)))
        assert sorted(int(d.payload) for deliveries in taken for d in deliveries) == list(range(100))

    async def test_no_more_are_taken_than_asked_for(self, opened: Open) -> None:
        async with opened() as backbone:
            await backbone.put("q", [b"a", b"b", b"c"])
            assert payloads(await take(backbone, most=2)) == [b"a", b"b"]
            assert payloads(await take(backbone, most=2)) == [b"c"]

    async def test_several_queues_are_taken_from_at_once(self, opened: Open) -> None:
        async with opened() as backbone:
            await backbone.put("q", [b"a"])
            await backbone.put("r", [b"b", b"c", b"d"])
            taken = await backbone.take(["q", "r", "empty"], "w1", 2, LONG)
            assert sorted((d.queue, d.payload) for d in taken) == [("q", b"a"), ("r", b"b"), ("r", b"c")]

    async def test_a_worker_waits_for_what_is_put_later(self, opened: Open) -> None:
        async with opened() as gateway, opened() as worker:
            waiting = asyncio.create_task(worker.take(["q", "r"], "w1", 10, LONG))
            assert await take(gateway, "w2", wait=SHORT) == []
            await gateway.put("r", [b"a"])
            assert payloads(await waiting) == [b"a"]

    async def test_one_of_many_that_wait_gets_an_entry(self, opened: Open) -> None:
        async with opened() as backbone:
            waiting = [asyncio.create_task(take(backbone, f"w{i}", wait=10 * SHORT)) for i in range(5)]
            assert await take(backbone, wait=SHORT) == []
            await backbone.put("q", [b"a"])
            assert sorted(map(payloads, await asyncio.gather(*waiting))) == [[], [], [], [], [b"a"]]

    @pytest.mark.parametrize("wait", [0.0, SHORT, 0.3])
    async def test_waiting_ends(self, opened: Open, wait: float) -> None:
        async with opened() as backbone:
            assert await take(backbone, wait=SHORT) == []
            started = asyncio.get_running_loop().time()
            assert await take(backbone, wait=wait) == []
            assert wait - 0.02 <= asyncio.get_running_loop().time() - started < wait + 1.0

    async def test_a_call_that_is_cancelled_takes_nothing_with_it_for_good(self, opened: Open) -> None:
        async with opened() as backbone:
            waiting = asyncio.create_task(take(backbone, "w1"))
            assert await take(backbone, "w2", wait=SHORT) == []
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await backbone.put("q", [b"a"])
            found = await take(backbone, "w2", wait=10 * SHORT) or await backbone.claim("q", "w2", 0.0, 1)
            assert payloads(found) == [b"a"]

    async def test_what_is_taken_and_not_acknowledged_is_pending(self, opened: Open) -> None:
        async with opened() as backbone:
            await backbone.put("q", [b"a", b"b", b"c"])
            assert await backbone.depth("q") == Depth(3, 0)
            first, _ = await take(backbone, most=2)
            assert await backbone.depth("q") == Depth(1, 2)
            await backbone.done("q", [first.id])
            assert await backbone.depth("q") == Depth(1, 1)

    async def test_what_is_acknowledged_is_gone_whoever_has_it(self, opened: Open) -> None:
        async with opened() as backbone:
            ids = await backbone.put("q", [b"a", b"b", b"c"])
            await take(backbone, "w1", most=2)
            assert await backbone.holds("q", ids) == set(ids)
            await backbone.done("q", [ids[0], ids[2]])
            assert await backbone.holds("q", ids) == {ids[1]}
            assert await backbone.depth("q") == Depth(0, 1)
            await backbone.done("q", ids)
            await backbone.done("q", ids)
            assert await backbone.holds("q", ids) == set()
            assert await backbone.depth("q") == Depth(0, 0)
            assert await take(backbone, wait=SHORT) == []

    async def test_a_queue_that_nobody_knows_is_empty(self, opened: Open) -> None:
        async with opened() as backbone:
            (gone,) = await backbone.put("q", [b"a"])
            assert await backbone.depth("never") == Depth(0, 0)
            assert await backbone.claim("never", "w1", 0.0, 10) == []
            assert await backbone.holds("never", [gone]) == set()
            await backbone.keep("never", "w1", [gone])
            await backbone.done("never", [gone])

    async def test_the_age_of_an_entry_counts_from_when_it_was_put(self, opened: Open) -> None:
        async with opened() as backbone:
            await backbone.put("q", [b"a"])
            await take(backbone, "w1")
            await backbone.put("q", [b"b"])
            await backbone.take(["other"], "w1", 1, 0.2)
            (fresh,) = await take(backbone, "w1")
            (old,) = await backbone.claim("q", "w2", 0.1, 10)
            assert 0.15 < fresh.age < 1.0
            assert fresh.age <= old.age + 0.01 < 2.0

    # -- claims

    async def test_what_a_worker_left_is_claimed_after_a_while_and_counted(self, opened: Open) -> None:
        async with opened() as one, opened() as other:
            await one.put("q", [b"a", b"b", b"c"])
            await take(one, "w1", most=2)
            assert await other.claim("q", "w2", 60.0, 10) == []
            claimed = await other.claim("q", "w2", 0.0, 10)
            assert [(d.payload, d.count) for d in claimed] == [(b"a", 2), (b"b", 2)]
            again = await one.claim("q", "w1", 0.0, 1)
            assert [(d.payload, d.count) for d in again] == [(b"a", 3)]
            assert await one.depth("q") == Depth(1, 2)

    async def test_an_entry_is_claimed_by_one(self, opened: Open) -> None:
        async with opened() as one, opened() as other:
            await one.put("q", [b"%d" % number for number in range(50)])
            await take(one, "dead", most=50)
            await one.take(["other"], "w", 1, 2 * IDLE)
            found = await asyncio.gather(*((one, other)[i % 2].claim("q", f"w{i}", IDLE, 50) for i in range(6)))
        assert sorted(int(d.payload) for deliveries in found for d in deliveries) == list(range(50))

    async def test_what_is_kept_is_not_claimed(self, opened: Open) -> None:
        async with opened() as backbone:
            ids = await backbone.put("q", [b"a", b"b"])
            await take(backbone, "w1")
            await backbone.take(["other"], "w", 1, 2 * IDLE)
            await backbone.keep("q", "w1", [ids[0]])
            assert payloads(await backbone.claim("q", "w2", IDLE, 10)) == [b"b"]

    async def test_nobody_keeps_what_another_has(self, opened: Open) -> None:
        async with opened() as backbone:
            ids = await backbone.put("q", [b"a"])
            await take(backbone, "w1")
            await backbone.take(["other"], "w", 1, 2 * IDLE)
            await backbone.keep("q", "zombie", ids)
            (claimed,) = await backbone.claim("q", "w2", IDLE, 10)
            await backbone.take(["other"], "w", 1, 2 * IDLE)
            await backbone.keep("q", "w1", ids)
            (again,) = await backbone.claim("q", "w3", IDLE, 10)
            assert (claimed.count, again.count) == (2, 3)

    async def test_keeping_does_not_count_as_a_delivery(self, opened: Open) -> None:
        async with opened() as backbone:
            ids = await backbone.put("q", [b"a"])
            await take(backbone, "w1")
            await backbone.take(["other"], "w", 1, IDLE)
            await backbone.keep("q", "w1", ids)
            (claimed,) = await backbone.claim("q", "w2", 0.0, 10)
            assert claimed.count == 2

    async def test_what_is_done_meanwhile_is_not_claimed(self, opened: Open) -> None:
        async with opened() as backbone:
            ids = await backbone.put("q", [b"a", b"b"])
            await take(backbone, "w1")
            await backbone.done("q", ids[:1])
            assert payloads(await backbone.claim("q", "w2", 0.0, 10)) == [b"b"]

    async def test_what_is_buried_is_gone(self, opened: Open) -> None:
        async with opened() as backbone:
            await backbone.put("q", [b"poison", b"b"])
            poison, _ = await take(backbone, "w1")
            await backbone.bury(poison, "delivered three times")
            assert await backbone.depth("q") == Depth(0, 1)
            assert payloads(await backbone.claim("q", "w2", 0.0, 10)) == [b"b"]
            assert await self.dead_letters(backbone) == [
                ("q", poison.id, 1, "delivered three times", b"poison"),
            ]

    async def test_only_the_newest_dead_letters_are_kept(self, opened: Open) -> None:
        async with opened() as backbone:
            for number in range(1200):
                await backbone.bury(Delivery("q", "1-1", b"%d" % number, 3, 0.0), "poison")
            letters = await self.dead_letters(backbone)
            assert 1000 <= len(letters) < 1200
            assert letters[-1][4] == b"1199"

    async def dead_letters(self, backbone: Backbone) -> list[tuple[str, str, int, str, bytes]]:
        """Return queue, id, count, reason and payload of the dead letters."""
        raise NotImplementedError
