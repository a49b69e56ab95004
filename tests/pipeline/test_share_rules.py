"""The rules by which processes divide limits."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.share_rules import (
    FLOOR,
    FORMAT,
    SETTLED,
    Card,
    ForeignCard,
    Part,
    decode_card,
    encode_card,
    new_most,
    new_share,
)

PART = Part({"events_per_second": (12.5, 0.25)}, {"sockets": (3, 4)})


@pytest.mark.parametrize(
    ("now", "demand", "shown", "others", "processes", "share"),
    [
        (0.25, 0.0, 0, [], 1, 1.0),  # alone
        (1.0, 0.0, 0, [], 4, 0.25),  # nobody is asked
        (0.25, 50.0, 1, [], 4, 0.25),  # not before all have seen it
        (0.25, 50.0, SETTLED, [], 4, 0.925),  # all but the floor of the others
        (0.25, 0.0, 0, [(50.0, 0.925)], 4, 0.025),  # somebody else is asked
        (0.925, 50.0, SETTLED, [(50.0, 0.025)], 4, 0.475),  # a part is left to others at once
        (0.025, 50.0, SETTLED, [(50.0, 0.925)], 4, 0.025),  # and taken once it was left
        (0.025, 50.0, SETTLED, [(50.0, 0.475)], 4, 0.475),
        (0.1, 0.0, SETTLED, [(0.0, 0.1)], 2, 0.5),  # told for what is there at once, and no events
    ],
)
def test_a_share(
    now: float, demand: float, shown: int, others: list[tuple[float, float]], processes: int, share: float
) -> None:
    assert new_share(now, demand, shown, others, processes) == pytest.approx(share)


ROUNDS = st.lists(st.lists(st.sampled_from([0.0, 1.0, 10.0, 1000.0]), min_size=6, max_size=6), min_size=1, max_size=12)


@given(st.integers(1, 6), ROUNDS)
def test_those_who_look_at_the_same_time_never_have_more_than_all_and_use_all_of_it_in_the_end(
    processes: int, rounds: list[list[float]]
) -> None:
    shares, shown = [1 / processes] * processes, [0] * processes
    for demands in [*rounds, *[rounds[-1]] * 12]:
        shown = [count + 1 if demand else 0 for count, demand in zip(shown, demands, strict=False)]
        told = [(demand, share) for demand, share in zip(demands, shares, strict=False)]
        shares = [
            new_share(
                shares[own],
                demands[own],
                shown[own],
                [part for peer, part in enumerate(told) if peer != own and shown[peer]],
                processes,
            )
            for own in range(processes)
        ]
        assert sum(shares) <= 1 + 1e-9
        assert min(shares) >= FLOOR / processes - 1e-9
    assert sum(shares) == pytest.approx(1.0)
    total = sum(demands[:processes])
    for share, demand in zip(shares, demands, strict=False):
        part = demand / total if total else 1 / processes
        assert share == pytest.approx(FLOOR / processes + (1 - FLOOR) * part)


@pytest.mark.parametrize(
    ("now", "used", "shown", "others", "processes", "most"),
    [
        (1, 0, 0, [], 1, 10),
        (1, 4, 1, [], 1, 10),
        (0, 0, 0, [], 4, 1),  # what is left to the others is rounded up
        (3, 3, 1, [], 2, 3),  # not before all have seen it
        (3, 3, SETTLED, [], 2, 6),
        (2, 2, SETTLED, [(6, 7)], 2, 3),
        (2, 2, SETTLED, [(6, 8)], 2, 2),
        (8, 2, 1, [(6, 8)], 2, 2),  # a part is left to others at once
        (5, 5, SETTLED, [(5, 5)], 2, 5),
        (5, 5, SETTLED, [(9, 9)], 2, 5),
        (5, 0, 0, [(10, 10)], 2, 0),
    ],
)
def test_what_is_left_of_a_count_of_ten_is_divided(
    now: int, used: int, shown: int, others: list[tuple[int, int]], processes: int, most: int
) -> None:
    assert new_most(now, used, shown, others, 10, processes) == most


def test_a_card_travels() -> None:
    card = Card(FORMAT, {"identity": {"acme": PART}, "address": {}})
    assert decode_card(encode_card(card)) == card


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff",
        b"\x91" * 5000,
        encode_card(Card(FORMAT + 1, {})),
        encode_card(Card(FORMAT, {"identity": {"acme": Part({"events_per_second": (-1.0, 0.5)}, {})}})),
    ],
)
def test_foreign_bytes_are_no_card(payload: bytes) -> None:
    with pytest.raises(ForeignCard):
        decode_card(payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_card_or_foreign(payload: bytes) -> None:
    with contextlib.suppress(ForeignCard):
        assert decode_card(payload).format == FORMAT
