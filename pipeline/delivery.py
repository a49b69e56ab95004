"""Hands the outcomes of a batch to the owners of its rows."""

import logging
from typing import Any, Final

from pipeline.errors import WaterspoutError
from pipeline.job import Job
from pipeline.results import BatchResult

log: Final = logging.getLogger(__name__)


def finish_all(jobs: list[Job], result: BatchResult) -> None:
    """Answer each row; neighbours with the same outlet leave in one write."""
    corked: Any = None
    last = len(jobs) - 1
    for row, job in enumerate(jobs):
        owner = job.owner
        outlet = owner.outlet
        if outlet is not corked:
            if corked is not None:
                corked.uncork()
                corked = None
            if row < last and outlet is not None and jobs[row + 1].owner.outlet is outlet:
                outlet.cork()
                corked = outlet
        try:
            owner.finish(job, result, row)
        except Exception:
            log.exception("an answer could not be delivered", extra={"session": getattr(outlet, "name", "")})
    if corked is not None:
        corked.uncork()


def fail_all(jobs: list[Job], error: WaterspoutError) -> None:
    """Answer each row with an error."""
    for job in jobs:
        try:
            job.owner.fail(job, error)
        except Exception:
            outlet = job.owner.outlet
            log.exception("an error could not be delivered", extra={"session": getattr(outlet, "name", "")})
