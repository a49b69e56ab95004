"""How predictions/s grow with the number of workers, for a model that computes.

Nothing is pinned: workers, gateway, Redis and the load have all cores, so what other programs use of them is told.
"""

import os
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks import heavy_model
from benchmarks.cluster_servers import least_disturbed, put_load, serving_team, verdict
from benchmarks.heavy_model import HeavyModel
from benchmarks.jobs import Load, Shape

MAX_BATCH_SIZE: Final = 8
SHAPE: Final = Shape(64, 2)
TWO_AT_LEAST: Final = 1.8  # times one worker
HEAD: Final = (
    "round", "workers", "predictions/s", "x one worker", "CPU ms each", "cores used by workers", "by other programs",
    "p50 ms", "p99 ms",
)  # fmt: skip


class Throughput(NamedTuple):
    """What so many workers did."""

    workers: int
    load: Load

    @property
    def rate(self) -> float:
        """Predictions/s."""
        return self.load.predictions / self.load.seconds

    @property
    def each(self) -> float:
        """CPU of the workers per prediction, s."""
        return sum(self.load.others_cpu_us[1:]) / 1e6


def throughput(workers: list[int], row_ms: float, rounds: int, seconds: float, repeats: int) -> list[str]:
    """Measure with so many workers, the first number being what others are compared with; return verdicts."""
    model = HeavyModel(row_ms)
    cores = len(os.sched_getaffinity(0))
    print(f"\n{SHAPE}, {model.layers} layers, {model.milliseconds:.2f} ms a row by itself, {cores} cores\n")
    print(f"| {' | '.join(HEAD)} |\n|{' ---: |' * len(HEAD)}")
    turns: list[list[Throughput]] = []
    with tempfile.TemporaryDirectory() as folder:
        model.write(Path(folder), MAX_BATCH_SIZE)
        for number in range(rounds):
            turns.append([])
            for count in workers:
                load = least_disturbed(partial(_measure, model, folder, count, seconds), _by_others, repeats)
                turns[-1].append(Throughput(count, load))
                print(_line(number + 1, turns[-1][-1], turns[-1][0]), flush=True)
    verdicts = []
    for place, count in enumerate(workers[1:], start=1):
        ratio = median(turn[place].rate / turn[0].rate for turn in turns)
        bound = TWO_AT_LEAST if (workers[0], count) == (1, 2) and cores > 1 else None
        verdicts.append(verdict(f"predictions/s, {count} workers / {workers[0]}", ratio, " x", at_least=bound))
    return verdicts


def _measure(model: HeavyModel, folder: str, workers: int, seconds: float) -> Load:
    with serving_team(None, ["--models", folder], workers) as team:
        return put_load(
            team.gateway, SHAPE, seconds, None, others=team.others, model=heavy_model.NAME, expected=model.expected
        )


def _by_others(load: Load) -> float:
    return load.others_busy


def _line(number: int, seen: Throughput, base: Throughput) -> str:
    cells = (
        f"{number}",
        f"{seen.workers}",
        f"{seen.rate:,.0f}",
        f"{seen.rate / base.rate:.2f}",
        f"{seen.each * 1e3:.2f}",
        f"{seen.each * seen.rate:.2f}",
        f"{seen.load.others_busy:.2f}",
        f"{seen.load.p50_ms:,.0f}",
        f"{seen.load.p99_ms:,.0f}",
    )
    return f"| {' | '.join(cells)} |"
