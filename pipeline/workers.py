"""The threads in which batches run: one budget for all models."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class WorkerPool:
    """A fixed number of threads, handed out on the event loop.

    A run is started only when a thread is free. So rows wait in the queue of their model, where others can still join
    them and where they expire on time, and not behind another model's run. Who found no thread is woken in turn.
    """

    def __init__(self, threads: int) -> None:
        """Make the pool; `threads` is how many runs may go on at the same time."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._threads = self._free = threads
        self._waiting: dict[Callable[[], object], None] = {}  # in the order they came

    def __repr__(self) -> str:
        return f"<WorkerPool free={self._free}/{self._threads} waiting={len(self._waiting)}>"

    def acquire(self, wake: Callable[[], object]) -> bool:
        """Take a thread; where none is free, return False and call `wake` once when one may be."""
        if self._free:
            self._free -= 1
            return True
        self._waiting[wake] = None
        return False

    def start(self, run: Callable[..., object], *arguments: Any) -> None:
        """Call `run` in the thread that was acquired."""
        self._executor.submit(run, *arguments)

    def release(self) -> None:
        """Give a thread back, and wake who has waited longest; the next, should that one need it no more."""
        self._free += 1
        while self._free and self._waiting:
            wake = next(iter(self._waiting))
            del self._waiting[wake]
            wake()

    def shutdown(self, *, wait: bool = False) -> None:
        """Start nothing more; what runs is left alone, or with `wait` waited for."""
        self._executor.shutdown(wait=wait, cancel_futures=True)
