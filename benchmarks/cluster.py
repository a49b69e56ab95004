"""Measure gateways, Redis and workers in all that they are for: `python -m benchmarks.cluster`.

Parts: what they cost beside one process (`compare`, `latency`, `shapes`), how predictions/s grow with workers
(`throughput`), and what a watched update costs that is relayed to another process (`relay`).
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import mlp
from benchmarks.cluster_costs import Costs
from benchmarks.cluster_relay import relay
from benchmarks.cluster_throughput import throughput
from benchmarks.jobs import Shape


def main() -> None:
    """Measure what was asked for and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of each run (5)")
    parser.add_argument("--rounds", type=int, default=3, help="times that the pairs are measured (3)")
    parser.add_argument("--shapes", default="100x1,1000x1,1000x4,4000x1", help="SOCKETSxIN_FLIGHT of the cost table")
    parser.add_argument("--workers", default="1,2,3,4", help="numbers of workers of the throughput table")
    parser.add_argument("--row-ms", type=float, default=5.0, help="CPU of a row there (5)")
    parser.add_argument("--repeats", type=int, default=2, help="times that what others disturb is made again (2)")
    parser.add_argument("--only", default="", help="parts to measure (all): compare,latency,shapes,throughput,relay")
    options = parser.parse_args()
    shapes = [Shape.parse(text) for text in options.shapes.split(",") if text]
    workers = [int(text) for text in options.workers.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "mlp.onnx")
        mlp.write(model)
        costs = Costs(str(model), options.seconds)
        parts: dict[str, Callable[[], list[str]]] = {
            "compare": lambda: costs.compare(options.rounds),
            "latency": lambda: costs.latency(options.rounds),
            "shapes": lambda: costs.by_shape(shapes),
            "throughput": lambda: throughput(workers, options.row_ms, options.rounds, options.seconds, options.repeats),
            "relay": lambda: relay(str(model), options.rounds, options.seconds, options.repeats),
        }
        wanted = [name for name in options.only.split(",") if name] or list(parts)
        if unknown := set(wanted) - parts.keys():
            parser.error(f"--only: expected some of {', '.join(parts)}, got {', '.join(sorted(unknown))}")
        verdicts = [line for name in wanted for line in parts[name]()]
    if verdicts:
        print("\n| figure | target | seen | verdict |\n| --- | ---: | ---: | ---: |")
        print("\n".join(verdicts))


if __name__ == "__main__":
    main()
