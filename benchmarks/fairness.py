"""Show what one client's flood does to a polite one beside it, on a slow model: `python -m benchmarks.fairness`.

The flooder's own latency is what a queue without turns would make everybody wait.
"""

import argparse

from benchmarks.crowd import Group, Outcome
from benchmarks.slow_server import Bench

POLITE = Group("polite", sockets=5, rate=50.0)
FLOOD_SOCKETS = 4
FLOOD_IN_FLIGHT = 250


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="measured time of each load (8)")
    bench = Bench(parser.parse_args().seconds)
    alone = bench.measure([POLITE])
    flooder = Group("flooder", FLOOD_SOCKETS, in_flight=FLOOD_IN_FLIGHT)
    beside = bench.measure([POLITE, flooder])
    print(f"the flooder keeps {FLOOD_SOCKETS * FLOOD_IN_FLIGHT:,} events under way\n")
    print("| client | events/s | answered/s | p50 ms | p99 ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    print(_line("polite, alone", alone["polite"]))
    print(_line("polite, beside the flooder", beside["polite"]))
    print(_line("flooder", beside["flooder"]))


def _line(who: str, seen: Outcome) -> str:
    return f"| {who} | {seen.offered:,.0f} | {seen.answered:,.0f} | {seen.p50_ms:.1f} | {seen.p99_ms:.1f} |"


if __name__ == "__main__":
    main()
