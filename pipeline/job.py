"""One row on its way through a model's queue."""

import math
from typing import Any, Final

from mypy_extensions import mypyc_attr

from pipeline.tensors import Row, Shapes

NEVER: Final = math.inf


@mypyc_attr(acyclic=True)
class Job:
    """One row on its way through the queue. Times are seconds on one monotonic clock.

    `owner` is who gets the outcome by its `finish` and `fail`; its `outlet` (`interfaces.Outlet`, or None) is where
    that is sent, its `source` whose share the row counts against. `number` orders the answers of one stream. `shapes`
    is set where the model has dynamic dimensions or optional inputs. `queued` is true while the row waits. `priority`:
    1 is the highest level, 0 the model's default.
    """

    __slots__ = ("deadline", "enqueued_at", "number", "owner", "priority", "queued", "row", "shapes")

    def __init__(
        self,
        owner: Any,
        number: int,
        row: Row,
        enqueued_at: float,
        shapes: Shapes | None,
        deadline: float,
        queued: bool,
    ) -> None:
        self.owner = owner
        self.number = number
        self.row = row
        self.enqueued_at = enqueued_at
        self.shapes = shapes
        self.deadline = deadline
        self.queued = queued
        self.priority = 0
