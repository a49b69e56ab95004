"""Runs an ensemble: each row goes from model to model, and in each it shares batches with whatever else is queued."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from pipeline.delivery import fail_all, finish_all
from pipeline.ensemble_plan import ENSEMBLE, EnsemblePlan, Wire
from pipeline.errors import InferenceFailed, ModelUnavailable, WaterspoutError
from pipeline.idle import Idle
from pipeline.job import Job
from pipeline.results import BatchResult
from pipeline.rings import source_of
from pipeline.shares import Shares
from pipeline.stats import ModelStats
from pipeline.tensors import ABSENT, Array, Cell, Entry, Row, Shape, Shapes, Shared, joined_entries

_monotonic: Final = time.monotonic

Run = tuple[BatchResult, int]  # what a step returned, and which row of it is ours


class Ensemble:
    """What an `Engine` is to other models. All methods belong to the loop's thread.

    A row is let in once, at the start: what is under way is bounded by the smallest `max_queue_size` of the steps'
    models, and shared among sources. After that no queue on its way refuses it. Rows that took all their steps in the
    same batches are answered together.
    """

    def __init__(self, plan: EnsemblePlan, models: Sequence[Any], labels: dict[str, list[str]]) -> None:
        """`models` are the steps' `ServedModel`s, held until `close`; `labels` as a `BatchResult` takes them."""
        self.plan = plan
        self.models = models
        self.firsts = plan.firsts
        self.max_batch_size: int = min([model.max_batch_size for model in models])
        self.max_queue_size: int = min([model.max_queue_size for model in models])
        self.stats = ModelStats(self.__len__)
        self.observer: Any = None  # an `Observer` while somebody watches
        self._labels = labels
        self._loop = asyncio.get_running_loop()
        self._shares = Shares(self.max_queue_size, self.max_batch_size)
        self._rows: dict[Job, EnsembleRow] = {}
        self._done: list[EnsembleRow] = []  # and not yet answered
        self._idle = Idle(self.__len__)
        self._is_closed = False
        for model in models:
            model.hold()

    def __len__(self) -> int:
        """Return the number of rows under way."""
        return len(self._rows)

    def __repr__(self) -> str:
        steps = " ".join([f"{model.name}/{model.version}" for model in self.models])
        return f"<Ensemble of {steps} rows={len(self._rows)}>"

    @property
    def is_busy(self) -> bool:
        """Whether any row is under way."""
        return len(self._rows) > 0

    @property
    def room(self) -> int:
        """How many rows can still be submitted."""
        rooms: list[int] = [self.models[step].room for step in self.firsts]
        return min([self._shares.room, *rooms])

    def room_for(self, source: Any) -> int:
        """Return how many rows a source (see `rings.source_of`) can still submit."""
        rooms: list[int] = [self.models[step].room_for(source) for step in self.firsts]
        return min([self._shares.room_for(source), *rooms])

    def check_priority(self, priority: int) -> None:
        """Raise `InvalidInput` for a level that a model of a step does not have."""
        for model in self.models:
            model.check_priority(priority)

    def submit(self, job: Job) -> None:
        """Take a row; its owner gets exactly one `finish` or `fail`.

        Raises `Overloaded`, `ModelUnavailable`, or `InvalidInput` for its priority; then nothing has changed.
        """
        self._take(job, False)

    def admit(self, job: Job) -> None:
        """Take a row that another ensemble has let in. Raises `ModelUnavailable`."""
        self._take(job, True)

    def is_waiting(self, job: Job) -> bool:
        """Return whether no step of a row has begun."""
        row = self._rows.get(job)
        return row is not None and row.is_waiting

    def cancel(self, job: Job) -> None:
        """Give a row up, wherever it is; its owner hears nothing more of it."""
        row = self._rows.get(job)
        if row is not None:
            self._end(row)

    async def drained(self) -> None:
        """Wait until no row is under way."""
        await self._idle.wait()

    def close(self) -> None:
        """Refuse further rows, fail those that are under way, and let go of the models."""
        if self._is_closed:
            return
        self._is_closed = True
        for row in list(self._rows.values()):
            self.fail(row, ModelUnavailable("the model is being unloaded"))
        for model in self.models:
            model.release()

    def finish(self, row: "EnsembleRow") -> None:
        """Take a row of which all steps are done."""
        if not self._done:
            self._loop.call_soon(self._answer)
        self._done.append(row)

    def fail(self, row: "EnsembleRow", error: WaterspoutError) -> None:
        """Give a row up and tell its owner why."""
        if self._end(row):
            fail_all([row.job], error)

    def _take(self, job: Job, is_admitted: bool) -> None:
        if self._is_closed:
            raise ModelUnavailable("the model is being unloaded")
        if job.priority:
            self.check_priority(job.priority)
        row = EnsembleRow(self, job)
        if not is_admitted:
            self._shares.take(row.source)
            row.has_share = True
        self._rows[job] = row
        try:
            row.begin(is_admitted)
        except BaseException:
            self._end(row)
            raise

    def _end(self, row: "EnsembleRow") -> bool:
        """Forget a row; return whether it was under way."""
        if self._rows.pop(row.job, None) is None:
            return False
        row.job.queued = False
        if row.has_share:
            self._shares.give_back(row.source)
        row.stop()
        self._idle.notify()
        return True

    def _answer(self) -> None:
        """Answer the rows that are done, those together that went together."""
        done, self._done = self._done, []
        groups: dict[tuple[int, ...], list[EnsembleRow]] = {}
        for row in done:
            if self._end(row):  # else it was cancelled
                groups.setdefault(tuple([id(result) for result, _ in row.runs()]), []).append(row)
        for rows in groups.values():
            jobs = [row.job for row in rows]
            try:
                result = self._result_of(rows)
            except WaterspoutError as error:
                fail_all(jobs, error)
            else:
                finish_all(jobs, result)
                self.stats.observe(jobs, result.started_at, _monotonic(), result.run_seconds)

    def _result_of(self, rows: "list[EnsembleRow]") -> BatchResult:
        """Return the outputs of rows that took each step in the same batch. Raises `InferenceFailed`."""
        runs = [row.runs() for row in rows]
        arrays = [
            _pick(runs[0][step][0].arrays[at], [row_runs[step][1] for row_runs in runs])
            for step, at in self.plan.sources
        ]
        result = BatchResult(self.plan.spec.outputs, arrays, self._labels)
        batches = [batch for batch, _ in runs[0]]
        result.started_at = min([batch.started_at for batch in batches])
        result.run_seconds = sum([batch.run_seconds for batch in batches])
        result.observer = self.observer
        return result


class EnsembleRow:
    """One row on its way: the owner of a job in each step."""

    __slots__ = ("_ensemble", "_jobs", "_left", "_runs", "_waits", "has_share", "job", "outlet", "source")

    def __init__(self, ensemble: Ensemble, job: Job) -> None:
        plan = ensemble.plan
        self._ensemble = ensemble
        self.job = job
        self.outlet = None  # nothing is sent before all steps are done
        self.source: Any = source_of(job)
        self.has_share = False
        self._waits = list(plan.waits)
        self._left = len(plan.wires)
        self._runs: list[Run | None] = [None] * len(plan.wires)
        self._jobs: dict[int, Job] = {}  # queued or running, by step

    def __repr__(self) -> str:
        return f"<EnsembleRow left={self._left} under way={sorted(self._jobs)}>"

    @property
    def is_waiting(self) -> bool:
        """Whether no step has begun."""
        if len(self._jobs) < len(self._ensemble.firsts):
            return False
        models = self._ensemble.models
        return all(models[step].is_waiting(job) for step, job in self._jobs.items())

    def begin(self, is_admitted: bool) -> None:
        """Queue the steps that wait for no other. Raises as `Ensemble.submit` does."""
        for step in self._ensemble.firsts:
            self._queue(step, is_admitted)

    def stop(self) -> None:
        """Take out what still waits, and listen to what runs no more."""
        jobs, self._jobs = self._jobs, {}
        for step, job in jobs.items():
            self._ensemble.models[step].cancel(job)

    def runs(self) -> list[Run]:
        """Return what each step returned, once all of them have."""
        return [run for run in self._runs if run is not None]

    def finish(self, job: Job, result: BatchResult, row: int) -> None:
        """Take the outcome of a step and begin those that waited for it alone."""
        step = job.number
        if self._jobs.pop(step, None) is None:
            return
        self._runs[step] = (result, row)
        self._left -= 1
        if not self._left:
            self._ensemble.finish(self)
            return
        try:
            for after in self._ensemble.plan.follows[step]:
                self._waits[after] -= 1
                if not self._waits[after]:
                    self._queue(after, True)
        except WaterspoutError as error:
            self._ensemble.fail(self, error)

    def fail(self, job: Job, error: WaterspoutError) -> None:
        """Take the error of a step, which is that of all."""
        if job.number not in self._jobs:
            return
        if error.__class__ is InferenceFailed:
            error = InferenceFailed(f"step[{job.number}], {self._ensemble.models[job.number].name}: {error}")
        self._ensemble.fail(self, error)

    def _queue(self, step: int, is_admitted: bool) -> None:
        """Give what is wired to a step to its model."""
        model = self._ensemble.models[step]
        now = _monotonic()
        cells, shapes = self._row_for(step)
        deadline = min(self.job.deadline, now + model.default_timeout)
        job = Job(self, step, cells, now, shapes, deadline, True)
        job.priority = self.job.priority
        if is_admitted:
            model.admit(job)
        else:
            model.submit(job)
        self._jobs[step] = job

    def _row_for(self, step: int) -> tuple[Row, Shapes | None]:
        cells: list[Cell] = []
        entries: list[Entry] = []
        for wire in self._ensemble.plan.wires[step]:
            given = None if wire is None else self._read(wire)
            if wire is None or given is None:
                cells.append(b"")
                entries.append(ABSENT)
                continue
            cell, shape = given
            spec = wire.spec
            if spec.is_static and wire.shape is None and shape != spec.shape:
                raise InferenceFailed(f"step[{step}]: input {spec.name}: expected {spec}, got {list(shape)}")
            cells.append(cell)
            entries.append(spec.entry(cell, None if spec.is_static else shape))
        return tuple(cells), joined_entries(entries)

    def _read(self, wire: Wire) -> tuple[Cell, Shape] | None:
        """Return what a wire brings, and its shape; None where the row has left it out."""
        if wire.step != ENSEMBLE:
            run = self._runs[wire.step]
            assert run is not None
            result, row = run
            shape: Shape = result.arrays[wire.at].shape[1:]
            return result.cells(wire.at)[row], shape
        shapes = self.job.shapes
        entry = None if shapes is None else shapes[wire.at]
        if entry is ABSENT:
            return None
        given = entry.shape if isinstance(entry, Shared) else entry
        return self.job.row[wire.at], wire.shape if given is None else given  # type: ignore[return-value]


def _pick(array: Array, numbers: list[int]) -> Array:
    """Return the rows with these numbers, without copying where they are neighbours."""
    first = numbers[0]
    if numbers == list(range(first, first + len(numbers))):
        return array[first : first + len(numbers)]
    return array[numbers]
