"""Letters and cards: what is ours comes through whole, and what is not is refused, whatever it is."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fanout_messages import (
    FORMAT,
    MAX_WANTED,
    Card,
    Dropped,
    ForeignLetter,
    Letter,
    decode_card,
    decode_letter,
    encode,
    seal,
)
from pipeline.relayed import MAX_EMPTY, Packed, Relayed, unpack

CARD = Card(FORMAT, 3, {"m/*": 2}, 10.0, False, {"a": 3}, 7, 1)


def update(packed: Packed) -> bytes:
    return seal("a", 1, encode(Relayed("m/k", 1, 1, False, 1.5, "1", outputs={"y": packed})))


def test_letters_and_cards_come_through_whole() -> None:
    assert decode_letter(seal("a", 7, encode(Dropped(3)))) == Letter(FORMAT, "a", 7, Dropped(3))
    assert decode_card(encode(CARD)) == CARD


@pytest.mark.parametrize(
    "packed",
    [
        Packed("float33", [1], True, bytes(4)),
        Packed("string", [1], True, bytes(4)),
        Packed("float32", [2], True, bytes(4)),
        Packed("float32", [-1], True, bytes(4)),
        Packed("float32", [-1, -1], True, bytes(4)),
        Packed("float32", [1], True, "abcd"),
        Packed("float32", [1], True, [1.0]),
        Packed("float32", [0, MAX_EMPTY, 2], True, b""),
        Packed("float32", [1] * 65, True, bytes(4)),
        Packed("", [], True, b"bytes"),
        Packed("", [], True, {"a": 1}),
        Packed("", [], True, [[None]]),
        Packed("", [], True, msgspec.msgpack.Ext(1, b"")),
    ],
    ids=lambda packed: repr(packed).partition(" object at ")[0],
)
def test_a_tensor_that_cannot_be_shown_makes_a_letter_foreign(packed: Packed) -> None:
    with pytest.raises(ForeignLetter, match="y: expected"):
        decode_letter(update(packed))


def test_lists_may_not_be_nested_without_end() -> None:
    nested: Any = 1
    for _ in range(65):
        nested = [nested]
    with pytest.raises(ForeignLetter):
        decode_letter(update(Packed("", [], True, nested)))
    assert decode_letter(update(Packed("", [], True, nested[0])))


@given(
    dtype=st.sampled_from(["", "float32", "bfloat16", "bool", "string", "x"]),
    shape=st.lists(st.integers(-1, 3), max_size=4),
    data=st.one_of(st.binary(max_size=40), st.text(), st.recursive(st.integers(-9, 9), st.lists)),
)
def test_what_is_taken_can_be_shown(dtype: str, shape: list[int], data: Any) -> None:
    try:
        letter = decode_letter(update(Packed(dtype, shape, False, data)))
    except ForeignLetter:
        return
    assert isinstance(letter.body, Relayed)
    assert letter.body.outputs is not None
    for lists in (True, False):
        msgspec.json.encode(unpack(letter.body.outputs["y"], lists=lists))


@given(st.one_of(st.binary(max_size=60), st.builds(lambda at, byte: mutated(at, byte), st.integers(0), st.binary())))
def test_any_other_bytes_are_foreign_or_mean_something(payload: bytes) -> None:
    for decode in (decode_letter, decode_card):
        try:
            decode(payload)
        except ForeignLetter:
            continue


def mutated(at: int, piece: bytes) -> bytes:
    """Return a letter with other bytes at a place."""
    payload = update(Packed("float32", [1], True, bytes(4)))
    return payload[: at % len(payload)] + piece + payload[at % len(payload) + len(piece) :]


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"hz": math.nan},
        {"hz": 0.0},
        {"hz": 61.0},
        {"wants": {"no slash": 1}},
        {"wants": {"$stats": 1}},
        {"wants": {"$alerts": 1}},
        {"wants": {"m/" + "k" * 511: 1}},
        {"wants": {f"m/{n}": 1 for n in range(MAX_WANTED + 1)}},
        {"wants": {"m/*": "1"}},
        {"sent": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_card_that_cannot_be_kept_to_is_foreign(changes: dict[str, Any]) -> None:
    fields = {**msgspec.structs.asdict(CARD), **changes}
    with pytest.raises(ForeignLetter, match="no card"):
        decode_card(msgspec.msgpack.encode(fields))
