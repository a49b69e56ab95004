"""What one run of the benchmark gathered, and what is derived from it."""

from collections.abc import Callable
from statistics import median

import msgspec

from benchmarks.jobs import Idle, Load
from benchmarks.machine import Machine


class Sample(msgspec.Struct, frozen=True):
    """One server under one load in one round."""

    round: int
    server: str
    shape: str
    load: Load


class Verdict(msgspec.Struct, frozen=True):
    """One target and what was seen; `reached` is None where it was not measured or is for comparison only."""

    what: str
    target: str
    seen: str
    reached: bool | None


class Results(msgspec.Struct):
    """Everything that was measured; `skipped` says why a server is not in it, `failures` what went wrong."""

    machine: Machine
    command: list[str]
    skipped: dict[str, str]
    samples: list[Sample] = []
    idle: dict[str, Idle] = {}
    verdicts: list[Verdict] = []
    took_seconds: float = 0.0
    failures: list[str] = []

    def loads(self, server: str, shape: str) -> dict[int, Load]:
        """Return a server's loads under one shape by round."""
        return {s.round: s.load for s in self.samples if (s.server, s.shape) == (server, shape)}

    def middle(self, figure: "Figure", server: str, shape: str) -> float:
        """Return the median of a figure over the rounds, one at least."""
        return median(figure(load) for load in self.loads(server, shape).values())

    def ratio(self, figure: "Figure", of: tuple[str, str], to: tuple[str, str]) -> float | None:
        """Return the median over the rounds of a ratio within each, None where no round has both figures.

        `of` and `to` are (server, shape). What the machine drifts from round to round cancels out. A CPU time of 0 is
        one that is shorter than the kernel's clock tells.
        """
        above, below = self.loads(*of), self.loads(*to)
        common = above.keys() & below.keys()
        ratios = [figure(above[turn]) / figure(below[turn]) for turn in common if figure(below[turn])]
        return median(ratios) if ratios else None


Figure = Callable[[Load], float]


def cpu_us(load: Load) -> float:
    """Return server CPU per prediction, µs."""
    return load.cpu_us


def p50_ms(load: Load) -> float:
    """Return the median latency, ms."""
    return load.p50_ms


def p99_ms(load: Load) -> float:
    """Return the latency that 99 of 100 stay below, ms."""
    return load.p99_ms
