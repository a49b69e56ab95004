"""Measure how start-up time and memory grow with the number of models: `python -m benchmarks.many_models`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import mlp
from benchmarks.contestants import PRODUCT, ROOT
from benchmarks.process import Cores, Server
from benchmarks.usage import resident_bytes

COUNTS = (50, 250, 500)


def fill(root: Path, count: int) -> None:
    """Write so many models, each a file of its own, into a repository."""
    for number in range(count):
        folder = root / f"model-{number}" / "1"
        folder.mkdir(parents=True)
        mlp.write(folder / "model.onnx")


def measure(root: Path) -> tuple[float, int]:
    """Return the seconds from the start of a server until it is ready, and its resident bytes then."""
    command = [sys.executable, str(PRODUCT), "--port", "0", "--models", str(root)]
    started = time.monotonic()
    with Server("waterspout", command, Cores.choose().server, ROOT) as server:
        return time.monotonic() - started, resident_bytes(server.pid)


def table(counts: Sequence[int]) -> list[str]:
    """Measure every count, the empty repository first, which the others are compared with."""
    lines = [
        "models  start s  per model ms  RSS MiB  per model KiB",
        "------  -------  ------------  -------  -------------",
    ]
    empty = (0.0, 0)
    for count in (0, *counts):
        with tempfile.TemporaryDirectory(prefix="waterspout-") as folder:
            fill(Path(folder), count)
            seconds, resident = measure(Path(folder))
        if not count:
            empty = seconds, resident
        each = max(count, 1)
        lines.append(
            f"{count:6}  {seconds:7.2f}  {(seconds - empty[0]) / each * 1e3:12.1f}  {resident / 2**20:7.1f}  "
            f"{(resident - empty[1]) / each / 1024:13.1f}"
        )
    return lines


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, default=COUNTS, help="models to serve (default: 50 250 500)")
    print("\n".join(table(parser.parse_args().counts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
