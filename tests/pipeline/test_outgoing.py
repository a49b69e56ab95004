"""What others want is relayed, once for all of them, and what they ask is answered."""

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.alert_messages import Alert
from pipeline.fanout_messages import FORMAT, Body, Card, Complete, Dropped, Ended, Raised, decode_letter
from pipeline.hub import Hub
from pipeline.messages import Prediction
from pipeline.observer import Sighting
from pipeline.outbox import Outbox
from pipeline.outgoing import Outgoing
from pipeline.relayed import Packed, Relayed, Remote

from .fanout_parts import OBSERVER
from .hub_parts import RecordingModel, flush


def sighting(value: Any) -> Sighting:
    shown = Sighting(OBSERVER)
    shown.answer = Prediction(outputs={"y": value})
    return shown


def card(*wants: str, number: int = 1, hz: float = 60.0, again: int = 0) -> Card:
    return Card(FORMAT, number, dict.fromkeys(wants, 1), hz, False, {"me": again} if again else {}, 0, 0)


class World:
    """A process `me` with some topics, of which others want some."""

    def __init__(self, *topics: str, enough: int = 50) -> None:
        self.hub = Hub()
        self.outbox = Outbox("me", enough=enough)
        self.outgoing = Outgoing(self.hub, self.outbox, "me", lambda: None)
        self.topics = {name: self.hub.topic(name) for name in topics}
        self.now = 0.0

    def publish(self, name: str, value: float) -> None:
        self.topics[name].publish(sighting(value))

    def flush(self) -> None:
        self.now += 1.0
        flush(self.hub, self.now)

    def take(self, cards: Mapping[str, Card]) -> list[Body]:
        """Show cards; return what is sent then."""
        self.outgoing.take_cards(cards)
        return self.sent()

    def sent(self) -> list[Body]:
        """Return what is sent of what there is."""
        bodies: list[Body] = []
        while True:
            self.flush()
            is_more = self.outgoing.fill()
            self.flush()
            if self.outbox.is_empty and not is_more:
                return bodies
            bodies += [decode_letter(letter).body for letter in self.outbox.letters()]
            self.outbox.confirm()

    def values(self) -> list[tuple[str, Any]]:
        """Return topics and values of what is sent."""
        return [value_of(body) for body in self.sent()]


def value_of(body: Body) -> tuple[str, Any]:
    assert isinstance(body, Relayed)
    assert body.outputs is not None
    packed: Packed = body.outputs["y"]
    return body.topic, packed.data if packed.dtype == "" else float(memoryview(packed.data).cast("d")[0])


def test_nothing_is_sent_while_nobody_wants_anything() -> None:
    world = World("m/a")
    world.publish("m/a", 1)
    assert world.take({}) == []
    assert world.take({"b": card()}) == []
    world.publish("m/a", 2)
    assert world.sent() == []


def test_what_there_is_is_sent_to_who_asks_and_once() -> None:
    world = World("m/a", "m/b", "n/a")
    for value, name in enumerate(world.topics):
        world.publish(name, value)
    assert list(map(value_of, world.take({"b": card("m/*")}))) == [("m/a", 0), ("m/b", 1)]
    assert world.take({"b": card("m/*")}) == []
    assert list(map(value_of, world.take({"b": card("m/*"), "c": card("m/b", "m/none")}))) == [("m/b", 1)]
    world.publish("m/b", 5)
    assert world.values() == [("m/b", 5)]


def test_a_change_of_what_is_wanted_loses_nothing_that_waits() -> None:
    world = World("m/a", "n/a")
    world.take({"b": card("m/a")})
    world.publish("m/a", 1)  # no flush before others want something else
    assert list(map(value_of, world.take({"b": card("m/a"), "c": card("x/*")}))) == [("m/a", 1)]


def test_models_notice_nothing_of_a_change_that_does_not_concern_them() -> None:
    world = World()
    model = RecordingModel("m")
    world.hub.add_model(model)
    world.take({"b": card("m/a")})
    world.take({"b": card("m/a"), "c": card("m/*", "n/*")})
    assert model.hubs == [world.hub]
    world.take({"c": card("n/*")})
    assert model.hubs == [world.hub, None]
    assert world.hub.choices == []


def test_who_asks_again_gets_everything_and_a_word_that_it_was() -> None:
    world = World("m/a", "m/b")
    world.publish("m/a", 1)
    world.take({"b": card("m/*")})
    world.outgoing.tell(alert(1))
    assert [type(body) for body in world.sent()] == [Raised]
    answer = world.take({"b": card("m/*", number=2, again=2)})
    assert [type(body) for body in answer] == [Raised, Relayed, Complete]
    assert answer[-1] == Complete("b", 2)
    assert world.take({"b": card("m/*", number=2, again=2)}) == []


def test_an_answer_leaves_room_for_others() -> None:
    world = World(*(f"m/{n}" for n in range(5000)))
    for value, name in enumerate(world.topics):
        world.publish(name, value)
    world.outgoing.take_cards({"b": card("m/*")})
    assert world.outgoing.fill()
    assert len(world.outbox) == 50
    assert len(world.sent()) == 5000


def test_a_full_outbox_makes_the_relay_wait_with_the_latest() -> None:
    world = World("m/a", "m/b", enough=2)
    world.take({"b": card("*/*")})
    for value in range(1, 10):
        world.publish("m/a", value)
        world.publish("m/b", value)
        world.flush()
    assert len(world.outbox) == 2
    bodies = world.sent()
    assert [value_of(body) for body in bodies if isinstance(body, Relayed)] == [
        ("m/a", 1),
        ("m/b", 1),
        ("m/a", 9),
        ("m/b", 9),
    ]
    assert [body for body in bodies if isinstance(body, Dropped)] == [Dropped(14)]


def test_alerts_are_not_sent_where_nobody_is() -> None:
    world = World()
    world.outgoing.tell(alert(1))  # who is there is not known yet
    assert world.take({}) == [Raised(1, alert(1))]
    world.outgoing.tell(alert(2))
    assert world.sent() == []
    world.take({"b": card()})
    world.outgoing.tell(alert(3))
    assert world.sent() == [Raised(2, alert(3))]


def alert(number: int) -> Alert:
    return Alert(ts=1.0, rule="r", model="m", version="1", key="k", topic="m/k", output="y", count=number)


def test_what_came_from_elsewhere_is_not_sent() -> None:
    world = World("m/a")
    world.take({"b": card("m/*")})
    topic = world.hub.admit("m/a")
    topic.publish(Remote("b", Relayed("m/a", 1, 1, False, 1.0, "1")))
    assert world.sent() == []
    assert world.take({"b": card("m/*", number=2, again=2)}) == [Complete("b", 2)]


def test_the_end_of_a_stream_whose_topic_goes_on_elsewhere_is_told() -> None:
    world = World("m/a")
    world.hub.on_left = world.outgoing.leave
    world.take({"b": card("m/*")})
    world.hub.admit("m/a")
    world.topics["m/a"].release()
    assert world.sent() == [Ended("m/a")]
    world.take({})
    world.hub.topic("m/a").release()
    assert world.sent() == []


def test_a_prediction_that_cannot_be_told_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    world = World("m/a", "m/b")
    world.publish("m/a", 1)
    world.topics["m/a"].publish(sighting({"no": "shape"}))
    world.publish("m/b", 2)
    assert list(map(value_of, world.take({"b": card("m/*")}))) == [("m/b", 2)]
    assert {record.message for record in caplog.records} == {"topic m/a could not be encoded"}
