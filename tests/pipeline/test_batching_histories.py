"""Random histories of a batcher: no row is lost or comes twice, every bound holds, every call is made when promised."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.batching import NEVER, BatchPolicy, Job, MicroBatcher
from pipeline.errors import ModelUnavailable, Overloaded
from pipeline.queue_memory import UNBOUNDED, QueueMemory, bytes_of
from pipeline.tensors import Shapes

POLICIES = st.builds(
    BatchPolicy,
    max_batch_size=st.integers(1, 5),
    max_queue_size=st.integers(1, 9),
    max_queue_delay=st.sampled_from([0.0, 0.5, 2.0]),
    grouped=st.booleans(),
    priority_levels=st.just(3),
    default_priority_level=st.integers(1, 3),
) | st.builds(
    BatchPolicy,
    max_batch_size=st.integers(1, 5),
    max_queue_size=st.integers(1, 20),
    max_queue_delay=st.sampled_from([0.0, 0.5, 2.0]),
    grouped=st.booleans(),
)
SHAPES: st.SearchStrategy[Shapes | None] = st.sampled_from([None, ((1,),), ((2,),), ((2,), None)])


class Owner:
    def __init__(self, outlet: object) -> None:
        self.outlet = outlet

    @property
    def source(self) -> Any:
        return self if self.outlet is None else self.outlet


class Histories(RuleBasedStateMachine):
    """A batcher beside its model: the list of the rows that wait, oldest first."""

    offered = Bundle("offered")

    @initialize(policy=POLICIES)
    def start(self, policy: BatchPolicy) -> None:
        self.calls: list[object] = []
        self.memory = QueueMemory(UNBOUNDED, self.calls.append)
        self.batcher = MicroBatcher(policy, lambda: self.calls.append("wake"), self.on_earlier, self.memory)
        self.policy = policy
        self.waiting: list[Job] = []
        self.settled: set[int] = set()
        self.now = 0.0
        self.count = 0
        self.is_open = True
        self.owners = [Owner(None), Owner(None), *[Owner(f"socket {n // 2}") for n in range(4)]]

    def source(self, job: Job) -> object:
        return job.owner.outlet or job.owner

    def accepts(self, source: object) -> bool:
        room = self.policy.max_queue_size - len(self.waiting)
        held = sum(self.source(job) == source for job in self.waiting)
        return self.is_open and room > 0 and (len(self.waiting) < self.policy.max_batch_size or held < room)

    def check_batch(self, batch: list[Job], most: int) -> None:
        """A batch is as full as it can be, of one shape where that matters, and the oldest rows of its sources."""
        rows = self.waiting
        if self.policy.grouped and batch:
            assert all(job.shapes == batch[0].shapes for job in batch)
            rows = [job for job in rows if job.shapes == batch[0].shapes]
        assert len(batch) == min(len(rows), most)
        for owner in self.owners:
            for level in range(4):
                of_it = [job for job in rows if self.source(job) == self.source_of(owner) and job.priority == level]
                taken = [job for job in batch if self.source(job) == self.source_of(owner) and job.priority == level]
                assert taken == of_it[: len(taken)]

    def source_of(self, owner: Owner) -> object:
        return owner.outlet or owner

    def on_earlier(self) -> None:
        assert self.batcher.next_deadline == self.deadline_on_offer
        self.calls.append("wake_earlier")

    def settle(self, jobs: list[Job]) -> None:
        for job in jobs:
            assert job.number not in self.settled
            assert not job.queued
            self.settled.add(job.number)
        taken = {job.number for job in jobs}
        self.waiting = [job for job in self.waiting if job.number not in taken]

    @rule(
        target=offered,
        patience=st.sampled_from([0.0, 1.0, 3.0, NEVER]),
        shapes=SHAPES,
        asleep=st.booleans(),
        who=st.integers(0, 5),
        priority=st.integers(0, 3),
    )
    def offer(self, patience: float, shapes: Shapes | None, asleep: bool, who: int, priority: int) -> Job:
        batcher = self.batcher
        row = (bytes(self.count % 7), ("ab", "c") if self.count % 5 == 0 else b"")
        job = Job(self.owners[who], self.count, row, self.now, shapes, self.now + patience, True)
        job.priority = priority
        self.count += 1
        self.deadline_on_offer = job.deadline
        known, self.calls = batcher.next_deadline, []
        batcher.asleep = asleep
        is_accepted = self.accepts(self.source(job))
        if self.is_open:
            assert (batcher.room_for(self.source(job)) > 0) == is_accepted
        if is_accepted:
            batcher.offer(job)
            self.waiting.append(job)
            assert ("wake" in self.calls) == asleep
            assert ("wake_earlier" in self.calls) == (job.deadline < known)
            assert len(self.calls) == len(set(self.calls))
            assert not batcher.asleep
        else:
            with pytest.raises(Overloaded if self.is_open else ModelUnavailable):
                batcher.offer(job)
            assert (self.calls, batcher.asleep, batcher.next_deadline) == ([], asleep, known)
            job.queued = False
            self.settled.add(job.number)
        return job

    @rule(job=offered)
    def cancel(self, job: Job) -> None:
        waits = job.number not in self.settled
        assert self.batcher.cancel(job) == waits
        if waits:
            self.settle([job])

    @rule(most=st.integers(0, 5))
    def take(self, most: int) -> None:
        size = min(most or self.policy.max_batch_size, self.policy.max_batch_size)
        batch = self.batcher.take(min(most, size))
        self.check_batch(batch, size)
        self.settle(batch)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0]), most=st.integers(1, 30))
    def expire(self, seconds: float, most: int) -> None:
        self.now += seconds
        known = self.batcher.next_deadline
        expired = self.batcher.expire(self.now, most)
        late = sorted([job.deadline for job in self.waiting if job.deadline <= self.now])
        assert [job.deadline for job in expired] == late[:most]
        self.settle(expired)
        exact = min((job.deadline for job in self.waiting), default=NEVER)
        assert self.batcher.next_deadline == (exact if self.now >= known else known)
        assert self.batcher.earliest_deadline() == exact

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0]))
    def dispatch(self, seconds: float) -> None:
        self.expire(seconds, 1000)
        batch = self.batcher.take()
        assert all(job.deadline > self.now for job in batch)
        self.settle(batch)

    @precondition(lambda self: self.count > 5)
    @rule()
    def close(self) -> None:
        self.batcher.close()
        self.is_open = False

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.batcher) == len(self.waiting) <= self.policy.max_queue_size
        if self.is_open:
            assert self.batcher.room == self.policy.max_queue_size - len(self.waiting)
        assert all(job.queued for job in self.waiting)

    @invariant()
    def every_byte_that_waits_is_counted(self) -> None:
        assert self.memory.held == sum(bytes_of(job.row) for job in self.waiting)
        assert sorted(job.number for job in self.batcher.waiting()) == sorted(job.number for job in self.waiting)

    @invariant()
    def no_waiting_row_expires_before_the_next_deadline(self) -> None:
        assert self.batcher.next_deadline <= min((job.deadline for job in self.waiting), default=NEVER)

    @invariant()
    def a_batch_is_due_when_the_policy_says(self) -> None:
        if not self.waiting:
            expected = NEVER
        elif not self.policy.max_queue_delay or len(self.waiting) >= self.policy.max_batch_size:
            expected = -NEVER
        else:
            expected = self.waiting[0].enqueued_at + self.policy.max_queue_delay
        assert self.batcher.due_at() == expected
        due = min(len(self.waiting), self.policy.max_batch_size) if expected <= self.now else 0
        assert self.batcher.due_rows(self.now) == due

    def teardown(self) -> None:
        """Every row that was offered comes out once, whatever happened."""
        while batch := self.batcher.take():
            self.settle(batch)
        assert self.settled == set(range(self.count))
        assert len(self.batcher) == 0


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40)
