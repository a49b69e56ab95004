"""What every backbone does: the tests of the one in memory and of the one over Redis are made of this class."""

import asyncio

import pytest

from pipeline.backbone import BackboneFull, Depth

from .queue_contract import LONG, SHORT, Open, QueueContract, take


class BackboneContract(QueueContract):
    """Queues, boxes, members and broadcast; `small` gives backbones of a store that soon is full."""

    # -- boxes

    async def test_replies_come_in_order_and_once(self, opened: Open) -> None:
        async with opened() as gateway, opened() as worker:
            assert await gateway.open_box("b", LONG)
            assert await worker.reply("b", [b"1", b"2"])
            assert await worker.reply("b", [b"3"])
            first = await gateway.replies("b", "", 2, LONG)
            second = await gateway.replies("b", first[-1][0], 2, LONG)
            assert [letter for _, letter in first + second] == [b"1", b"2", b"3"]
            assert await gateway.replies("b", second[-1][0], 2, SHORT) == []

    async def test_what_was_read_is_forgotten(self, opened: Open) -> None:
        async with opened() as backbone:
            await backbone.open_box("b", LONG)
            await backbone.reply("b", [b"1", b"2", b"3"])
            first, second, _ = await backbone.replies("b", "", 10, LONG)
            assert [letter for _, letter in await backbone.replies("b", first[0], 10, LONG)] == [b"2", b"3"]
            await backbone.replies("b", second[0], 10, LONG)
            assert [letter for _, letter in await backbone.replies("b", "", 10, LONG)] == [b"3"]

    async def test_a_gateway_waits_for_replies(self, opened: Open) -> None:
        async with opened() as gateway, opened() as worker:
            await gateway.open_box("b", LONG)
            waiting = asyncio.create_task(gateway.replies("b", "", 10, LONG))
            assert await worker.replies("other", "", 1, SHORT) == []
            assert await worker.reply("b", [b"1"])
            assert [letter for _, letter in await waiting] == [b"1"]

    async def test_a_reply_to_nobody_is_told(self, opened: Open) -> None:
        async with opened() as backbone:
            assert not await backbone.reply("b", [b"1", b"2"])
            assert await backbone.replies("b", "", 10, SHORT) == []
            assert await backbone.open_box("b", LONG)
            assert await backbone.reply("b", [b"3"])
            assert [letter for _, letter in await backbone.replies("b", "", 10, LONG)] == [b"3"]

    async def test_a_box_that_is_kept_open_keeps_its_replies(self, opened: Open) -> None:
        async with opened() as backbone:
            assert await backbone.open_box("b", 0.2)
            await backbone.reply("b", [b"1"])
            assert not await backbone.open_box("b", LONG)
            assert await backbone.replies("other", "", 1, 0.3) == []
            assert not await backbone.open_box("b", LONG)
            assert [letter for _, letter in await backbone.replies("b", "", 10, LONG)] == [b"1"]

    async def test_a_box_whose_gateway_is_gone_is_gone(self, opened: Open) -> None:
        async with opened() as backbone:
            await backbone.open_box("b", 0.1)
            await backbone.reply("b", [b"1"])
            assert await backbone.replies("other", "", 1, 0.2) == []
            assert not await backbone.reply("b", [b"2"])
            assert await backbone.open_box("b", LONG)
            assert await backbone.replies("b", "", 10, SHORT) == []

    async def test_an_entry_is_settled_when_its_reply_is_written(self, opened: Open) -> None:
        async with opened() as gateway, opened() as worker:
            await gateway.open_box("b", LONG)
            ids = await gateway.put("q", [b"a", b"b", b"c"])
            await take(worker, most=2)
            assert await worker.settle("b", [b"1", b"2"], "q", ids[:2])
            assert [letter for _, letter in await gateway.replies("b", "", 10, LONG)] == [b"1", b"2"]
            assert await gateway.holds("q", ids) == {ids[2]}
            assert await gateway.depth("q") == Depth(1, 0)

    async def test_an_entry_whose_gateway_is_gone_is_settled_too(self, opened: Open) -> None:
        async with opened() as backbone:
            ids = await backbone.put("q", [b"a"])
            await take(backbone)
            assert not await backbone.settle("b", [b"1"], "q", ids)
            assert await backbone.holds("q", ids) == set()
            assert await backbone.depth("q") == Depth(0, 0)
            assert await backbone.open_box("b", LONG)
            assert await backbone.replies("b", "", 10, SHORT) == []

    async def test_each_shard_goes_its_own_way(self, opened: Open) -> None:
        async with opened() as gateway, opened() as worker:
            for shard in range(5):
                assert await gateway.open_box(f"b/{shard}", LONG)
                ids = await gateway.put(f"q/{shard}", [b"%d" % shard])
                await gateway.put(f"r/{shard}", [b"r"])
                taken = await worker.take([f"q/{shard}", f"r/{shard}"], "w", 10, LONG)
                assert sorted(delivery.payload for delivery in taken) == [b"%d" % shard, b"r"]
                assert await worker.settle(f"b/{shard}", [b"1"], f"q/{shard}", ids)
                assert [letter for _, letter in await gateway.replies(f"b/{shard}", "", 10, LONG)] == [b"1"]

    # -- members

    async def test_members_say_what_they_are_until_they_withdraw(self, opened: Open) -> None:
        async with opened() as one, opened() as other:
            await one.announce("worker", "w1", b"old", LONG)
            await one.announce("worker", "w1", b"new", LONG)
            await other.announce("worker", "w2", b"2", LONG)
            await other.announce("gateway", "g", b"3", LONG)
            assert await other.members("worker") == {"w1": b"new", "w2": b"2"}
            await one.withdraw("worker", "w1")
            await one.withdraw("worker", "w1")
            assert await other.members("worker") == {"w2": b"2"}
            assert await other.members("nothing") == {}

    async def test_a_member_that_is_silent_is_forgotten(self, opened: Open) -> None:
        async with opened() as backbone:
            await backbone.announce("worker", "silent", b"1", 0.2)
            await backbone.announce("worker", "w", b"2", LONG)
            assert await backbone.members("worker") == {"silent": b"1", "w": b"2"}
            assert await backbone.replies("other", "", 1, 0.3) == []
            assert await backbone.members("worker") == {"w": b"2"}
            await backbone.announce("worker", "silent", b"back", LONG)
            assert await backbone.members("worker") == {"silent": b"back", "w": b"2"}

    # -- broadcast

    async def test_all_who_listen_hear_what_is_published_in_order(self, opened: Open) -> None:
        heard: asyncio.Queue[tuple[str, str, bytes]] = asyncio.Queue()
        async with (
            opened() as one,
            opened() as other,
            one.listen("c", lambda payload: heard.put_nowait(("one", "c", payload))),
            one.listen("d", lambda payload: heard.put_nowait(("one", "d", payload))),
            other.listen("c", lambda payload: heard.put_nowait(("other", "c", payload))),
        ):
            await one.publish("c", [b"1", b"2"])
            await one.publish("d", [b"3"])
            await one.publish("e", [b"4"])
            found = [await heard.get() for _ in range(5)]
        assert [item for item in found if item[:2] == ("one", "c")] == [("one", "c", b"1"), ("one", "c", b"2")]
        assert [item for item in found if item[1] == "d"] == [("one", "d", b"3")]
        assert [item for item in found if item[0] == "other"] == [("other", "c", b"1"), ("other", "c", b"2")]
        assert heard.empty()

    async def test_who_does_not_listen_any_more_hears_nothing(self, opened: Open) -> None:
        first: list[bytes] = []
        second: asyncio.Queue[bytes] = asyncio.Queue()
        async with opened() as backbone:
            async with backbone.listen("c", first.append):
                pass
            async with backbone.listen("c", second.put_nowait):
                await backbone.publish("c", [b"1"])
                assert await second.get() == b"1"
        assert first == []

    # -- the whole

    async def test_it_is_up_once_it_was_used(self, opened: Open) -> None:
        async with opened() as one, opened() as other:
            for backbone in (one, other):
                await backbone.announce("worker", "w", b"", LONG)
                assert backbone.is_up

    async def test_where_it_is_full_nothing_more_is_put_until_there_is_room(self, small: Open) -> None:
        async with small() as backbone:
            await backbone.open_box("b", LONG)
            ids: list[str] = []

            async def fill() -> None:
                while len(ids) < 100:
                    ids.extend(await backbone.put("q", [b"x" * 500_000]))

            with pytest.raises(BackboneFull):
                await fill()
            with pytest.raises(BackboneFull):
                await backbone.reply("b", [b"x" * 500_000])
            with pytest.raises(BackboneFull):
                await backbone.settle("b", [b"x" * 500_000], "q", ids)
            assert await backbone.holds("q", ids) == set(ids)
            assert backbone.is_up
            assert not await backbone.open_box("b", LONG)
            assert len(await take(backbone, most=100)) == len(ids) > 1
            await backbone.done("q", ids)
            assert await backbone.put("q", [b"x" * 500_000])
            assert await backbone.reply("b", [b"x"])
