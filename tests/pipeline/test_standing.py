"""Standing orders: the last one for each model, whoever tells of it and in whatever order."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.orders import ForeignOrder
from pipeline.standing import FORMAT, MOST_MARKS, Mark, Standing, decode_card, encode_card

marks = st.builds(Mark, st.integers(0, 3), st.booleans(), st.sampled_from("xy"))
told = st.lists(st.dictionaries(st.sampled_from("mno"), marks), max_size=6)


@given(told, st.randoms())
def test_all_who_hear_the_same_know_the_same(heard: list[dict[str, Mark]], random: Any) -> None:
    one, other = Standing(), Standing()
    for card in heard:
        one.merge(card)
    random.shuffle(heard)
    for card in [*heard, *heard]:
        other.merge(card)
    assert one.marks == other.marks
    assert not other.merge(one.marks), "which is no news"


def test_the_last_order_counts_and_is_told_once() -> None:
    standing, changes = Standing(), []
    standing.on_change = lambda: changes.append(dict(standing.marks))
    drain, resume = Mark(5, True, "root"), Mark(6, False, "root")
    assert standing.note("m", drain)
    assert repr(standing) == "<Standing ['m']>"
    assert standing.note("m", resume)
    assert not standing.note("m", drain)
    assert not standing.note("m", resume)
    assert changes == [{"m": drain}, {"m": resume}]
    assert repr(standing) == "<Standing []>"


def test_what_others_tell_is_not_told_to_them_again() -> None:
    standing = Standing()
    standing.on_change = lambda: pytest.fail("told")
    assert standing.merge({"m": Mark(5, True, "root")})
    assert not standing.merge({"m": Mark(5, True, "root")})
    standing.follow()


def test_an_order_is_later_than_all_that_are_known() -> None:
    standing = Standing()
    assert standing.next(1.5) == 1500
    standing.note("m", Mark(1600, True, "root"))
    assert (standing.next(1.5), standing.next(1.7)) == (1601, 1700)


def test_the_oldest_are_forgotten() -> None:
    standing = Standing()
    for number in range(MOST_MARKS + 1):
        standing.note(f"m{number}", Mark(number, True, "root"))
    assert len(standing.marks) == MOST_MARKS
    assert "m0" not in standing.marks
    assert decode_card(encode_card(standing.marks)) == standing.marks


@pytest.mark.parametrize(
    "wrong",
    [
        [FORMAT + 1, {}],
        [FORMAT, {str(number): [1, True, ""] for number in range(MOST_MARKS + 1)}],
        [FORMAT, {"m": [-1, True, "root"]}],
        [FORMAT, {"m": [1, 1, "root"]}],
        [FORMAT, {"m": [1, True, "root", 0]}],
        [FORMAT, {"m" * 257: [1, True, "root"]}],
        [FORMAT, []],
        [FORMAT],
        {},
    ],
    ids=lambda wrong: repr(wrong)[:60],
)
def test_what_is_no_card_is_foreign(wrong: Any) -> None:
    with pytest.raises(ForeignOrder, match="no card: "):
        decode_card(msgspec.msgpack.encode(wrong))


@given(st.binary(max_size=200))
def test_bytes_are_a_card_or_foreign(payload: bytes) -> None:
    try:
        decode_card(payload)
    except ForeignOrder:
        return
