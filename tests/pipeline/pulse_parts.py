"""A server's counts in the test's hands, and the pulse that is taken of them."""

from typing import Any

from pipeline.job import Job
from pipeline.pulse import Gauges, Pulse
from pipeline.pulse_messages import ModelPulse, Stats
from pipeline.stats import ModelStats, Place, ServerStats

STARTED_AT = 100.0


def jobs(rows: int, enqueued_at: float) -> list[Job]:
    return [Job(None, number, (b"",), enqueued_at, None, 1e9, False) for number in range(rows)]


class Counting:
    """Models that can be run, replaced and taken away, and a clock that stands still between the steps."""

    def __init__(self, *names: str) -> None:
        self.now = STARTED_AT
        self.stats = ServerStats()
        self.events = 0
        self.stats.events = lambda: self.events
        self.cpu_seconds = 0.0
        self.gauges: dict[str, Any] = {
            "states": lambda: [(*place, "ready") for place in sorted(self.stats.models)],
            "keys": int,
            "watchers": int,
            "memory_bytes": int,
            "cpu_seconds": lambda: self.cpu_seconds,
        }
        self.pulse = Pulse(self.stats, Gauges(**self.gauges), STARTED_AT)
        for name in names:
            self.put(name)
        self.pulse.restart(self.now)

    def put(self, name: str, depth: int = 0) -> ModelStats:
        """Let a new model take a name."""
        model = ModelStats(lambda: depth)
        self.stats.add(place(name), model)
        return model

    def unload(self, name: str) -> None:
        self.stats.discard(place(name), self.stats.models[place(name)])

    def run(self, name: str, rows: int = 1, queue: float = 0.0, run: float = 0.001, total: float = 0.002) -> None:
        """Run a batch whose rows took so many seconds each."""
        batch = jobs(rows, self.now - total)
        self.stats.models[place(name)].observe(batch, self.now - total + queue, self.now, run)

    def beat(self, after: float = 0.25, lag: float = 0.0) -> Stats:
        self.now += after
        return self.pulse.beat(self.now, lag)


def place(name: str) -> Place:
    return name, "1"


def model_in(stats: Stats, name: str) -> ModelPulse:
    return next(model for model in stats.models if model.name == name)
