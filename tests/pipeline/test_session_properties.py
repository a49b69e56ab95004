"""Whatever clients send and however batches end: each accepted event ends once, in the order of its key."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.batching import BatchPolicy, MicroBatcher
from pipeline.errors import DeadlineExceeded, InferenceFailed, WaterspoutError
from pipeline.interfaces import KeyBudget, Overflow, SessionOptions
from pipeline.messages import Failure, Gap, Prediction
from pipeline.session import Session
from pipeline.stream import StreamJob
from tests.pipeline.session_parts import Client, FakeModel, limited, result_of, value_of

IDLE_SECONDS = 1000.0

Key = str | None
keys = st.sampled_from([None, None, "a", "b", "c"])
whose = st.integers(0, 1)


class BatchedModel(FakeModel):
    """A model whose rows wait in a real `MicroBatcher`."""

    def __init__(self, policy: BatchPolicy) -> None:
        super().__init__()
        self.batcher = MicroBatcher(policy)
        self.submitted: list[StreamJob] = []

    @property
    def room(self) -> int:
        return self.batcher.room

    def submit(self, job: StreamJob) -> None:
        self.batcher.offer(job)
        self.submitted.append(job)

    def is_waiting(self, job: StreamJob) -> bool:
        return job.queued

    def cancel(self, job: StreamJob) -> None:
        if self.batcher.cancel(job):
            self.cancelled.append(job)


class Ledger:
    """One client, and what it should be told of each of its events, by number."""

    def __init__(self, model: BatchedModel, options: SessionOptions, budget: KeyBudget) -> None:
        self.client = Client(model, options=options, budget=budget)
        self.silent = options.silent
        self.is_closed = False
        self.sent = 0
        self.keys: dict[int, Key] = {}  # of accepted events
        self.ended: dict[int, float | str] = {}  # how: the prediction, or the error's code
        self.told: dict[int, float | str] = {}
        self.dropped: dict[int, Key] = {}
        self.gaps: Counter[Key] = Counter()
        self._last: dict[Key, int] = defaultdict(lambda: -1)

    @property
    def session(self) -> Session:
        return self.client.session

    def note_sent(self, key: Key) -> None:
        """Take note of what an event, the newest, was told at once."""
        number, self.sent = self.sent, self.sent + 1
        messages = self.client.read()
        refusals = [m for m in messages if isinstance(m, Failure) and m.seq == number]
        assert len(refusals) <= 1
        if not refusals:
            self.keys[number] = key
        self._note([message for message in messages if message not in refusals])

    def note(self) -> None:
        """Take note of the answers that came."""
        messages = self.client.read()
        assert not (messages and self.is_closed), "answered after closing"
        self._note(messages)

    def _note(self, messages: Sequence[object]) -> None:
        for message in messages:
            if isinstance(message, Gap):
                assert message.why == "overflow"
                self.gaps[message.key] += message.count
                continue
            assert isinstance(message, Prediction | Failure)
            assert message.seq is not None
            assert message.seq not in self.told, "answered twice"
            assert message.seq not in self.dropped, "answered although it was dropped"
            key = self.keys[message.seq]
            assert message.key == key
            assert message.seq > self._last[key], "answered out of turn"
            self._last[key] = message.seq
            self.told[message.seq] = value_of(message) if isinstance(message, Prediction) else message.error.code

    def unanswered(self) -> int:
        """Count the accepted events that have not ended, or that wait for an earlier one of their key."""
        count, held_back = 0, set[Key]()
        for number, key in self.keys.items():
            if number not in self.dropped:
                if number not in self.ended:
                    held_back.add(key)
                count += key in held_back
        return count

    def expected(self) -> dict[int, float | str]:
        """Return what should have been told once nothing is under way."""
        return {seq: end for seq, end in self.ended.items() if not (self.silent and isinstance(end, float))}


class Connections(RuleBasedStateMachine):
    """Two connections that share a model and the server's keys."""

    @initialize(
        overflow=st.sampled_from(Overflow),
        max_in_flight=st.integers(1, 8),
        max_keys=st.integers(1, 3),
        silent=st.booleans(),
        queue=st.integers(1, 8),
        batch=st.integers(1, 3),
    )
    def connect(
        self, overflow: Overflow, max_in_flight: int, max_keys: int, silent: bool, queue: int, batch: int
    ) -> None:
        self.now = 100.0
        self.max_in_flight = max_in_flight
        self.model = BatchedModel(BatchPolicy(max_batch_size=batch, max_queue_size=queue))
        self.runs: list[list[StreamJob]] = []
        self.budget = KeyBudget(4)
        options = limited(max_in_flight, overflow, max_keys=max_keys, key_idle_seconds=IDLE_SECONDS, silent=silent)
        self.ledgers = [Ledger(self.model, options, self.budget) for _ in range(2)]

    def ledger_of(self, job: StreamJob) -> Ledger:
        return next(ledger for ledger in self.ledgers if ledger.session is job.owner.session)

    @rule(
        who=whose,
        key=keys,
        timeout_ms=st.sampled_from([None, None, 5, 50]),
        count=st.integers(1, 6),
        starts=st.integers(0, 2),
    )
    def send(self, who: int, key: Key, timeout_ms: int | None, count: int, starts: int) -> None:
        ledger = self.ledgers[who]
        if ledger.is_closed:
            return
        fields = {"key": key, "timeout_ms": timeout_ms}
        for _ in range(count):
            ledger.client.now = self.now
            ledger.client.send(ledger.sent, **{name: value for name, value in fields.items() if value is not None})
            for job in self.model.cancelled:
                assert self.ledger_of(job) is ledger
                assert job.event.key == key, "an event dropped another key's"
                ledger.dropped[job.seq] = key
            self.model.cancelled.clear()
            ledger.note_sent(key)
        for _ in range(starts):
            self.start_a_batch()

    @rule(who=whose, payload=st.sampled_from([b'{"data": "no number"}', b"{", b'{"data": 1, "key": 3}']))
    def send_what_is_wrong(self, who: int, payload: bytes) -> None:
        ledger = self.ledgers[who]
        if not ledger.is_closed:
            ledger.client.send_bytes(payload)
            assert ledger.client.error().seq == ledger.sent
            ledger.sent += 1

    @rule()
    def start_a_batch(self) -> None:
        batch = cast(list[StreamJob], self.model.batcher.take())
        if batch:
            self.runs.append(batch)

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0), fails=st.sampled_from([0, 0, 1, 2, 7]))
    def end_a_batch(self, which: int, fails: int) -> None:
        batch = self.runs.pop(which % len(self.runs))
        bad = {number for number in range(len(batch)) if fails >> number & 1}
        for number, job in enumerate(batch):
            if number in bad:
                self.fail(job, InferenceFailed("bad row"))
        good = [job for number, job in enumerate(batch) if number not in bad]
        result = result_of([job.row for job in good]) if good else None
        for row, job in enumerate(good):
            assert result is not None
            self.ledger_of(job).ended[job.seq] = float(job.seq)
            job.owner.finish(job, result, row)

    def fail(self, job: StreamJob, error: WaterspoutError) -> None:
        self.ledger_of(job).ended[job.seq] = error.code
        job.owner.fail(job, error)

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.1]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        for job in cast(list[StreamJob], self.model.batcher.expire(self.now)):
            assert job.deadline <= self.now
            self.fail(job, DeadlineExceeded("too late"))

    @rule(who=whose)
    def forget_idle_keys(self, who: int) -> None:
        self.let_time_pass(2 * IDLE_SECONDS)
        self.ledgers[who].session.evict_idle(self.now)

    @rule(who=whose, closes=st.booleans(), chance=st.integers(0, 5))
    def end_a_connection(self, who: int, closes: bool, chance: int) -> None:
        ledger = self.ledgers[who]
        if chance < 5:
            return
        if closes:
            ledger.session.close()
            ledger.is_closed = True
            self.model.cancelled.clear()
        else:
            ledger.session.drain()

    @invariant()
    def answers_are_in_order_and_counts_are_right(self) -> None:
        running = [job for batch in self.runs for job in batch]
        live = [job for job in self.model.submitted if job.queued] + running
        assert len(self.model.batcher) == len(live) - len(running)
        for ledger in self.ledgers:
            ledger.note()
            in_flight = ledger.session.in_flight
            assert in_flight == (0 if ledger.is_closed else ledger.unanswered())
            assert in_flight <= self.max_in_flight
            assert ledger.gaps <= Counter(ledger.dropped.values())

    def teardown(self) -> None:
        if not hasattr(self, "ledgers"):
            return
        while self.runs or len(self.model.batcher):
            self.start_a_batch()
            self.end_a_batch(0, 0)
        self.answers_are_in_order_and_counts_are_right()
        for ledger in self.ledgers:
            if not ledger.is_closed:
                assert ledger.told == ledger.expected()
                assert ledger.gaps == Counter(ledger.dropped.values())
                assert ledger.ended.keys() | ledger.dropped.keys() == ledger.keys.keys()
            assert ledger.session.event_count == ledger.sent
            ledger.session.close()
            assert ledger.session.in_flight == 0
        assert self.budget.count == 0


TestConnections = Connections.TestCase
