"""Whose row is next in a backlog: shares of sources and of priorities, against plain models of both."""

from collections import Counter, deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching import NEVER, BatchPolicy, Job, MicroBatcher
from pipeline.rings import MOST_STRIDE, Lanes


class Owner:
    def __init__(self, outlet: Any) -> None:
        self.outlet = outlet

    @property
    def source(self) -> Any:
        return self if self.outlet is None else self.outlet


def row(source: Any, number: int = 0, priority: int = 0, shapes: Any = None) -> Job:
    job = Job(Owner(source), number, (b"",), 0.0, shapes, NEVER, True)
    job.priority = priority
    return job


def source(job: Job) -> Any:
    return job.owner.outlet


class PlainRoundRobin:
    """The textbook: a list of sources in turn, and a queue for each."""

    def __init__(self) -> None:
        self.turns: deque[int] = deque()
        self.queues: dict[int, deque[int]] = {}

    def offer(self, who: int, number: int) -> None:
        if who not in self.queues:
            self.turns.append(who)
            self.queues[who] = deque()
        self.queues[who].append(number)

    def take(self, most: int) -> list[int]:
        batch: list[int] = []
        while self.turns and len(batch) < most:
            who = self.turns.popleft()
            batch.append(self.queues[who].popleft())
            if self.queues[who]:
                self.turns.append(who)
            else:
                del self.queues[who]
        return batch


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200), st.integers(1, 8))
def test_a_backlog_leaves_in_the_turns_of_its_sources(steps: list[int], size: int) -> None:
    """A step is a row of that source; 6 takes a batch."""
    batcher, plain = MicroBatcher(BatchPolicy(max_batch_size=size)), PlainRoundRobin()
    for number, who in enumerate([*steps, *[6] * len(steps)]):
        if who < 6:
            batcher.offer(row(who, number))
            plain.offer(who, number)
        else:
            taken = [job.number for job in batcher.take()]
            expected = plain.take(size)
            assert sorted(taken) == sorted(expected)  # where all of it fits into a batch, order means nothing
            assert len(taken) < size or len(batcher) == 0 or taken == expected


@given(st.lists(st.integers(0, 5), max_size=200), st.integers(1, 8), st.booleans())
def test_sources_that_wait_together_are_served_alike(sources: list[int], size: int, grouped: bool) -> None:
    batcher = MicroBatcher(BatchPolicy(max_batch_size=size, grouped=grouped))
    for who in sources:
        batcher.offer(row(who))
    left, served = Counter(sources), Counter[int]()
    while len(batcher) > size:
        for job in batcher.take():
            served[source(job)] += 1
            left[source(job)] -= 1
            waiting = [served[who] for who in left if left[who]]
            assert not waiting or max(waiting) - min(waiting) <= 1


@given(st.integers(1, 300), st.integers(0, 40), st.integers(1, 16))
def test_who_comes_late_waits_for_one_row_of_each_source_only(flood: int, others: int, size: int) -> None:
    batcher = MicroBatcher(BatchPolicy(max_batch_size=size, max_queue_size=10_000))
    for number in range(flood):
        batcher.offer(row("flood", number))
    for number in range(others):
        batcher.offer(row(number))
    batcher.offer(row("polite"))
    ahead = 0
    while "polite" not in (batch := [source(job) for job in batcher.take()]):
        ahead += len(batch)
    assert ahead <= others + 1


@given(st.integers(2, 30), st.integers(1, 8))
def test_a_source_with_many_shapes_gets_no_more_turns_than_one_with_one(shapes: int, size: int) -> None:
    batcher = MicroBatcher(BatchPolicy(max_batch_size=size, grouped=True))
    for number in range(shapes):
        batcher.offer(row("flood", number, shapes=((number,),)))
    for number in range(3):
        batcher.offer(row("polite", number, shapes=((1000,),)))
    batches = [[source(job) for job in batcher.take()] for _ in range(2)]
    assert ["polite"] * min(size, 3) in batches


priorities = st.integers(1, 14).flatmap(
    lambda levels: st.tuples(st.just(levels), st.lists(st.integers(0, levels), min_size=1, max_size=100))
)


@given(priorities)
def test_every_row_of_every_priority_leaves_exactly_once(case: tuple[int, list[int]]) -> None:
    levels, given_priorities = case
    lanes = Lanes(levels, 1)
    for number, priority in enumerate(given_priorities):
        lanes.push(row(number % 3, number, priority))
    left = []
    while (job := lanes.pop()) is not None:
        job.queued = False
        left.append(job.number)
    assert sorted(left) == list(range(len(given_priorities)))
    assert lanes.live == 0


@given(st.integers(2, 14), st.integers(1, 400))
def test_levels_that_wait_together_share_by_halves(levels: int, served: int) -> None:
    lanes = Lanes(levels, 1)
    for level in range(1, levels + 1):
        for number in range(served):
            lanes.push(row("socket", number, level))
    counts = Counter(job.priority for _ in range(served) if (job := lanes.pop()) is not None)
    strides = {level: min(2 ** (level - 1), MOST_STRIDE) for level in range(1, levels + 1)}
    for level, stride in strides.items():
        share = served / stride / sum(1 / each for each in strides.values())
        assert abs(counts[level] - share) <= levels


@given(st.integers(2, 14), st.integers(1, 14), st.integers(0, 50))
def test_a_low_priority_is_late_but_never_starves(levels: int, level: int, before: int) -> None:
    """Whatever comes at the other levels all the time, a level's turn comes within its stride."""
    level = min(level, levels)
    lanes = Lanes(levels, 1)

    def flood() -> None:
        for other in range(1, levels + 1):
            if other != level:
                lanes.push(row("flood", 0, other))

    for _ in range(before):
        flood()
        lanes.pop()
    lanes.push(row("patient", 1, level))
    stride = min(2 ** (level - 1), MOST_STRIDE)
    bound = (stride + 1) * 3 + levels
    for _ in range(bound):
        flood()
        job = lanes.pop()
        assert job is not None
        if source(job) == "patient":
            return
    raise AssertionError(f"level {level} of {levels} waited for more than {bound} rows")


def test_a_row_without_a_priority_is_of_the_default_level() -> None:
    lanes = Lanes(3, 2)
    for number, priority in enumerate((3, 0, 2, 1)):
        lanes.push(row("socket", number, priority))
    assert [job.number for _ in range(4) if (job := lanes.pop()) is not None] == [3, 1, 0, 2]
