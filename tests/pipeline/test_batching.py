"""The batcher with its clock in the test's hands: examples, then random histories against a plain list."""

import math
import weakref
from typing import Any

import pytest

from pipeline.batching import NEVER, BatchPolicy, Job, MicroBatcher
from pipeline.errors import ModelUnavailable, Overloaded
from pipeline.tensors import Shapes


class Owner:
    """Whose row it is; lives as long as a job of it is remembered."""


def job(number: int = 0, *, at: float = 0.0, shapes: Shapes | None = None, deadline: float = NEVER) -> Job:
    return Job(Owner(), number, (b"row",), at, shapes, deadline, True)


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
