"""Record this machine's counters, quiet and under injected loads, and add the recording to recordings.npz.

Usage: python -m models.host.record [--background KIND] [--output FILE] STEP...

A STEP is a kind of load, `quiet`, or `calm`, and its seconds: `quiet:120 calm:35 disk:15 quiet:20`. `calm` goes on
for so long at least, until other processes leave the machine alone. The background is `idle`, `serving`, where
`make run`'s server and its feeds run all the while, or `busy`, a note that others are at work on the machine.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from examples.counters import busy_share, sample, spent_times
from examples.host import SAMPLES_PER_SECOND, read_counters
from models.host.loads import KINDS, running

RECORDINGS: Final = Path(__file__).parent / "recordings.npz"
QUIET: Final = "quiet"
CALM: Final = "calm"
BACKGROUNDS: Final = ("idle", "serving", "busy")
OTHERS: Final = 0.15  # cores; while other processes use less they leave the machine alone
SETTLING_SECONDS: Final = 5.0  # of the server and its feeds


def own_seconds() -> float:
    """Return the CPU time of this process and all that it started, in seconds."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def is_calm(others: Sequence[float] | NDArray[np.float32]) -> bool:
    """Return whether other processes left the machine alone in the last five seconds, and most of the time before."""
    alone = np.asarray(others) < OTHERS
    return bool(alone[-5 * SAMPLES_PER_SECOND :].all() and alone.mean() >= 2 / 3)


class Recorder:
    """Takes samples at 10 Hz, and each second looks who used the cores."""

    def __init__(self) -> None:
        self.samples: list[list[float]] = []
        self.loads: list[int] = []
        self.others: list[float] = []
        self._before = self._mark = read_counters()
        self._due = self._before.seconds
        self._own, self._foreign = own_seconds(), 0.0

    def take(self, load: int) -> None:
        """Wait for the next sample, and take it."""
        self._due += 1 / SAMPLES_PER_SECOND
        time.sleep(max(0.0, self._due - time.monotonic()))
        after = read_counters()
        self.samples.append(sample(self._before, after))
        self._before = after
        if len(self.samples) % SAMPLES_PER_SECOND == 0:
            spent = own_seconds()
            busy = busy_share(spent_times(self._mark, after)) * len(after.cores)
            self._foreign = max(0.0, busy - (spent - self._own) / (after.seconds - self._mark.seconds))
            self._own, self._mark = spent, after
        self.loads.append(load)
        self.others.append(self._foreign)

    def carry_out(self, kind: str, seconds: float) -> None:
        """Do one step."""
        count = round(seconds * SAMPLES_PER_SECOND)
        if kind == CALM:
            end = len(self.others) + count
            while len(self.others) < end or not is_calm(self.others[-count:]):
                self.take(0)
        else:
            with running(kind, seconds) if kind != QUIET else contextlib.nullcontext():
                for _ in range(count):
                    self.take(0 if kind == QUIET else 1 + list(KINDS).index(kind))

    def recorded(self) -> dict[str, NDArray[Any]]:
        """Return what was seen, all of n samples.

        `samples` float32[n, channels]; `loads` int8[n], 0 where nothing was injected, else 1 + the index in `KINDS`;
        `others` float32[n], the cores that other processes used in the last second.
        """
        return {
            "samples": np.array(self.samples, np.float32),
            "loads": np.array(self.loads, np.int8),
            "others": np.array(self.others, np.float32),
        }


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """Run a server and its feeds beside the recording."""
    command = [sys.executable, "-m", "examples.run", "--port", "0"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(SETTLING_SECONDS)
            yield
        finally:
            process.terminate()


def parse_step(text: str) -> tuple[str, float]:
    """Read `kind:seconds`."""
    kind, _, seconds = text.partition(":")
    if kind not in (QUIET, CALM, *KINDS):
        raise argparse.ArgumentTypeError(f"{kind}: expected {QUIET}, {CALM} or one of {', '.join(KINDS)}")
    return kind, float(seconds)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", type=parse_step, metavar="STEP")
    parser.add_argument("--background", choices=BACKGROUNDS, default="idle", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=RECORDINGS, help="file to add the recording to")
    arguments = parser.parse_args()

    name = f"{arguments.background}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    with serving() if arguments.background == "serving" else contextlib.nullcontext():
        recorder = Recorder()
        for kind, seconds in arguments.steps:
            recorder.carry_out(kind, seconds)
    recorded = recorder.recorded()
    arrays: dict[str, NDArray[Any]] = {}
    if arguments.output.exists():
        with np.load(arguments.output) as file:
            arrays.update(file)
    arrays.update({f"{name}/{key}": values for key, values in recorded.items()})
    np.savez_compressed(arguments.output, allow_pickle=False, **arrays)
    print(f"{name}: {len(recorded['samples']) / SAMPLES_PER_SECOND:.0f} s")


if __name__ == "__main__":
    main()
