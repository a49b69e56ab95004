"""What gateways, Redis and workers cost beside one process that does it all.

All servers share one core, the load has the other; what is compared is the CPU of all processes added up.
"""

from statistics import median
from typing import Final, NamedTuple

from benchmarks.cluster_servers import put_load, serving, serving_team, verdict
from benchmarks.jobs import Load, Shape
from benchmarks.process import Cores

CPU_AT_MOST: Final = 2.0  # times that of one process
REDIS_AT_MOST: Final = 0.15  # of all
LATENCY_AT_MOST: Final = 2.0  # ms added, p50
AT_ONCE: Final = Shape(1000, 1)
LOW: Final = Shape(10, rate=100.0)


class Cost(NamedTuple):
    """CPU per prediction, µs, by kind of process, and what the clients saw."""

    gateway: float
    redis: float
    workers: float
    load: Load

    @property
    def total(self) -> float:
        """All processes together."""
        return self.gateway + self.redis + self.workers


class Costs:
    """Starts all servers anew for every measurement."""

    def __init__(self, model: str, seconds: float) -> None:
        self._model = model
        self._seconds = seconds
        self._cores = Cores.choose()

    def compare(self, rounds: int) -> list[str]:
        """Measure one process and a cluster side by side at 1000x1; return verdicts."""
        print(f"\n{AT_ONCE}, CPU µs a prediction\n")
        print("| round | one process | gateway | Redis | worker | together | x one process | Redis' share |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        ratios, shares = [], []
        for number in range(rounds):
            single, cost = self._single(AT_ONCE), self._cluster(AT_ONCE)
            ratios.append(cost.total / single.cpu_us)
            shares.append(cost.redis / cost.total)
            print(
                f"| {number + 1} | {single.cpu_us:.1f} | {cost.gateway:.1f} | {cost.redis:.1f} | {cost.workers:.1f} "
                f"| {cost.total:.1f} | {ratios[-1]:.2f} | {shares[-1]:.0%} |",
                flush=True,
            )
        return [
            verdict("CPU of all processes, 1000x1 / one process", median(ratios), " x", at_most=CPU_AT_MOST),
            verdict("Redis' share of it", 100 * median(shares), " %", at_most=100 * REDIS_AT_MOST),
        ]

    def latency(self, rounds: int) -> list[str]:
        """Measure what the way over Redis adds at low load; return a verdict."""
        print(f"\n{LOW}\n\n| round | one process, p50 ms | p99 ms | cluster, p50 ms | p99 ms |")
        print("| --- | ---: | ---: | ---: | ---: |")
        added = []
        for number in range(rounds):
            single, cost = self._single(LOW), self._cluster(LOW)
            added.append(cost.load.p50_ms - single.p50_ms)
            print(
                f"| {number + 1} | {single.p50_ms:.2f} | {single.p99_ms:.2f} | {cost.load.p50_ms:.2f} "
                f"| {cost.load.p99_ms:.2f} |",
                flush=True,
            )
        return [verdict("latency added at low load, p50", median(added), " ms", at_most=LATENCY_AT_MOST)]

    def by_shape(self, shapes: list[Shape]) -> list[str]:
        """Show the cost against sockets and workers; every socket is a key of its own."""
        print("\n| sockets and keys | workers | predictions/s | p50 ms | p99 ms | gateway µs | Redis µs | workers µs |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for shape in shapes:
            for workers in (1, 2):
                cost = self._cluster(shape, workers)
                load = cost.load
                print(
                    f"| {shape} | {workers} | {load.predictions / load.seconds:,.0f} | {load.p50_ms:.2f} "
                    f"| {load.p99_ms:.2f} | {cost.gateway:.1f} | {cost.redis:.1f} | {cost.workers:.1f} |",
                    flush=True,
                )
        return []

    def _single(self, shape: Shape) -> Load:
        """Return what one process does."""
        with serving("all", self._cores.server, [self._model]) as server:
            return put_load(server, shape, self._seconds, self._cores.load)

    def _cluster(self, shape: Shape, workers: int = 1) -> Cost:
        """Return what a gateway and workers do over Redis."""
        with serving_team(self._cores.server, [self._model], workers) as team:
            load = put_load(team.gateway, shape, self._seconds, self._cores.load, others=team.others)
        redis_us, *workers_us = load.others_cpu_us
        return Cost(load.cpu_us, redis_us, sum(workers_us), load)
