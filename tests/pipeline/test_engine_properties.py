"""Whatever is submitted, cancelled or late, on a real loop with real threads: every owner hears exactly once."""

import asyncio
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching import BatchPolicy, Job
from pipeline.errors import InferenceFailed, Overloaded
from pipeline.workers import WorkerPool
from tests.pipeline.conftest import LOOPS, PATIENCE
from tests.pipeline.engine_parts import Desk, Gated, instant

BAD = 1000.0  # rows from here on fail


class Submit(NamedTuple):
    rows: int
    is_bad: bool
    waits: float


class Cancel(NamedTuple):
    which: int


class Turn(NamedTuple):
    """Let the loop turn so many times."""

    times: int


class LetGo(NamedTuple):
    """Let so many runs end."""

    runs: int


Step = Submit | Cancel | Turn | LetGo

kinds = st.one_of(
    st.builds(Submit, st.integers(1, 5), st.booleans(), st.sampled_from([3600.0, 3600.0, 0.0005, -1.0])),
    st.builds(Submit, st.integers(1, 5), st.just(False), st.just(3600.0)),
    st.builds(Cancel, st.integers(0, 30)),
    st.builds(Turn, st.integers(1, 4)),
    st.builds(LetGo, st.integers(1, 3)),
)
steps = st.lists(st.tuples(st.integers(0, 1), kinds), max_size=30)
policies = st.builds(
    BatchPolicy,
    max_batch_size=st.integers(1, 4),
    max_queue_size=st.integers(1, 12),
    max_queue_delay=st.sampled_from([0.0, 0.0, 0.001]),
)


def refuse_bad_rows(values: list[float]) -> None:
    if max(values) >= BAD:
        raise InferenceFailed("bad row")


class Story:
    """What was done to an engine, and what its owners should hear of it."""

    def __init__(self, desk: Desk, runner: Gated) -> None:
        self.desk = desk
        self.runner = runner
        self.jobs: list[Job] = []
        self.values: list[float] = []
        self.late: set[int] = set()
        self.cancelled: set[int] = set()

    async def tell(self, step: Step) -> None:
        match step:
            case Submit():
                for _ in range(step.rows):
                    self.submit(step)
            case Cancel():
                self.cancel(step.which)
            case Turn():
                for _ in range(step.times):
                    await asyncio.sleep(0)
            case LetGo():
                self.runner.let_go(step.runs)

    def submit(self, step: Submit) -> None:
        number = len(self.jobs)
        value = float(number) + (BAD if step.is_bad else 0.0)
        try:
            self.jobs += self.desk.submit(value, waits=step.waits)
        except Overloaded:
            assert self.desk.engine.room_for(self.desk.inbox) == 0
        else:
            self.values.append(value)
            if step.waits < 3600.0:
                self.late.add(number)

    def cancel(self, which: int) -> None:
        if which < len(self.jobs):
            job = self.jobs[which]
            if job.queued:
                self.cancelled.add(which)
            self.desk.engine.cancel(job)

    def close(self) -> None:
        """Unload the model: what waits is refused at once."""
        waiting = {number for number, job in enumerate(self.jobs) if job.queued}
        self.desk.engine.close()
        refused = {number for number, what in self.desk.inbox.heard if what == "model_unavailable"}
        assert refused == waiting
        self.desk.inbox.heard = [item for item in self.desk.inbox.heard if item[0] not in refused]
        self.cancelled |= refused

    def check(self) -> None:
        """Compare what was heard with what should have been, once nothing is under way."""
        heard = dict(self.desk.inbox.heard)
        assert len(heard) == len(self.desk.inbox.heard), "an owner heard twice"
        assert heard.keys() == set(range(len(self.jobs))) - self.cancelled
        ran = [value for batch in self.runner.batches for value in batch]
        for number, what in heard.items():
            value = self.values[number]
            if what == "deadline_exceeded":
                assert number in self.late
                assert value not in ran
            else:
                assert what == ("inference_failed" if value >= BAD else value)
        for number in self.cancelled:
            assert self.values[number] not in ran
        assert not any(job.queued for job in self.jobs)


@pytest.mark.parametrize("loop", list(LOOPS))
@given(
    steps=steps,
    policy=policies,
    threads=st.integers(1, 3),
    slots=st.integers(1, 3),
    stackable=st.booleans(),
    inline=st.booleans(),
    closes=st.booleans(),
)
def test_every_owner_hears_exactly_once(
    loop: str,
    steps: list[tuple[int, Step]],
    policy: BatchPolicy,
    threads: int,
    slots: int,
    stackable: bool,
    inline: bool,
    closes: bool,
) -> None:
    """Two models share the threads: the runs of the first are held back, those of the second may be on the loop."""

    async def scenario() -> None:
        workers = WorkerPool(threads)
        held, free = Gated(refuse_bad_rows), Gated(refuse_bad_rows)
        free.open()
        options: dict[str, Any] = {"slots": slots, "stackable": stackable, "workers": workers}
        quick: dict[str, Any] = {"inline_below": 1.0 if inline else 0.0, "run_times": instant()}
        async with (
            asyncio.timeout(PATIENCE),
            Desk(free, policy, **options, **quick) as second,
            Desk(held, policy, **options) as first,
        ):
            stories = [Story(first, held), Story(second, free)]
            for who, step in steps:
                await stories[who].tell(step)
            if closes:
                for story in stories:
                    story.close()
            held.open()
            for story in stories:
                await story.desk.engine.drained()
                story.check()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as loop_runner:
        loop_runner.run(scenario())
