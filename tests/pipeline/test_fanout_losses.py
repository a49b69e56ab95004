"""Whatever the backbone loses, watchers end with the latest of everything, and know how much they have missed."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.fanout_messages import Complete, decode_letter
from pipeline.memory_backbone import MemoryBackbone
from pipeline.outgoing import RelayFormat

from .fanout_parts import Process, processes, until
from .test_fanout import Tapped

NAMES = "abc"
QUICK = 0.02  # seconds between two looks


class Unreliable(MemoryBackbone):
    """Loses letters on the way to each, delivers some twice or late, and counts what is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf: set[int] = set()  # listeners that hear nothing now
        self.late: list[tuple[int, bytes]] = []
        self.is_late = False
        self.drops = 0  # numbered letters that nobody will hear

    async def publish(self, channel: str, payloads: Sequence[bytes]) -> None:
        self._check()
        loop = asyncio.get_running_loop()
        if self.drops and decode_letter(payloads[0]).number:
            lost = min(self.drops, len(payloads))
            self.drops, payloads = self.drops - lost, payloads[lost:]
        for at, listener in enumerate(list(self._listeners)):
            for payload in payloads:
                if at in self.deaf:
                    continue
                if self.is_late:
                    self.late.append((at, payload))
                else:
                    loop.call_soon(self._hand, listener, payload)

    def deliver_late(self) -> None:
        """Deliver what is late, the last first."""
        self.is_late = False
        late, self.late = self.late, []
        for at, payload in reversed(late):
            self._hand(self._listeners[at], payload)


OPS = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(NAMES), st.sampled_from("xyz")),
    st.tuples(st.just("end"), st.sampled_from(NAMES), st.sampled_from("xyz")),
    st.tuples(st.sampled_from(["deafen", "hear"]), st.sampled_from(NAMES), st.none()),
    st.tuples(st.sampled_from(["down", "back", "forget", "late", "in time", "wait"]), st.none(), st.none()),
)


async def play(ops: list[tuple[str, Any, Any]]) -> None:
    backbone = Unreliable()
    async with processes(backbone, NAMES, every=QUICK, ttl=5.0) as started:
        by_name = dict(zip(NAMES, started, strict=True))
        lookers = {name: process.watch("m/*") for name, process in by_name.items()}
        await until(lambda: all(process.is_relaying for process in started))
        latest: dict[str, float] = {}
        live: dict[str, bool] = {}
        for value, (op, name, key) in enumerate(ops):
            topic = f"m/{name}{key}"
            match op:
                case "publish":
                    by_name[name].publish(topic, value)
                    latest[topic], live[topic] = value, True
                case "end" if live.get(topic):
                    by_name[name].end(topic)
                    live[topic] = False
                case "deafen":
                    backbone.deaf.add(NAMES.index(name))
                case "hear":
                    backbone.deaf.discard(NAMES.index(name))
                case "down":
                    backbone.go_down()
                case "back":
                    backbone.come_back()
                case "forget":
                    backbone.forget()
                case "late":
                    backbone.is_late = True
                case "in time":
                    backbone.deliver_late()
                case "wait":
                    await asyncio.sleep(QUICK)  # not for anything: so that things come to be between
        backbone.come_back()
        backbone.deaf.clear()
        backbone.deliver_late()

        def is_settled(process: Process, name: str) -> bool:
            seen, ended = lookers[name].latest, lookers[name].ended
            return all(
                seen.get(topic) == value and ended[topic] is not live[topic]
                if live[topic] or topic in seen
                else True  # it began and ended unseen
                for topic, value in latest.items()
            ) and all(topic in seen for topic in latest if live[topic])

        await until(lambda: all(is_settled(process, name) for name, process in by_name.items()))
        for name, process in by_name.items():
            assert lookers[name].lost == process.fanout.incoming.lost
            for shared in process.hub.topics.values():
                assert shared.guests == (shared.name in latest and live[shared.name] and shared.name[2] != name)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPS, max_size=40))
def test_watchers_end_with_the_latest_whatever_is_lost(ops: list[tuple[str, Any, Any]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await play(ops)

    asyncio.run(bounded())


async def test_what_was_lost_is_counted_to_the_letter_and_comes_again() -> None:
    backbone = Unreliable()
    async with processes(backbone, "ab", every=QUICK) as (a, b):
        looker, stats = b.watch("m/*"), b.watch("$stats")
        await until(lambda: a.is_quiet)
        a.publish("m/1", 1)
        await until(lambda: looker.latest == {"m/1": 1} and a.is_quiet)
        backbone.drops = 5
        for key in range(1, 6):
            a.publish(f"m/{key}", 2)
        await until(lambda: looker.latest == {f"m/{key}": 2 for key in range(1, 6)})  # though nothing new was published
        assert (looker.lost, stats.gaps, b.fanout.incoming.lost) == (5, [], 5)
        assert [message["n"] for message in looker.messages if message["topic"] == "m/1"] == [1, 2]


async def test_a_slow_backbone_slows_nobody_and_costs_what_it_could_not_carry() -> None:
    backbone = Tapped()
    async with processes(backbone, "ab") as (a, b):
        near, far = a.watch("m/*"), b.watch("m/*")
        await until(lambda: a.is_quiet)
        (audience,) = (one for one in a.hub._audiences.values() if isinstance(one.format, RelayFormat))
        backbone.way.clear()
        for value in range(20):
            for key in range(200):
                a.publish(f"m/{key}", value)
            wanted = 200 * (value + 1)
            await until(lambda wanted=wanted: len(near.messages) == audience.sent == wanted)  # type: ignore[misc]
        assert not far.messages
        assert len(a.fanout.outbox) < 1500
        backbone.way.set()
        await until(lambda: set(far.latest.values()) == {19.0} and len(far.latest) == 200)
        assert not near.gaps
        await until(lambda: far.gaps)
        assert far.lost == a.fanout.outbox.dropped == b.fanout.incoming.lost
        relayed = len(backbone.topics())
        assert relayed + a.fanout.outbox.dropped == 20 * 200


async def test_a_backbone_that_is_away_at_the_start_and_later_is_waited_for() -> None:
    backbone = MemoryBackbone()
    backbone.go_down()
    async with Process(backbone, "a") as a, Process(backbone, "b") as b:
        near, far = a.watch("m/*"), b.watch("m/*")
        a.publish("m/1", 1)
        await until(lambda: near.latest == {"m/1": 1})
        backbone.come_back()
        await until(lambda: far.latest == {"m/1": 1})
        backbone.go_down()
        backbone.forget()
        for value in range(2, 100):
            a.publish("m/1", value)
            await until(lambda value=value: near.latest == {"m/1": value})  # type: ignore[misc]
        backbone.come_back()
        await until(lambda: far.latest == {"m/1": 99})
        assert far.ended == {"m/1": False}


async def test_whoever_cannot_say_goodbye_does_not_wait_for_it() -> None:
    class Hanging(MemoryBackbone):
        async def withdraw(self, kind: str, member: str) -> None:
            await asyncio.Event().wait()

    backbone = Hanging()
    async with processes(backbone, "ab"):
        pass
    backbone.go_down()
    async with Process(backbone, "c"):
        pass


async def test_what_was_asked_for_again_is_answered_once() -> None:
    backbone = Tapped()
    async with processes(backbone, "ab", every=QUICK) as (a, b):
        looker = b.watch("m/*")
        a.publish("m/1", 1)
        await until(lambda: looker.latest)
        b.fanout.incoming._senders[a.fanout.name].must_ask = True
        await until(lambda: any(isinstance(letter.body, Complete) for letter in backbone.letters))
        asked = b.fanout.wants.again[a.fanout.name]
        await until(lambda: a.fanout.peers.cards[b.fanout.name].number == asked)
        assert sum(isinstance(letter.body, Complete) for letter in backbone.letters) == 1
        assert len(looker.messages) == 1
