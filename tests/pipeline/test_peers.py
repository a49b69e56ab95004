"""Who has not been seen for a while is gone, but nobody is for what could not be read."""

from pipeline.fanout_messages import FORMAT, Card
from pipeline.peers import Peers

CARD = Card(FORMAT, 0, {}, 10.0, False, {}, 0, 0)


def test_who_shows_no_card_for_a_while_is_gone() -> None:
    peers = Peers(10.0)
    assert peers.update({"a": CARD, "b": CARD}, 0.0) == set()
    assert peers.update({"a": CARD}, 1.0) == set()
    assert peers.cards.keys() == {"a", "b"}
    assert peers.update({"a": CARD}, 10.9) == set()
    assert peers.update({"a": CARD}, 11.0) == {"b"}
    assert peers.cards.keys() == {"a"}
    assert peers.update({"a": CARD}, 12.0) == set()


def test_who_comes_back_in_time_was_not_gone() -> None:
    peers = Peers(10.0)
    peers.update({"a": CARD}, 0.0)
    peers.update({}, 1.0)
    peers.update({"a": CARD}, 10.0)
    assert peers.update({}, 12.0) == set()
    assert peers.update({}, 22.0) == {"a"}


def test_time_without_sight_does_not_count() -> None:
    peers = Peers(10.0)
    peers.update({"a": CARD}, 0.0)
    peers.update({}, 1.0)
    peers.look_away()
    assert peers.update({}, 100.0) == set()
    assert peers.update({}, 110.0) == {"a"}


def test_who_says_goodbye_is_gone_at_once() -> None:
    peers = Peers(10.0)
    peers.update({"a": CARD}, 0.0)
    peers.forget("a")
    peers.forget("b")
    assert peers.update({}, 20.0) == set()
