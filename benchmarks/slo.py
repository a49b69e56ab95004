"""Show what a latency SLO does to a slow model near its capacity and beyond it: `python -m benchmarks.slo`.

Capacity is measured with full batches. Then the same rates, from a clock that waits for nobody, go to a server without
an SLO and to one with it. What a shared machine does changes within seconds, so capacity is measured before and after
each load, whose goodput is compared with the mean of both, and verdicts are medians over the rounds.
"""

import argparse
from statistics import median

from benchmarks.crowd import Group, Outcome
from benchmarks.slow_server import MAX_BATCH_SIZE, Bench

SOCKETS = 100
LOADS = (0.9, 1.5)
FULL_RUNS = 4
"""The SLO, in runs of a full batch: an event waits for the run before its own, and machines are not punctual."""

GOODPUT_AT_LEAST = 0.9  # of capacity, at the higher load
SERVER_SHARE = 0.8
"""The part of the SLO that the server may use; the rest is for the sockets on both sides and the client."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="measured time of each load (8)")
    parser.add_argument("--slo-ms", type=float, help=f"the SLO (default: {FULL_RUNS} runs of a full batch)")
    parser.add_argument("--rounds", type=int, default=3, help="times that all is measured (3)")
    options = parser.parse_args()
    bench = Bench(options.seconds)
    p99s, goodputs = [], []
    for number in range(options.rounds):
        capacity = bench.capacity()
        full_ms = MAX_BATCH_SIZE / capacity * 1e3
        slo_ms = options.slo_ms or FULL_RUNS * full_ms
        print(
            f"round {number + 1}: capacity {capacity:,.0f} rows/s, {MAX_BATCH_SIZE} rows in {full_ms:.1f} ms; ", end=""
        )
        print(f"SLO {slo_ms:.1f} ms\n")
        print(
            "| offered | policy | capacity | events/s | answered | in time | / capacity | refused | p50 ms | p99 ms |"
        )
        print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for load in LOADS:
            for policy in ("plain", "SLO"):
                config = {"latency_slo_microseconds": int(slo_ms * SERVER_SHARE * 1e3)} if policy == "SLO" else {}
                seen = bench.measure([Group(policy, SOCKETS, rate=load * capacity)], slo_ms, **config)[policy]
                before, capacity = capacity, bench.capacity()
                mean = (before + capacity) / 2
                print(_line(f"{load:.0%}", policy, seen, mean), flush=True)
                if policy == "SLO" and load < 1:
                    p99s.append(seen.p99_ms / slo_ms)
                elif policy == "SLO":
                    goodputs.append(seen.in_time / mean)
        print()
    print(_verdict("p99 / SLO at 90 %", median(p99s), "<= 100%", is_reached=median(p99s) <= 1))
    told = "goodput / capacity at 150 %", median(goodputs), f">= {GOODPUT_AT_LEAST:.0%}"
    print(_verdict(*told, is_reached=median(goodputs) >= GOODPUT_AT_LEAST))


def _verdict(figure: str, seen: float, target: str, *, is_reached: bool) -> str:
    return f"{figure}: median {seen:.0%}, target {target}: {'reached' if is_reached else '**missed**'}"


def _line(load: str, policy: str, seen: Outcome, capacity: float) -> str:
    cells = (
        load,
        policy,
        f"{capacity:,.0f}",
        f"{seen.offered:,.0f}",
        f"{seen.answered:,.0f}",
        f"{seen.in_time:,.0f}",
        f"{seen.in_time / capacity:.0%}",
        f"{seen.refused:,.0f}",
        f"{seen.p50_ms:.1f}",
        f"{seen.p99_ms:.1f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
