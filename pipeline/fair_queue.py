"""Who is next where more rows wait than fit into a batch: every source gets its turn, every priority its share."""

from heapq import heapify, heappop, heappush
from typing import Any

from pipeline.job import NEVER, Job
from pipeline.rings import Lanes, Ring
from pipeline.tensors import Shapes


class FairQueue:
    """Rows by turn and priority, and by deadline. Taking a batch costs as much as the batch is long.

    `grouped`: rows of different shapes never leave together. The row whose turn it is names the shape, and the batch is
    filled by turns among the rows of that shape.
    """

    __slots__ = ("_dead", "_deadlines", "_default", "_grouped", "_levels", "_ring", "_same_shape", "_serial")

    def __init__(self, grouped: bool, levels: int, default: int) -> None:
        """`levels` of priority, 0 for none; `default` is the level of rows that name none."""
        self._grouped = grouped
        self._levels = levels
        self._default = default
        self._ring = self._new_ring()
        self._same_shape: dict[Shapes | None, Ring] = {}  # the same rows once more
        self._deadlines: list[tuple[float, int, Job]] = []  # a heap; rows that have gone are passed over
        self._serial = 0
        self._dead = 0  # at most so many entries of the rings are dead

    def __len__(self) -> int:
        """Return the number of rows that wait."""
        return self._ring.live

    def push(self, job: Job) -> None:
        """Add a waiting row."""
        self._ring.push(job)
        if self._grouped:
            same = self._same_shape.get(job.shapes)
            if same is None:
                same = self._same_shape[job.shapes] = self._new_ring()
            same.push(job)
        if job.deadline < NEVER:
            heap = self._deadlines
            if len(heap) > 2 * self._ring.live + 64:
                heap = self._deadlines = [entry for entry in heap if entry[2].queued]
                heapify(heap)
            self._serial += 1
            heappush(heap, (job.deadline, self._serial, job))

    def take(self, most: int) -> list[Job]:
        """Take out the next batch of up to `most` rows; none of them is `queued` any more."""
        batch: list[Job] = []
        if not self._grouped:
            self._fill(batch, self._ring, most)
            return batch
        leader = self._ring.turn()
        if leader is None:
            return batch
        same = self._same_shape[leader.shapes]
        self._fill(batch, same, most)
        if not same.live:
            del self._same_shape[leader.shapes]
        for job in batch:
            self._ring.drop(job)
        self._bury(len(batch))
        return batch

    def remove(self, job: Job) -> None:
        """Take out a waiting row whose `queued` has just been cleared."""
        self._ring.drop(job)
        if self._grouped:
            same = self._same_shape[job.shapes]
            same.drop(job)
            if not same.live:
                del self._same_shape[job.shapes]
        self._bury(1)

    def expire(self, now: float, most: int) -> list[Job]:
        """Take out and return up to `most` rows whose deadline is not after `now`, the earliest first."""
        expired: list[Job] = []
        while len(expired) < most and self.earliest() <= now:
            job = heappop(self._deadlines)[2]
            job.queued = False
            self.remove(job)
            expired.append(job)
        return expired

    def earliest(self) -> float:
        """Return the earliest deadline of all rows."""
        heap = self._deadlines
        while heap and not heap[0][2].queued:
            heappop(heap)
        return heap[0][0] if heap else NEVER

    def oldest(self) -> float:
        """Return the earliest arrival of all rows; costs a look at each."""
        return min([job.enqueued_at for job in self._ring.rows()], default=NEVER)

    def held(self, source: Any) -> int:
        """Return how many rows of a source wait."""
        return self._ring.held(source)

    def rows(self) -> list[Job]:
        """Return all rows."""
        return self._ring.rows()

    def forget(self) -> None:
        """Let go of all that is dead, once no row waits."""
        self._dead = 0
        self._ring.compact()
        self._deadlines.clear()

    def _fill(self, batch: list[Job], ring: Ring, most: int) -> None:
        while len(batch) < most:
            job = ring.pop()
            if job is None:
                return
            job.queued = False
            batch.append(job)

    def _bury(self, dead: int) -> None:
        """Count new dead entries; forget them all once they may be the majority."""
        self._dead += dead
        if self._dead > self._ring.live:
            self._dead = 0
            self._ring.compact()
            for ring in self._same_shape.values():
                ring.compact()

    def _new_ring(self) -> Ring:
        return Lanes(self._levels, self._default) if self._levels else Ring()
