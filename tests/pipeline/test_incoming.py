"""What comes of others is shown once, and what does not come is noticed once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline import incoming as module
from pipeline.alert_messages import Alert
from pipeline.alerts import MAX_RECENT
from pipeline.fanout_messages import FORMAT, UNNUMBERED, Body, Bye, Card, Complete, Dropped, Ended, Letter, Look, Raised
from pipeline.hub import Hub
from pipeline.incoming import Incoming
from pipeline.relayed import Packed, Relayed
from pipeline.wants import Wants

from .fanout_parts import Looker
from .hub_parts import flush

EVERY = 1.0


@dataclass
class World:
    """A process `me` that watches `m/*`, and hears of `s`."""

    hub: Hub = field(default_factory=Hub)
    wants: Wants = field(default_factory=Wants)
    looker: Looker = field(default_factory=Looker)
    alerts: list[int] = field(default_factory=list)
    looks: int = 0
    gone: list[str] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.incoming = Incoming(self.hub, self.wants, "me", lambda alert: self.alerts.append(alert.count), every=EVERY)
        self.incoming.look = self.look
        self.incoming.on_bye = self.gone.append
        self.hub.subscribe(self.looker, ["m/*"], 60.0)
        self.wants.update(self.hub.choices)

    def look(self) -> None:
        self.looks += 1

    def hear(self, number: int, body: Body, sender: str = "s") -> None:
        self.incoming.take(Letter(FORMAT, sender, number, body))

    def see(self, seconds: float = EVERY, *, sent: int, alerts: int = 0, sender: str = "s") -> None:
        """Look at the sender's card after some time."""
        self.now += seconds
        cards: Mapping[str, Card] = {sender: Card(FORMAT, 0, {}, 1.0, False, {}, sent, alerts)}
        self.incoming.compare(cards, self.now)

    def shown(self) -> dict[str, Any]:
        self.now += EVERY
        flush(self.hub, self.now)
        return self.looker.latest


@pytest.fixture
def world() -> World:
    return World()


def update(
    key: str, at: int, value: float = 0.0, *, ended: bool = False, ts: float = 1.0, inputs: Any = None
) -> Relayed:
    outputs = {"y": Packed("", [], True, value)}
    return Relayed(f"m/{key}", at, at, ended, ts, "1", outputs=outputs, inputs=inputs)


def raised(number: int) -> Raised:
    return Raised(
        number, Alert(ts=1.0, rule="r", model="m", version="1", key="k", topic="m/k", output="y", count=number)
    )


def test_a_number_that_is_left_out_is_a_loss_and_is_asked_for(world: World) -> None:
    world.hear(1, update("a", 1))
    world.hear(2, update("a", 2))
    assert (world.looker.gaps, world.looks) == ([], 0)
    world.hear(5, update("a", 5))
    assert (world.looker.gaps, world.looks, world.incoming.lost) == ([(2, "backbone")], 1, 2)
    assert world.wants.again == {}
    world.see(sent=5)
    assert world.wants.again == {"s": 2}
    world.hear(3, update("a", 3))  # late
    world.hear(5, update("a", 5))  # again
    assert world.incoming.lost == 2


def test_losses_in_a_row_are_asked_for_once_in_a_while(world: World) -> None:
    for number in range(1, 20, 2):
        world.hear(number, update("a", number))
        world.see(0.1, sent=number)
    assert world.incoming.lost == 9
    assert world.wants.number == 2
    world.see(sent=19)
    assert world.wants.number == 3
    world.see(5.0, sent=19)
    assert world.wants.number == 3


def test_a_loss_that_nothing_follows_is_seen_by_the_card(world: World) -> None:
    world.hear(1, update("a", 1))
    world.see(sent=1)
    world.see(0.5, sent=4)
    world.see(0.5, sent=4)
    assert world.incoming.lost == 0  # they may be on their way
    world.see(0.9, sent=4)
    assert world.incoming.lost == 0
    world.see(0.1, sent=4)
    assert world.incoming.lost == 3
    world.see(5.0, sent=4)
    assert world.looker.gaps == [(3, "backbone")]


def test_what_was_sent_before_anybody_listened_is_asked_for_and_no_loss(world: World) -> None:
    world.hear(7, update("a", 7))
    world.see(sent=7)
    world.see(sent=9, sender="t")
    world.see(sent=0, sender="u")
    assert (world.incoming.lost, set(world.wants.again)) == (0, {"s", "t"})


def test_a_value_is_shown_once_and_never_an_older_one(world: World) -> None:
    world.hear(1, update("a", 5, 50))
    assert world.shown() == {"m/a": 50}
    world.hear(2, update("a", 5, 50))
    world.hear(3, update("a", 4, 40))
    assert world.shown() == {"m/a": 50}
    assert len(world.looker.messages) == 1
    world.hear(4, update("a", 5, 50, inputs={"x": Packed("", [], True, 1)}))  # now with inputs
    world.shown()
    assert len(world.looker.messages) == 2
    world.hear(5, update("a", 6, 60))
    assert world.shown() == {"m/a": 60}


def test_of_two_processes_with_a_key_the_newer_value_is_shown(world: World) -> None:
    world.hear(1, update("a", 5, 50, ts=20.0))
    world.hear(1, update("a", 900, 40, ts=10.0), sender="t")
    assert world.shown() == {"m/a": 50}
    world.hear(2, update("a", 901, 60, ts=21.0), sender="t")
    assert world.shown() == {"m/a": 60}
    world.hear(2, Ended("m/a"))
    world.shown()
    assert world.looker.ended == {"m/a": False}
    world.hear(3, update("a", 902, 60, ended=True, ts=21.0), sender="t")
    world.shown()
    assert world.looker.ended == {"m/a": True}


def test_an_end_that_was_told_is_not_told_again(world: World) -> None:
    world.hear(1, update("a", 5, 50, ended=True))
    assert world.shown() == {"m/a": 50}
    world.hear(2, update("a", 5, 50, ended=True))
    world.shown()
    assert [message.get("ended") for message in world.looker.messages] == [True]


def test_what_nobody_wants_is_not_kept(world: World) -> None:
    other = update("a", 1)
    other.topic = "n/a"
    world.hear(1, other)
    assert list(world.hub.topics) == ["$stats"]


def test_topics_that_an_answer_does_not_name_have_ended(world: World) -> None:
    world.hear(1, update("a", 1))
    world.hear(2, update("b", 2))
    world.hear(4, update("c", 3))
    world.see(sent=4)
    number = world.wants.again["s"]
    world.hear(5, update("a", 1))
    world.hear(6, Complete("other", number))
    world.hear(7, Complete("me", number - 1))
    world.shown()
    assert not any(world.looker.ended.values())
    world.hear(8, Complete("me", number))
    world.shown()
    assert world.looker.ended == {"m/a": False, "m/b": True, "m/c": True}


def test_what_a_sender_passed_over_is_told_once(world: World) -> None:
    world.hear(1, Dropped(7))
    world.hear(1, Dropped(7))
    assert world.looker.gaps == [(7, "backbone")]
    world.see(sent=1)
    assert world.wants.again == {}


def test_an_alert_is_noted_once_however_it_comes(world: World) -> None:
    world.see(sent=3, alerts=3)
    for number in (2, 3, 5, 5, 4, 6, 4):
        world.hear(4, raised(number))
    assert world.alerts == [5, 4, 6]
    last = 6 + 3 * MAX_RECENT
    for number in range(7, last + 1):
        world.hear(4, raised(number))
    for number in range(last - MAX_RECENT + 1, last + 1):
        world.hear(4, raised(number))
    assert world.alerts == [5, 4, *range(6, last + 1)]


def test_an_alert_may_be_the_first_that_is_heard(world: World) -> None:
    world.hear(8, raised(4))
    world.see(sent=8, alerts=4)
    for number in range(1, 6):
        world.hear(9, raised(number))
    assert world.alerts == [4, 5]


def test_who_says_goodbye_takes_its_topics_with_it(world: World) -> None:
    world.hear(1, update("a", 1))
    world.hear(UNNUMBERED, Bye())
    world.shown()
    assert (world.looker.ended, world.gone) == ({"m/a": True}, ["s"])
    world.hear(UNNUMBERED, Bye())
    assert world.gone == ["s"]


def test_what_one_says_oneself_is_passed_over(world: World) -> None:
    world.hear(5, update("a", 1), sender="me")
    assert world.incoming.received == 0
    assert world.shown() == {}


def test_a_look_is_asked_for_by_whomever(world: World) -> None:
    world.hear(UNNUMBERED, Look())
    world.hear(1, update("a", 1))
    world.hear(UNNUMBERED, Look())
    assert world.looks == 2


def test_senders_and_topics_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SENDERS", 2)
    monkeypatch.setattr(module, "MAX_TOPICS", 3)
    for sender in "abc":
        for key in "xy":
            world.hear(1, update(f"{sender}{key}", 1), sender=sender)
        world.see(sent=1, sender=sender)
    assert sorted(world.hub.topics) == ["$stats", "m/ax", "m/ay", "m/bx"]
    world.incoming.forget("a")
    world.hear(2, update("by", 2), sender="b")
    assert "m/by" in world.hub.topics
    world.incoming.close()
    world.shown()
    assert all(world.looker.ended.values())
