"""The bytes of all rows that wait, over all models, and who has to give some up when there are too many."""

from collections.abc import Callable
from typing import Final, Protocol

from pipeline.delivery import fail_all
from pipeline.errors import Overloaded
from pipeline.job import Job
from pipeline.rings import source_of
from pipeline.tensors import Row

UNBOUNDED: Final = 1 << 60
ROW_BYTES: Final = 512  # what a row is taken to cost beside its data: its event, its job, and their places
RETRY_MS: Final = 1000


class WaitingQueue(Protocol):
    """A queue that rows wait in (an engine)."""

    def waiting(self) -> list[Job]:
        """Return the rows that wait."""

    def cancel(self, job: Job) -> object:
        """Take a row out if it still waits."""


class QueueMemory:
    """What all queues of a process hold together, in bytes; they add to `held`, and take off again, themselves.

    Once 7/8 of `limit` are held, those who have the most lose rows with `Overloaded`, the newest first, until 3/4 are:
    nobody keeps more than a level that those below it are not touched by. It happens when the loop has its next turn
    (`soon` sees to that), so that nobody loses rows in the middle of something. What comes before that and is more
    than `limit` is refused.
    """

    __slots__ = ("_is_due", "_queues", "_soon", "held", "limit", "mark", "shed_events")

    def __init__(self, limit: int, soon: Callable[[Callable[[], None]], object]) -> None:
        self.limit = limit
        self.held = 0
        self.shed_events = 0
        self._soon = soon
        self.mark = limit - limit // 8  # what may be held without anybody losing anything
        self._is_due = False
        self._queues: dict[WaitingQueue, None] = {}

    def __repr__(self) -> str:
        return f"<QueueMemory {self.held}/{self.limit} bytes of {len(self._queues)} queues shed={self.shed_events}>"

    def join(self, queue: WaitingQueue) -> None:
        """Have a queue count."""
        self._queues[queue] = None

    def leave(self, queue: WaitingQueue) -> None:
        """Have a queue that is empty, and stays so, count no more."""
        self._queues.pop(queue, None)

    def check(self, size: int) -> None:
        """See to it that rows are shed. Raises `Overloaded` where `size` more bytes are too many even until then."""
        self.remind()
        if self.held + size > self.limit:
            self.shed_events += 1
            raise Overloaded(f"the queues of all models are full (max_queue_bytes: {self.limit})", RETRY_MS)

    def remind(self) -> None:
        """Have rows shed when the loop has its next turn."""
        if not self._is_due:
            self._is_due = True
            self._soon(self.shed)

    def shed(self) -> None:
        """Fail waiting rows of those who hold the most, until 3/4 of the limit are held."""
        self._is_due = False
        if self.held <= self.mark:
            return
        sources: dict[object, list[tuple[Job, WaitingQueue]]] = {}
        for queue in self._queues:
            for job in queue.waiting():
                sources.setdefault(source_of(job), []).append((job, queue))
        held = {source: sum([bytes_of(job.row) for job, _ in rows]) for source, rows in sources.items()}
        level = level_of(list(held.values()), self.limit - self.limit // 4)
        late: list[Job] = []
        for source, rows in sources.items():
            over = held[source] - level
            if over <= 0:
                continue
            rows.sort(key=_arrival)
            while over > 0:
                job, queue = rows.pop()
                over -= bytes_of(job.row)
                queue.cancel(job)
                late.append(job)
        self.shed_events += len(late)
        error = f"the queues of all models are full (max_queue_bytes: {self.limit}), and this connection holds the most"
        fail_all(late, Overloaded(error, RETRY_MS))


def bytes_of(row: Row) -> int:
    """Return what a waiting row is taken to cost."""
    size = ROW_BYTES
    for cell in row:
        if isinstance(cell, bytes):
            size += len(cell)
        else:
            for text in cell:
                size += len(text)
    return size


def level_of(sizes: list[int], most: int) -> int:
    """Return what everybody may keep at most, for all to keep `most` together."""
    left = most
    for before, size in enumerate(sorted(sizes)):
        level = left // (len(sizes) - before)
        if size > level:
            return level
        left -= size
    return max(sizes, default=0)


def _arrival(row: tuple[Job, WaitingQueue]) -> float:
    return row[0].enqueued_at
