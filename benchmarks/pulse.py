"""Measure what a beat of `$stats` costs: `python -m benchmarks.pulse`."""

import argparse
import sys
import time
from collections.abc import Sequence

from msgspec.json import encode as encode_json

from pipeline.job import Job
from pipeline.pulse import Gauges, Pulse
from pipeline.stats import ModelStats, ServerStats

COUNTS = (1, 10, 50, 250)
BEATS_PER_SECOND = 4


def measure(count: int, seconds: float) -> tuple[float, float, int]:
    """Return the CPU seconds of a beat with so many models, all busy, those of encoding it, and its bytes of JSON."""
    stats = ServerStats()
    for number in range(count):
        stats.add((f"model-{number}", "1"), ModelStats(int))
    states = [(*place, "ready") for place in stats.models]
    pulse = Pulse(stats, Gauges(lambda: states, int, int, int, time.process_time), 0.0)
    pulse.restart(0.0)
    batch = [Job(None, 0, (b"",), 0.0, None, 1e9, False)] * 5
    now, beat, encode, beats = 0.0, 0.0, 0.0, 0
    size = 0
    until = time.monotonic() + seconds
    while beats < 40 or time.monotonic() < until:
        now += 1 / BEATS_PER_SECOND
        for model in stats.models.values():
            model.observe(batch, 0.001, 0.003, 0.002)
        started = time.thread_time()
        told = pulse.beat(now, 0.0)
        taken = time.thread_time()
        size = len(encode_json(told))
        encode += time.thread_time() - taken
        beat += taken - started
        beats += 1
    return beat / beats, encode / beats, size


def table(counts: Sequence[int], seconds: float) -> list[str]:
    """Measure every count."""
    lines = [
        "models  beat ms  JSON ms    bytes  % of a core at 4 Hz",
        "------  -------  -------  -------  -------------------",
    ]
    for count in counts:
        beat, encode, size = measure(count, seconds)
        share = (beat + encode) * BEATS_PER_SECOND * 100
        lines.append(f"{count:6}  {beat * 1e3:7.3f}  {encode * 1e3:7.3f}  {size:7,}  {share:19.2f}")
    return lines


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, default=COUNTS, help="models (default: 1 10 50 250)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each (default: 2)")
    options = parser.parse_args()
    print("\n".join(table(options.counts, options.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
