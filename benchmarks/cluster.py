"""Measure what gateways, Redis and workers cost beside one process that does it all: `python -m benchmarks.cluster`.

All servers share one core, the load has the other; what is compared is the CPU of all processes added up.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import msgspec

from benchmarks import mlp
from benchmarks.contestants import PRODUCT, ROOT, Contestant
from benchmarks.jobs import Load, LoadJob, Shape
from benchmarks.process import Cores, Server, ask
from tests.redis_server import RedisServer, running_redis

CPU_AT_MOST: Final = 2.0  # times that of one process
REDIS_AT_MOST: Final = 0.15  # of all
LATENCY_AT_MOST: Final = 2.0  # ms added, p50
WARM_UP: Final = 3.0
SPARE_SECONDS: Final = 60.0
STREAM: Final = "/v1/models/mlp/stream"
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


class Bench:
    """Starts all servers anew for every measurement."""

    def __init__(self, model: Path, seconds: float) -> None:
        self._model = model
        self._seconds = seconds
        self._cores = Cores.choose()
        self._product = Contestant("waterspout", "Waterspout", None, path=STREAM)

    def single(self, shape: Shape) -> Load:
        """Return what one process does."""
        with self._server("all") as server:
            return self._load(server, shape, [])

    def cluster(self, shape: Shape, workers: int = 1) -> Cost:
        """Return what a gateway and workers do over Redis."""
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            redis = stack.enter_context(running_redis(Path(folder), data=False))
            assert redis.process is not None
            os.sched_setaffinity(redis.process.pid, {self._cores.server})
            team = [stack.enter_context(self._server("worker", redis)) for _ in range(workers)]
            gateway = stack.enter_context(self._server("gateway", redis))
            load = self._load(gateway, shape, [redis.process.pid, *(worker.pid for worker in team)])
        redis_us, *workers_us = load.others_cpu_us
        return Cost(load.cpu_us, redis_us, sum(workers_us), load)

    @contextmanager
    def _server(self, role: str, redis: RedisServer | None = None) -> Iterator[Server]:
        joined = ["--redis", redis.url, "--role", role] if redis is not None else []
        models = [str(self._model)] if role != "gateway" else []
        command = [sys.executable, str(PRODUCT), *models, "--port", "0", "--threads", "1", *joined]
        with Server(role, command, self._cores.server, ROOT) as server:
            yield server

    def _load(self, server: Server, shape: Shape, others: list[int]) -> Load:
        job = LoadJob(self._product.door(server.url, server.pid), shape, WARM_UP, self._seconds, others)
        timeout = SPARE_SECONDS + WARM_UP + self._seconds
        answer = ask("benchmarks.load", msgspec.json.encode(job), self._cores.load, ROOT, timeout)
        return msgspec.json.decode(answer, type=Load)


def main() -> None:
    """Measure round by round and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of each run (5)")
    parser.add_argument("--rounds", type=int, default=3, help="times that the pairs are measured (3)")
    parser.add_argument("--shapes", default="100x1,1000x1,1000x4,4000x1", help="SOCKETSxIN_FLIGHT of the cost table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "mlp.onnx")
        mlp.write(model)
        bench = Bench(model, options.seconds)
        verdicts = compare(bench, options.rounds)
        verdicts.append(latency(bench, options.rounds))
        costs(bench, [Shape.parse(text) for text in options.shapes.split(",") if text])
    print("\n| figure | target | seen | verdict |\n| --- | ---: | ---: | ---: |")
    print("\n".join(verdicts))


def compare(bench: Bench, rounds: int) -> list[str]:
    """Measure one process and a cluster side by side at 1000x1."""
    print(f"{AT_ONCE}, CPU µs a prediction\n")
    print("| round | one process | gateway | Redis | worker | together | x one process | Redis' share |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    ratios, shares = [], []
    for number in range(rounds):
        single, cost = bench.single(AT_ONCE), bench.cluster(AT_ONCE)
        ratios.append(cost.total / single.cpu_us)
        shares.append(cost.redis / cost.total)
        print(
            f"| {number + 1} | {single.cpu_us:.1f} | {cost.gateway:.1f} | {cost.redis:.1f} | {cost.workers:.1f} "
            f"| {cost.total:.1f} | {ratios[-1]:.2f} | {shares[-1]:.0%} |",
            flush=True,
        )
    return [
        _verdict("CPU of all processes, 1000x1 / one process", CPU_AT_MOST, median(ratios), " x"),
        _verdict("Redis' share of it", 100 * REDIS_AT_MOST, 100 * median(shares), " %"),
    ]


def latency(bench: Bench, rounds: int) -> str:
    """Measure what the way over Redis adds at low load."""
    print(f"\n{LOW}\n\n| round | one process, p50 ms | p99 ms | cluster, p50 ms | p99 ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    added = []
    for number in range(rounds):
        single, cost = bench.single(LOW), bench.cluster(LOW)
        added.append(cost.load.p50_ms - single.p50_ms)
        print(
            f"| {number + 1} | {single.p50_ms:.2f} | {single.p99_ms:.2f} | {cost.load.p50_ms:.2f} "
            f"| {cost.load.p99_ms:.2f} |",
            flush=True,
        )
    return _verdict("latency added at low load, p50", LATENCY_AT_MOST, median(added), " ms")


def costs(bench: Bench, shapes: list[Shape]) -> None:
    """Show the cost against sockets and workers; every socket is a key of its own."""
    print("\n| sockets and keys | workers | predictions/s | p50 ms | p99 ms | gateway µs | Redis µs | workers µs |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for shape in shapes:
        for workers in (1, 2):
            cost = bench.cluster(shape, workers)
            load = cost.load
            print(
                f"| {shape} | {workers} | {load.predictions / load.seconds:,.0f} | {load.p50_ms:.2f} "
                f"| {load.p99_ms:.2f} | {cost.gateway:.1f} | {cost.redis:.1f} | {cost.workers:.1f} |",
                flush=True,
            )


def _verdict(figure: str, target: float, seen: float, unit: str) -> str:
    verdict = "reached" if seen <= target else "**missed**"
    return f"| {figure} | <= {target:g}{unit} | {seen:.2f}{unit} | {verdict} |"


if __name__ == "__main__":
    main()
