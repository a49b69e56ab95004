"""Show what watchers cost the predictions that they watch: `python -m benchmarks.watching`.

Producers send at a rate of their own; between the runs only those who look on differ. Ratios are taken within a round,
against the run in which nobody watches, and medians over the rounds are shown.
"""

import argparse
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks import mlp
from benchmarks.contestants import ROOT, Contestant
from benchmarks.jobs import Load, LoadJob, Shape
from benchmarks.process import Cores, Server, ask
from benchmarks.watchers import WatchJob, watched

WARM_UP = 3.0
SPARE_SECONDS = 60.0
P99_AT_MOST = 1.1  # times that of producers without watchers
PATIENCE = "3600"  # stalled watchers stay


class Case(NamedTuple):
    """Who looks on."""

    title: str
    watchers: int = 0
    pattern: str = "mlp/*"
    hz: float = 10.0
    reads: bool = True


NOBODY = Case("nobody")
STALLED = Case("500 that do not read, 60 Hz", 500, hz=60.0, reads=False)
CASES = (
    NOBODY,
    Case("1, of another model", 1, pattern="other/*"),
    Case("1, all keys, 10 Hz", 1),
    STALLED,
    Case("1,000, all keys, 1 Hz", 1000, hz=1.0),
)


class Bench:
    """A fresh server for every run; the server on one core, producers and watchers on another."""

    def __init__(self, shape: Shape, seconds: float) -> None:
        self._shape = shape
        self._seconds = seconds
        self.cores = Cores.choose()

    def measure(self, case: Case) -> Load:
        """Return what the producers and the server's CPU showed."""
        product = Contestant("waterspout", "Waterspout", None, path="/v1/models/mlp/stream")
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder, "mlp.onnx")
            mlp.write(model)
            command = [*product.command(model), "--slow-consumer-seconds", PATIENCE]
            with Server("waterspout", command, self.cores.server, ROOT) as server, self._watched(case, server.url):
                job = LoadJob(product.door(server.url, server.pid), self._shape, WARM_UP, self._seconds)
                timeout = SPARE_SECONDS + WARM_UP + self._seconds
                answer = ask("benchmarks.load", msgspec.json.encode(job), self.cores.load, ROOT, timeout)
        return msgspec.json.decode(answer, type=Load)

    def _watched(self, case: Case, url: str) -> AbstractContextManager[None]:
        """Have the watchers look on."""
        job = WatchJob(url, case.watchers, case.pattern, case.hz, case.reads)
        return watched(job, self.cores.load) if case.watchers else nullcontext()


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="measured time of each run (6)")
    parser.add_argument("--rounds", type=int, default=5, help="times that all is measured (5)")
    parser.add_argument("--sockets", type=int, default=1000, help="producers, each a key of its own (1000)")
    parser.add_argument("--rate", type=float, default=4000.0, help="events/s of all producers together (4000)")
    options = parser.parse_args()
    bench = Bench(Shape(options.sockets, rate=options.rate), options.seconds)
    seen: dict[Case, list[Load]] = {case: [] for case in CASES}
    for _ in range(options.rounds):
        for case in CASES:
            seen[case].append(bench.measure(case))
    print(f"{options.rate:,.0f} events/s over {options.sockets:,} sockets, medians of {options.rounds} rounds\n")
    print("| watchers | CPU µs a prediction | x nobody | p50 ms | p99 ms | x nobody | server core |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for case, loads in seen.items():
        print(_line(case.title, loads, seen[NOBODY]))
    ratio = _ratio(seen[STALLED], seen[NOBODY], "p99_ms")
    verdict = "reached" if ratio <= P99_AT_MOST else "**missed**"
    print(f"\nproducers' p99 beside {STALLED.title}: {ratio:.2f} x, target <= {P99_AT_MOST} x: {verdict}")


def _line(title: str, loads: list[Load], base: list[Load]) -> str:
    cpu, p50, p99 = (median(getattr(load, name) for load in loads) for name in ("cpu_us", "p50_ms", "p99_ms"))
    busy = median(load.server_busy for load in loads)
    cpu_ratio, p99_ratio = _ratio(loads, base, "cpu_us"), _ratio(loads, base, "p99_ms")
    return f"| {title} | {cpu:.1f} | {cpu_ratio:.2f} | {p50:.3f} | {p99:.3f} | {p99_ratio:.2f} | {busy:.0%} |"


def _ratio(loads: list[Load], base: list[Load], name: str) -> float:
    """Return the median of the ratios within each round."""
    ratios: list[float] = [getattr(load, name) / getattr(one, name) for load, one in zip(loads, base, strict=True)]
    return median(ratios)


if __name__ == "__main__":
    main()
