"""Tallies: what was counted arrives in rows and totals once, within bounds."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.usage import HOUR, OTHER, Tally, Usage, UsageRow, events_of, hour_of, month_of


def test_what_is_counted_becomes_a_row_and_a_total() -> None:
    usage = Usage()
    tally = usage.open("acme", "activity")
    tally.events += 3
    tally.bytes += 300
    tally.predictions += 2
    tally.errors += 1
    tally.compute_seconds += 0.5
    usage.fold(0)
    assert usage.rows() == [UsageRow(0, "acme", "activity", 3, 2, 1, 300, 0.5)]
    tally.events += 1
    usage.fold(0)
    usage.fold(HOUR)
    assert usage.take(10) == [UsageRow(0, "acme", "activity", 4, 2, 1, 300, 0.5)]
    assert usage.rows() == []
    total = usage.totals["acme", "activity"]
    assert (total.events, total.predictions, total.errors, total.bytes, total.compute_seconds) == (4, 2, 1, 300, 0.5)
    assert "tallies=1 rows=0 labels=1" in repr(usage)
    assert repr(tally) == "<Tally 'acme' 'activity' events=0 users=1>"


def test_the_same_pair_shares_a_tally_which_is_forgotten_once_nobody_has_it_and_it_is_folded() -> None:
    usage = Usage()
    first, second = usage.open("acme", "m"), usage.open("acme", "m")
    assert first is second
    usage.close(first)
    usage.fold(0)
    assert usage.open("acme", "m") is second
    usage.close(second)
    usage.close(second)
    second.events += 1
    usage.fold(0)
    assert events_of(usage.rows(), 0) == {"acme": 1}
    usage.fold(0)
    assert "tallies=0" in repr(usage)
    assert usage.open("acme", "m") is not second


def test_rows_that_could_not_be_written_are_kept() -> None:
    usage = Usage()
    tally = usage.open("acme", "m")
    tally.events += 1
    usage.fold(0)
    rows = usage.take(10)
    tally.events += 2
    usage.fold(0)
    usage.put_back(rows)
    assert events_of(usage.rows(), 0) == {"acme": 3}
    assert events_of(usage.rows(), HOUR) == {}


def test_beyond_the_bounds_everything_counts_as_other() -> None:
    usage = Usage(most_tallies=3, most_rows=4, most_labels=2)
    for number in range(10):
        usage.open(f"id{number}", "m").events += 1
    for hour in range(3):
        usage.fold(hour * HOUR)
        for number in range(10):
            usage.open(f"id{number}", "m").events += 1
    usage.fold(3 * HOUR)
    rows = usage.rows()
    assert sum(row.events for row in rows) == 40
    assert len(rows) <= 4 + 3, "one row of others an hour beyond the bound"
    assert (0, OTHER, "m") in {row[:3] for row in rows}
    assert {identity for identity, _ in usage.totals} == {"id0", "id1", OTHER}
    assert sum(total.events for total in usage.totals.values()) == 40


NAMES = st.sampled_from(["a", "b", "c", "d", OTHER])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), NAMES, NAMES, st.integers(0, 5)),
        st.tuples(st.just("fold"), st.integers(0, 3)),
        st.tuples(st.just("write"), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("close"), st.integers(0, 20)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))
def test_nothing_is_lost_or_counted_twice(
    steps: list[tuple[object, ...]], tallies: int, rows: int, labels: int
) -> None:
    usage = Usage(most_tallies=tallies, most_rows=rows, most_labels=labels)
    opened: list[Tally] = []
    counted, written = 0, Counter[str]()
    for step in steps:
        match step:
            case ("count", str(identity), str(model), int(events)):
                tally = usage.open(identity, model)
                tally.events += events
                counted += events
                opened.append(tally)
            case ("close", int(index)) if index < len(opened):
                usage.close(opened.pop(index))
            case ("fold", int(hour)):
                usage.fold(hour * HOUR)
            case ("write", int(most), bool(succeeds)):
                taken = usage.take(most)
                if succeeds:
                    written.update(events_of(taken, 0))
                else:
                    usage.put_back(taken)
    usage.fold(0)
    written.update(events_of(usage.take(1000), 0))
    assert written.total() == counted
    assert sum(total.events for total in usage.totals.values()) == counted
    assert len({identity for identity, _ in usage.totals}) <= labels + 1


@pytest.mark.parametrize(
    ("now", "first", "after"),
    [
        ("2026-11-21T22:30:00", "2026-11-01", "2026-12-01"),
        ("2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("2028-02-01T00:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_months_are_those_of_the_calendar(now: str, first: str, after: str) -> None:
    def seconds(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert month_of(seconds(now)) == (seconds(first), seconds(after))
    assert hour_of(seconds(now)) == seconds(now[:13] + ":00:00")
