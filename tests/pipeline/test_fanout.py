"""Who watches in one process sees what all of them predict, and pays for nothing else."""

import asyncio
import time
from typing import Any

import pytest

from pipeline.backbone import BackboneFull
from pipeline.fanout import CHANNEL, KIND
from pipeline.fanout_messages import Look, decode_letter, encode, seal
from pipeline.memory_backbone import MemoryBackbone
from pipeline.watch_messages import MAX_PATTERNS

from .fanout_parts import Process, processes, until
from .hub_parts import RecordingModel


class Tapped(MemoryBackbone):
    """A backbone of which a test sees what is published, and may slow it down."""

    def __init__(self) -> None:
        super().__init__()
        self.letters: list[Any] = []
        self.calls: list[int] = []
        self.way = asyncio.Event()
        self.way.set()

    async def publish(self, channel: str, payloads: Any) -> None:
        letters = [decode_letter(payload) for payload in payloads]
        if any(letter.number for letter in letters):
            self.calls.append(len(payloads))
            await self.way.wait()
        await super().publish(channel, payloads)
        self.letters += letters

    def topics(self) -> list[str]:
        """Return the topics of all updates that were sent."""
        return [letter.body.topic for letter in self.letters if hasattr(letter.body, "ts")]


async def test_a_watcher_sees_the_predictions_of_all_processes() -> None:
    async with processes(MemoryBackbone(), "abc") as (a, b, c):
        looker = c.watch("m/*")
        await until(lambda: a.is_relaying and b.is_relaying)
        a.publish("m/1", 1)
        b.publish("m/2", 2)
        c.publish("m/3", 3)
        await until(lambda: looker.latest == {"m/1": 1, "m/2": 2, "m/3": 3})
        a.publish("m/1", 10)
        await until(lambda: looker.latest["m/1"] == 10)
        assert not looker.gaps
        assert [message["n"] for message in looker.messages if message["topic"] == "m/1"] == [1, 2]


async def test_who_begins_to_watch_gets_the_latest_of_everywhere() -> None:
    async with processes(MemoryBackbone(), "ab") as (a, b):
        for key in range(1000):
            a.publish(f"m/{key}", key)
        first = b.watch("m/7", "m/no")
        await until(lambda: first.latest == {"m/7": 7})
        second = b.watch("*/*")
        await until(lambda: len(second.latest) == 1000)
        third = b.watch("m/1*")  # what b has already
        await until(lambda: len(third.latest) == 111)
        assert first.latest == {"m/7": 7}


async def test_only_what_somebody_elsewhere_watches_is_sent() -> None:
    backbone = Tapped()
    async with processes(backbone, "ab") as (a, b):
        model = RecordingModel("m")
        a.hub.add_model(model)
        here = a.watch("*/*")
        a.publish("m/1", 1)
        await until(lambda: here.latest)
        assert not backbone.calls
        assert not a.is_relaying
        there = b.watch("m/1")
        await until(lambda: there.latest == {"m/1": 1})
        a.publish("m/2", 2)
        a.publish("m/1", 3)
        await until(lambda: there.latest == {"m/1": 3})
        assert set(backbone.topics()) == {"m/1"}
        b.hub.leave(there)
        await until(lambda: not a.is_relaying)
        assert model.hubs == [a.hub]
        a.hub.leave(here)
        assert model.hubs == [a.hub, None]


async def test_a_model_is_observed_while_somebody_elsewhere_watches_it() -> None:
    async with processes(MemoryBackbone(), "ab") as (a, b):
        model, other = RecordingModel("m"), RecordingModel("other")
        a.hub.add_model(model)
        a.hub.add_model(other)
        looker = b.watch("m/*")
        await until(lambda: model.hubs == [a.hub])
        more = b.watch("m/*", "n/*")
        await until(lambda: a.fanout.peers.cards[b.fanout.name].wants.keys() == {"m/*", "n/*"})
        assert (model.hubs, other.hubs) == ([a.hub], [])
        assert (a.hub.watchers, b.hub.watchers) == (0, 2)
        b.hub.leave(looker)
        b.hub.leave(more)
        await until(lambda: model.hubs == [a.hub, None])


async def test_a_flush_is_one_call_with_one_message_per_topic() -> None:
    backbone = Tapped()
    async with processes(backbone, "abc") as (a, b, c):
        lookers = [b.watch("m/*"), b.watch("m/1"), b.watch("*/*", hz=1), c.watch("*/*"), c.watch("m/2*")]
        wanted = {"*/*"}  # by both
        await until(lambda: [card.wants.keys() for card in a.fanout.peers.cards.values()] == [wanted, wanted])
        await until(lambda: a.is_quiet)
        backbone.calls.clear()
        for key in range(40):
            for value in range(3):
                a.publish(f"m/{key}", value)
        await until(lambda: len(lookers[0].latest) == 40)
        await until(lambda: len(lookers[3].latest) == 40)
        assert backbone.calls == [40]
        assert sorted(backbone.topics()) == sorted(f"m/{key}" for key in range(40))


async def test_the_greatest_rate_that_is_wanted_is_kept() -> None:
    backbone = Tapped()
    async with processes(backbone, "ab") as (a, b):
        looker = b.watch("m/*", hz=5)
        await until(lambda: a.is_relaying)
        began = time.monotonic()
        while len(looker.messages) < 3:
            a.publish("m/1", 1)
            await asyncio.sleep(0.005)
        took = time.monotonic() - began
        assert took > 0.35
        assert len(backbone.topics()) <= took * 5 + 2


async def test_more_patterns_than_a_watcher_may_have_are_relayed() -> None:
    async with processes(MemoryBackbone(), "abc") as (a, b, c):
        lookers = [process.watch(f"m/{name}{n}") for process, name in ((b, "b"), (c, "c")) for n in range(MAX_PATTERNS)]
        await until(lambda: len(a.fanout.outgoing._wanted.texts) == 2 * MAX_PATTERNS)
        for n in range(MAX_PATTERNS):
            a.publish(f"m/b{n}", n)
            a.publish(f"m/c{n}", n)
        await until(lambda: all(looker.latest for looker in lookers))


async def test_a_topic_ends_everywhere() -> None:
    async with processes(MemoryBackbone(), "ab") as (a, b):
        looker = b.watch("m/*")
        await until(lambda: a.is_relaying)
        a.publish("m/1", 1)
        a.publish("m/2", 2)
        await until(lambda: len(looker.latest) == 2)
        a.end("m/1")
        await until(lambda: looker.ended == {"m/1": True, "m/2": False})
        a.publish("m/1", 3)
        await until(lambda: looker.ended == {"m/1": False, "m/2": False})
        assert looker.latest == {"m/1": 3, "m/2": 2}


async def test_a_key_that_moves_between_processes_is_one_topic() -> None:
    async with processes(MemoryBackbone(), "abc") as (a, b, c):
        lookers = [process.watch("m/*") for process in (a, b, c)]
        await until(lambda: all(process.is_relaying for process in (a, b, c)))
        a.publish("m/k", 1)
        await until(lambda: all(looker.latest == {"m/k": 1} for looker in lookers))
        b.publish("m/k", 2)
        await until(lambda: all(looker.latest == {"m/k": 2} for looker in lookers))
        a.end("m/k")
        await until(lambda: a.hub.topics["m/k"].guests == 1 and c.hub.topics["m/k"].guests == 1)
        b.publish("m/k", 3)
        await until(lambda: all(looker.latest == {"m/k": 3} for looker in lookers))
        assert not any(looker.ended["m/k"] for looker in lookers)
        b.end("m/k")
        await until(lambda: all(looker.ended["m/k"] for looker in lookers))
        assert all(process.hub.topics["m/k"].guests == 0 for process in (a, b, c))


async def test_what_came_from_elsewhere_goes_no_further() -> None:
    backbone = Tapped()
    async with processes(backbone, "abc") as (a, b, c):
        lookers = [process.watch("*/*") for process in (a, b, c)]
        await until(lambda: all(process.is_relaying for process in (a, b, c)))
        a.publish("m/1", 1)
        await until(lambda: all(looker.latest for looker in lookers))
        a.publish("m/1", 2)
        await until(lambda: all(looker.latest == {"m/1": 2} for looker in lookers))
        senders = {letter.sender for letter in backbone.letters if hasattr(letter.body, "ts")}
        assert senders == {a.fanout.name}
        assert [len(looker.messages) for looker in lookers] == [2, 2, 2]


async def test_nobody_keeps_what_nobody_watches_any_more() -> None:
    async with processes(MemoryBackbone(), "ab") as (a, b):
        looker = b.watch("m/*")
        await until(lambda: a.is_relaying)
        a.publish("m/1", 1)
        await until(lambda: looker.latest)
        b.hub.leave(looker)
        await until(lambda: "m/1" not in b.hub.topics)
        again = b.watch("m/1")
        await until(lambda: again.latest == {"m/1": 1})
        assert again.ended == {"m/1": False}


async def test_the_topics_of_a_process_end_with_it() -> None:
    backbone = MemoryBackbone()
    async with processes(backbone, "ab") as (a, b):
        looker = b.watch("m/*")
        third = await Process(backbone, "c").__aenter__()
        await until(lambda: third.is_relaying and a.is_relaying)
        a.publish("m/1", 1)
        third.publish("m/3", 3)
        await until(lambda: len(looker.latest) == 2)
        await third.__aexit__()
        await until(lambda: looker.ended == {"m/1": False, "m/3": True})
        await a.kill()
        await until(lambda: looker.ended == {"m/1": True, "m/3": True})
        assert not b.fanout.peers.cards
        assert not b.fanout.wants.again
        await a.__aenter__()  # for its end


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x91" * 5000,
        b"hello",
        encode(Look()),
        seal("x", 1, b"\x93\x00"),
        seal("x", 1, b"\x91\x63"),
        seal("x", 1, encode(Look()))[:1] + b"\x63" + seal("x", 1, encode(Look()))[2:],
        b"\x94\x01\xa1x\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xc0",
    ],
)
async def test_foreign_bytes_are_counted_and_ignored(payload: bytes) -> None:
    backbone = MemoryBackbone()
    async with processes(backbone, "ab") as (a, b):
        looker = b.watch("m/*")
        await backbone.announce(KIND, "x", payload, 60)
        await backbone.publish(CHANNEL, [payload, payload])
        await until(lambda: a.fanout.foreign >= 3 and b.fanout.foreign >= 3)
        await until(lambda: a.is_relaying)
        a.publish("m/1", 1)
        await until(lambda: looker.latest == {"m/1": 1})
        assert not looker.gaps


async def test_a_store_without_room_for_cards_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryBackbone):
        is_full = True

        async def announce(self, kind: str, member: str, card: bytes, ttl: float) -> None:
            if self.is_full:
                raise BackboneFull("no room")
            await super().announce(kind, member, card, ttl)

    backbone = Full()
    async with Process(backbone, "a") as a, Process(backbone, "b") as b:
        looker = b.watch("m/*")
        a.publish("m/1", 1)
        await until(lambda: len(caplog.records) == 2)
        backbone.is_full = False
        await until(lambda: looker.latest == {"m/1": 1})
    assert all("no room" in record.message for record in caplog.records)
