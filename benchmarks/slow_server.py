"""Serve the slow model and put a crowd before it; what `slo` and `fairness` share."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks import slow_model
from benchmarks.contestants import PRODUCT, ROOT, Contestant
from benchmarks.crowd import CrowdJob, Group, Outcome
from benchmarks.jobs import Door
from benchmarks.process import Cores, Server, ask

MAX_BATCH_SIZE = 32
WARM_UP = 1.0
SPARE_SECONDS = 60.0


class Bench:
    """A fresh server for every crowd; the server on one core and the crowd on another."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long each crowd is measured."""
        self._seconds = seconds
        self.cores = Cores.choose()

    def measure(self, groups: Sequence[Group], slo_ms: float = 0.0, **config: int) -> dict[str, Outcome]:
        """Return what became of each group; `config` are keys of the model's `config.toml`."""
        with tempfile.TemporaryDirectory() as folder, self._serve(Path(folder), config) as door:
            job = CrowdJob(door, list(groups), WARM_UP, self._seconds, slo_ms)
            timeout = SPARE_SECONDS + WARM_UP + self._seconds
            answer = ask("benchmarks.crowd", msgspec.json.encode(job), self.cores.load, ROOT, timeout)
        return {outcome.name: outcome for outcome in msgspec.json.decode(answer, type=list[Outcome])}

    def capacity(self) -> float:
        """Return the rows/s of full batches, none of which ever waits for a row."""
        group = Group("capacity", sockets=8, in_flight=MAX_BATCH_SIZE // 2)
        return self.measure([group])["capacity"].answered

    @contextmanager
    def _serve(self, folder: Path, config: dict[str, int]) -> Iterator[Door]:
        slow_model.write(folder, max_batch_size=MAX_BATCH_SIZE, **config)
        waterspout = Contestant("waterspout", "Waterspout", None, path=f"/v1/models/{slow_model.NAME}/stream")
        command = [waterspout.command(folder)[0], str(PRODUCT), "--models", str(folder), "--port", "0"]
        with Server("waterspout", command, self.cores.server, ROOT) as server:
            yield waterspout.door(server.url, server.pid)
