"""Measure Waterspout side by side with other servers; benchmarks/README.md says what and how."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from benchmarks import machine, mlp, report
from benchmarks.bench import Bench, Plan, tell
from benchmarks.contestants import CONTESTANTS
from benchmarks.jobs import Shape
from benchmarks.process import Cores
from benchmarks.results import Results
from benchmarks.targets import must_reach
from benchmarks.usage import allow_open_files

SHAPES = "1x1,100x1,1000x1,10x16,5000x1"
QUICK_SHAPES = "1x1,100x1"
SPARE_FILES = 200
REPEATS = 2


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `--quick` changes the defaults of what is not given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--seconds", type=float, help="measured time of each load (2; quick 0.7)")
    parser.add_argument("--rounds", type=int, help="times that all is measured (3; quick 1)")
    parser.add_argument("--only", metavar="NAME,..", help=f"some of {','.join(names)}")
    parser.add_argument("--shapes", metavar="SOCKETSxIN_FLIGHT,..", help=f"({SHAPES}; quick {QUICK_SHAPES})")
    parser.add_argument("--rate", type=float, default=20_000, help="events/s at equal load, 0 for none (20000)")
    parser.add_argument("--idle", type=int, metavar="SOCKETS", help="idle sockets (10000; quick 2000)")
    parser.add_argument("--no-idle", dest="idle", action="store_const", const=0, help="no idle sockets")
    parser.add_argument("--quick", action="store_true", help="a first look in less than a minute")
    options = parser.parse_args(arguments)
    defaults = (0.7, 1, QUICK_SHAPES, 2000) if options.quick else (2.0, 3, SHAPES, 10_000)
    for name, value in zip(("seconds", "rounds", "shapes", "idle"), defaults, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.only = options.only.split(",") if options.only else names
    if unknown := set(options.only) - set(names):
        parser.error(f"--only: no such server: {', '.join(sorted(unknown))}")
    try:
        options.shapes = [Shape.parse(shape) for shape in options.shapes.split(",")]
    except ValueError as error:
        parser.error(f"--shapes: {error}")
    return options


def run(options: argparse.Namespace, plan: Plan) -> Results:
    """Measure what is asked for and here; keep what could be measured where some fails."""
    cores, files = Cores.choose(), allow_open_files()
    if cores.shared:
        tell("one core only: the load generator takes CPU from the server, which lowers rates")
    if files < plan.idle + SPARE_FILES:
        tell(f"the limit of open files, {files:,}, may be too low for {plan.idle:,} idle sockets")
    chosen = [one for one in CONTESTANTS if one.name in options.only]
    skipped = {one.name: why for one in chosen if (why := one.missing())}
    command = ["python", "-m", "benchmarks.streaming", *sys.argv[1:]]
    results = Results(machine.describe(), command, skipped)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "mlp.onnx")
        mlp.write(model)
        Bench(plan, model, cores).measure([one for one in chosen if one.name not in skipped], results)
    results.took_seconds = time.monotonic() - started
    results.verdicts = [target.judge(results) for target in must_reach(str(plan.equal_load))]
    return results


def end(number: int, frame: FrameType | None) -> NoReturn:
    """Leave by an exception, so that every `with` block ends its process."""
    sys.exit(128 + number)


def main() -> None:
    """Measure, print the tables and write the file."""
    options = parse()
    signal.signal(signal.SIGTERM, end)
    repeats = 0 if options.quick else REPEATS
    plan = Plan(options.shapes, options.rounds, options.seconds, options.rate, options.idle, repeats)
    results = run(options, plan)
    print(report.document(results))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    if results.failures:
        sys.exit(f"{len(results.failures)} of the measurements failed")


if __name__ == "__main__":
    main()
