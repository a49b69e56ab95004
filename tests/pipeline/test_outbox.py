"""Letters are numbered in order, kept until they are out, and bounded."""

from pipeline.alert_messages import Alert
from pipeline.fanout_messages import Dropped, Ended, Raised, decode_letter, encode
from pipeline.outbox import AT_ONCE, Outbox


def body(number: int) -> bytes:
    return encode(Ended(str(number)))


def taken(outbox: Outbox) -> list[tuple[int, object]]:
    """Return the numbers and bodies of what is to be sent."""
    return [(letter.number, letter.body) for letter in map(decode_letter, outbox.letters())]


def test_letters_are_the_same_until_they_are_out() -> None:
    outbox = Outbox("a")
    outbox.add(body(1))
    first = outbox.letters()
    outbox.add(body(2))
    assert outbox.letters() == first
    assert (outbox.sent, len(outbox)) == (0, 2)
    outbox.confirm()
    assert taken(outbox) == [(2, Ended("2"))]
    outbox.confirm()
    outbox.confirm()
    assert (outbox.sent, outbox.is_empty, outbox.letters()) == (2, True, [])


def test_a_call_has_only_so_many() -> None:
    outbox = Outbox("a")
    for number in range(AT_ONCE + 1):
        outbox.add(body(number))
    assert len(outbox.letters()) == AT_ONCE
    outbox.confirm()
    assert taken(outbox) == [(AT_ONCE + 1, Ended(str(AT_ONCE)))]


def test_what_was_passed_over_is_told_once() -> None:
    outbox = Outbox("a")
    outbox.pass_over(2)
    outbox.pass_over(3)
    assert taken(outbox) == [(1, Dropped(5))]
    outbox.confirm()
    assert (outbox.is_empty, outbox.dropped) == (True, 5)


def test_the_numbers_of_what_had_no_room_are_left_out() -> None:
    outbox = Outbox("a", enough=2, limit=3)
    for number in range(1, 6):
        assert outbox.is_full == (number > 2)
        outbox.add(body(number))
    assert taken(outbox) == [(3, Ended("3")), (4, Ended("4")), (5, Ended("5"))]
    outbox.confirm()
    assert (outbox.sent, outbox.dropped) == (5, 2)
    outbox.add(body(6))
    assert taken(outbox) == [(6, Ended("6"))]


def test_it_knows_which_alerts_are_out() -> None:
    outbox = Outbox("a")
    alert = Alert(ts=1.0, rule="r", model="m", version="1", key="k", topic="m/k", output="y", count=1)
    for number in (1, 2):
        outbox.raise_alert(Raised(number, alert))
    assert outbox.alerts == 0
    outbox.letters()
    outbox.confirm()
    assert outbox.alerts == 2
    outbox.add(body(1))
    outbox.letters()
    outbox.confirm()
    assert (outbox.alerts, outbox.sent) == (2, 3)
