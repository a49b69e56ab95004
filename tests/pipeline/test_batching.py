"""The batcher with its clock in the test's hands: examples, then random histories against a plain list."""

import math
import time
import weakref
from typing import Any

import pytest

from pipeline.batching import NEVER, BatchPolicy, Job, MicroBatcher
from pipeline.errors import ModelUnavailable, Overloaded
from pipeline.tensors import Shapes


class Owner:
    """Whose row it is; lives as long as a job of it is remembered."""

    outlet: Any = None

    @property
    def source(self) -> Any:
        return self if self.outlet is None else self.outlet


def job(
    number: int = 0, *, at: float = 0.0, shapes: Shapes | None = None, deadline: float = NEVER, outlet: Any = None
) -> Job:
    owner = Owner()
    owner.outlet = outlet
    return Job(owner, number, (b"row",), at, shapes, deadline, True)


def filled(policy: BatchPolicy, count: int) -> tuple[MicroBatcher, list[Job]]:
    batcher = MicroBatcher(policy)
    jobs = [job(number, at=float(number)) for number in range(count)]
    for each in jobs:
        batcher.offer(each)
    return batcher, jobs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size: expected at least 1"),
        ({"max_queue_size": 0}, "max_queue_size: expected at least 1"),
        ({"max_queue_delay": -0.001}, "max_queue_delay: expected 0 to 60 seconds"),
        ({"max_queue_delay": 60.001}, "max_queue_delay: expected 0 to 60 seconds"),
        ({"max_queue_delay": math.nan}, "max_queue_delay: expected 0 to 60 seconds"),
        (
            {"max_batch_size": 8, "preferred_batch_sizes": (4, 4)},
            r"preferred_batch_sizes: expected ascending sizes from 1 to max_batch_size \(8\)",
        ),
        (
            {"max_batch_size": 8, "preferred_batch_sizes": (0, 4)},
            r"preferred_batch_sizes: expected ascending sizes from 1 to max_batch_size \(8\)",
        ),
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (8, 9)},
            r"allowed_batch_sizes: expected ascending sizes from 1 to max_batch_size \(8\)",
        ),
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (1, 4)},
            r"allowed_batch_sizes: expected max_batch_size \(8\) to be the last",
        ),
        ({"priority_levels": 256}, "priority_levels: expected 0 to 255"),
        ({"priority_levels": 3}, r"default_priority_level: expected 1 to 3 \(priority_levels\)"),
        (
            {"priority_levels": 3, "default_priority_level": 4},
            r"default_priority_level: expected 1 to 3 \(priority_levels\)",
        ),
        ({"default_priority_level": 1}, r"default_priority_level: expected 0 to 0 \(priority_levels\)"),
    ],
)
def test_a_policy_that_makes_no_sense_names_the_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        BatchPolicy(**options)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_batches_are_full_but_for_the_last_and_keep_the_order(count: int) -> None:
    batcher, jobs = filled(BatchPolicy(max_batch_size=3), count)
    batches = []
    while batch := batcher.take():
        batches.append(batch)
    assert batches == [jobs[at : at + 3] for at in range(0, count, 3)]
    assert not any(each.queued for each in jobs)


def test_a_full_queue_refuses_and_changes_nothing() -> None:
    batcher, jobs = filled(BatchPolicy(max_queue_size=2), 2)
    batcher.asleep = True
    batcher.wake = batcher.wake_earlier = pytest.fail
    with pytest.raises(Overloaded, match=r"queue is full \(2 rows\)") as caught:
        batcher.offer(job(deadline=-1.0))
    assert caught.value.retry_after_ms
    assert (len(batcher), batcher.room, batcher.asleep, batcher.next_deadline) == (2, 0, True, NEVER)
    assert batcher.take() == jobs


def test_cancelled_and_taken_rows_make_room() -> None:
    batcher, jobs = filled(BatchPolicy(max_queue_size=2, max_batch_size=1), 2)
    assert batcher.cancel(jobs[1])
    assert batcher.room == 1
    batcher.offer(job())
    batcher.take()
    assert batcher.room == 1


def test_a_closed_batcher_refuses_rows_and_gives_back_those_that_wait() -> None:
    batcher, jobs = filled(BatchPolicy(), 2)
    batcher.close()
    with pytest.raises(ModelUnavailable):
        batcher.offer(job())
    assert batcher.take() == jobs
    with pytest.raises(ModelUnavailable):
        batcher.offer(job())
    assert batcher.take() == []


def test_a_row_is_cancelled_once_and_only_while_it_waits() -> None:
    batcher, (first, second, third) = filled(BatchPolicy(max_batch_size=1), 3)
    assert batcher.cancel(second)
    assert not batcher.cancel(second)
    assert batcher.take() == [first]
    assert not batcher.cancel(first)
    assert batcher.take() == [third]


def test_rows_share_a_batch_with_the_oldest_of_their_shape() -> None:
    batcher = MicroBatcher(BatchPolicy(max_batch_size=2, grouped=True))
    small, large = ((2,),), ((9,),)
    jobs = [job(number, shapes=shapes) for number, shapes in enumerate([small, large, small, small, large])]
    for each in jobs:
        batcher.offer(each)
    batches = [[each.number for each in batcher.take()] for _ in range(4)]
    assert batches == [[0, 2], [1, 4], [3], []]


def test_without_grouping_shapes_do_not_matter() -> None:
    batcher = MicroBatcher(BatchPolicy())
    jobs = [job(shapes=((n,),)) for n in range(3)]
    for each in jobs:
        batcher.offer(each)
    assert batcher.take() == jobs


def test_without_a_delay_a_batch_is_due_as_soon_as_a_row_waits() -> None:
    batcher, jobs = filled(BatchPolicy(), 1)
    assert batcher.due_at() == -math.inf
    batcher.cancel(jobs[0])
    assert batcher.due_at() == NEVER


def test_with_a_delay_a_batch_is_due_when_it_is_full_or_its_oldest_row_has_waited_long_enough() -> None:
    policy = BatchPolicy(max_batch_size=3, max_queue_delay=0.5)
    batcher, (_first, *_) = filled(policy, 2)
    assert batcher.due_at() == 0.5
    batcher.cancel(_first)
    assert batcher.due_at() == 1.5
    full, _ = filled(policy, 3)
    assert full.due_at() == -math.inf
    full.take()
    assert full.due_at() == NEVER


def test_a_preferred_size_that_is_reached_leaves_at_once_and_the_rest_waits_on() -> None:
    policy = BatchPolicy(max_batch_size=16, max_queue_delay=10.0, preferred_batch_sizes=(4, 8))
    batcher = MicroBatcher(policy)
    seen = []
    for number in range(16):
        batcher.offer(job(number, at=float(number) / 4))
        seen.append(batcher.due_rows(number / 4))
    assert seen == [0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16]
    assert len(batcher.take(8)) == 8
    assert batcher.due_rows(4.0) == 8
    batcher.take(4)
    batcher.take(2)
    assert (batcher.due_at(), batcher.due_rows(13.0), batcher.due_rows(13.5)) == (14 / 4 + 10, 0, 2)
    assert BatchPolicy(preferred_batch_sizes=(4,)).preferred(3) == 0
    without_delay, _ = filled(BatchPolicy(preferred_batch_sizes=(4,)), 6)
    assert without_delay.due_rows(0.0) == 6


def test_a_run_is_padded_to_the_next_allowed_size() -> None:
    policy = BatchPolicy(max_batch_size=16, allowed_batch_sizes=(1, 4, 16))
    assert [policy.padded(rows) for rows in (1, 2, 4, 5, 16)] == [1, 4, 4, 16, 16]
    assert BatchPolicy().padded(7) == 7


def test_a_source_that_floods_gets_half_of_the_queue_and_leaves_room_for_all_who_come_later() -> None:
    batcher = MicroBatcher(BatchPolicy(max_batch_size=4, max_queue_size=60))
    accepted = {}
    for outlet in ("first", "second", "third"):
        accepted[outlet] = 0
        while batcher.room_for(outlet):
            batcher.offer(job(outlet=outlet))
            accepted[outlet] += 1
        with pytest.raises(Overloaded, match="share of the model's queue is full"):
            batcher.offer(job(outlet=outlet))
    assert accepted == {"first": 30, "second": 15, "third": 8}
    assert batcher.room == 7
    batcher.offer(job(outlet="polite"))
    assert batcher.room_for("polite") == 3
    assert batcher.room_for("first") == 0


def test_up_to_a_full_batch_no_source_is_refused() -> None:
    batcher = MicroBatcher(BatchPolicy(max_batch_size=8, max_queue_size=9))
    for number in range(8):
        assert batcher.room_for("alone") >= 1
        batcher.offer(job(number, outlet="alone"))
    with pytest.raises(Overloaded):
        batcher.offer(job(outlet="alone"))
    batcher.offer(job(outlet="other"))
    with pytest.raises(Overloaded, match=r"queue is full \(9 rows\)"):
        batcher.offer(job(outlet="third"))


def test_a_row_that_replaces_a_cancelled_one_keeps_its_sources_turn() -> None:
    batcher = MicroBatcher(BatchPolicy(max_batch_size=1))
    first = job(0, outlet="latest")
    batcher.offer(first)
    for number in (1, 2, 3):
        batcher.offer(job(number, outlet=number))
    batcher.cancel(first)
    batcher.offer(job(4, outlet="latest"))
    assert [batcher.take()[0].number for _ in range(4)] == [4, 1, 2, 3]


def quickest_take(backlog: int) -> float:
    """Return the seconds of the quickest of many batches from a backlog of 5000 sources."""
    batcher = MicroBatcher(BatchPolicy(max_batch_size=16, max_queue_size=10 * backlog))
    owners = [Owner() for _ in range(5000)]
    for number in range(backlog):
        batcher.offer(Job(owners[number % 5000], number, (b"",), 0.0, None, 1e9 + number, True))
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        assert len(batcher.take()) == 16
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def test_taking_a_batch_costs_no_more_from_a_long_backlog_than_from_a_short_one() -> None:
    assert quickest_take(50_000) < 10 * quickest_take(1_000)


def test_a_row_expires_at_its_deadline_and_not_before() -> None:
    batcher = MicroBatcher(BatchPolicy())
    soon, late, never = (job(deadline=at) for at in (1.0, 2.0, NEVER))
    for each in (late, soon, never):
        batcher.offer(each)
    assert batcher.expire(0.999) == []
    assert batcher.expire(1.0) == [soon]
    assert batcher.next_deadline == 2.0
    assert batcher.expire(1e9) == [late]
    assert batcher.next_deadline == NEVER
    assert not batcher.cancel(soon)
    assert batcher.take() == [never]


def test_cancelled_rows_do_not_expire() -> None:
    batcher = MicroBatcher(BatchPolicy())
    jobs = [job(deadline=float(n)) for n in range(5)]
    for each in jobs:
        batcher.offer(each)
    batcher.cancel(jobs[1])
    assert batcher.expire(2.0) == [jobs[0], jobs[2]]
    assert len(batcher) == 2


def test_the_engine_is_woken_once_until_it_sleeps_again() -> None:
    calls: list[str] = []
    batcher = MicroBatcher(BatchPolicy(), lambda: calls.append("wake"))
    batcher.offer(job())
    batcher.offer(job())
    assert (calls, batcher.asleep) == (["wake"], False)
    batcher.asleep = True
    batcher.offer(job())
    assert calls == ["wake", "wake"]


def test_the_engine_hears_of_a_deadline_before_all_others_and_of_no_other() -> None:
    heard: list[float] = []
    batcher = MicroBatcher(BatchPolicy(), wake_earlier=lambda: heard.append(batcher.next_deadline))
    for deadline in (5.0, 7.0, 5.0, 3.0, NEVER, 4.0, 1.0):
        batcher.offer(job(deadline=deadline))
    assert heard == [5.0, 3.0, 1.0]


def test_rows_that_come_and_are_cancelled_do_not_pile_up() -> None:
    batcher = MicroBatcher(BatchPolicy(max_queue_size=8))
    remembered: weakref.WeakSet[Owner] = weakref.WeakSet()
    waiting: list[Job] = []
    for number in range(2000):
        new = job(number)
        remembered.add(new.owner)
        batcher.offer(new)
        waiting.append(new)
        if len(waiting) == 8:
            for at in (6, 4, 2) if number % 3 else (5, 0):
                batcher.cancel(waiting.pop(at))
        del new
        assert len(remembered) <= 2 * 8
    assert batcher.take() == waiting


def test_the_counts_are_shown() -> None:
    batcher, jobs = filled(BatchPolicy(max_queue_size=9), 3)
    batcher.cancel(jobs[0])
    assert repr(batcher) == "<MicroBatcher queued=2/9>"
