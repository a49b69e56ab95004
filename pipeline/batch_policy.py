"""How a model's rows are gathered into batches."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from pipeline.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How rows are gathered.

    Work-conserving by default: a free worker takes what waits. With `max_queue_delay` (seconds) it waits up to that
    long for a fuller batch, or until one of `preferred_batch_sizes` is reached. `grouped`: rows whose shapes
    or optional inputs differ must not share a batch. With `allowed_batch_sizes` a run has one of these sizes: blank
    rows fill it up.
    `priority_levels`: 0 for none; else 1 is the highest, and rows that name none are of `default_priority_level`.
    """

    max_batch_size: int = 64
    max_queue_size: int = 16384
    max_queue_delay: float = 0.0
    grouped: bool = False
    preferred_batch_sizes: tuple[int, ...] = ()
    allowed_batch_sizes: tuple[int, ...] = ()
    priority_levels: int = 0
    default_priority_level: int = 0

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise ValueError("max_batch_size: expected at least 1")
        if self.max_queue_size < 1:
            raise ValueError("max_queue_size: expected at least 1")
        if not 0 <= self.max_queue_delay <= 60:
            raise ValueError("max_queue_delay: expected 0 to 60 seconds")
        self._check_sizes("preferred_batch_sizes", self.preferred_batch_sizes)
        self._check_sizes("allowed_batch_sizes", self.allowed_batch_sizes)
        if self.allowed_batch_sizes and self.allowed_batch_sizes[-1] != self.max_batch_size:
            raise ValueError(f"allowed_batch_sizes: expected max_batch_size ({self.max_batch_size}) to be the last")
        if not 0 <= self.priority_levels <= 255:
            raise ValueError("priority_levels: expected 0 to 255")
        lowest = 1 if self.priority_levels else 0
        if not lowest <= self.default_priority_level <= self.priority_levels:
            raise ValueError(f"default_priority_level: expected {lowest} to {self.priority_levels} (priority_levels)")

    def check_priority(self, priority: int) -> None:
        """Raise `InvalidInput` for a level that the model does not have; without levels any is ignored."""
        if self.priority_levels and priority > self.priority_levels:
            raise InvalidInput(f"priority: expected 0 to {self.priority_levels}, got {priority}")

    def padded(self, rows: int) -> int:
        """Return the size of the run in which so many rows run."""
        sizes = self.allowed_batch_sizes
        return sizes[bisect_left(sizes, rows)] if sizes else rows

    def preferred(self, rows: int) -> int:
        """Return the largest preferred size that so many rows reach; 0 where they reach none."""
        at = bisect_right(self.preferred_batch_sizes, rows)
        return self.preferred_batch_sizes[at - 1] if at else 0

    def _check_sizes(self, name: str, sizes: tuple[int, ...]) -> None:
        if list(sizes) != sorted(set(sizes)) or (sizes and not 1 <= sizes[0] <= sizes[-1] <= self.max_batch_size):
            raise ValueError(f"{name}: expected ascending sizes from 1 to max_batch_size ({self.max_batch_size})")
