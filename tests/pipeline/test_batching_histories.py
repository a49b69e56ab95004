"""Random histories of a batcher: no row is lost or comes twice, every bound holds, every call is made when promised."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.batching import NEVER, BatchPolicy, Job, MicroBatcher
from pipeline.errors import ModelUnavailable, Overloaded
from pipeline.tensors import Shapes

POLICIES = st.builds(
    BatchPolicy,
    max_batch_size=st.integers(1, 5),
    max_queue_size=st.integers(1, 9),
    max_queue_delay=st.sampled_from([0.0, 0.5, 2.0]),
    grouped=st.booleans(),
)
SHAPES: st.SearchStrategy[Shapes | None] = st.sampled_from([None, ((1,),), ((2,),), ((2,), None)])


class Histories(RuleBasedStateMachine):
    """A batcher beside its model: the list of the rows that wait, oldest first."""

    offered = Bundle("offered")

    @initialize(policy=POLICIES)
    def start(self, policy: BatchPolicy) -> None:
        self.calls: list[str] = []
        self.batcher = MicroBatcher(policy, lambda: self.calls.append("wake"), self.on_earlier)
        self.policy = policy
        self.waiting: list[Job] = []
        self.settled: set[int] = set()
        self.now = 0.0
        self.count = 0
        self.is_open = True

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

    @rule(target=offered, patience=st.sampled_from([0.0, 1.0, 3.0, NEVER]), shapes=SHAPES, asleep=st.booleans())
    def offer(self, patience: float, shapes: Shapes | None, asleep: bool) -> Job:
        batcher = self.batcher
        job = Job(self, self.count, (b"",), self.now, shapes, self.now + patience, True)
        self.count += 1
        self.deadline_on_offer = job.deadline
        known, self.calls = batcher.next_deadline, []
        batcher.asleep = asleep
        if self.is_open and len(self.waiting) < self.policy.max_queue_size:
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

    @rule()
    def take(self) -> None:
        expected = self.waiting
        if self.policy.grouped and expected:
            expected = [job for job in expected if job.shapes == expected[0].shapes]
        batch = self.batcher.take()
        assert [job.number for job in batch] == [job.number for job in expected[: self.policy.max_batch_size]]
        self.settle(batch)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        known = self.batcher.next_deadline
        expired = self.batcher.expire(self.now)
        assert [job.number for job in expired] == [job.number for job in self.waiting if job.deadline <= self.now]
        self.settle(expired)
        exact = min((job.deadline for job in self.waiting), default=NEVER)
        assert self.batcher.next_deadline == (exact if self.now >= known else known)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0]))
    def dispatch(self, seconds: float) -> None:
        self.expire(seconds)
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

    def teardown(self) -> None:
        """Every row that was offered comes out once, whatever happened."""
        while batch := self.batcher.take():
            self.settle(batch)
        assert self.settled == set(range(self.count))
        assert len(self.batcher) == 0


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40)
