"""What it costs that someone watches in another process than the one that predicts.

Two processes with sockets and models share a Redis and a core; producers and the watcher have the other core.
Producers are at the first process, the watcher is at neither, at the first or at the second; costs are differences
within a round.
"""

from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import Final, NamedTuple

from benchmarks.cluster_servers import pid_of, put_load, serving, serving_redis, verdict
from benchmarks.jobs import Shape
from benchmarks.process import Cores, Server
from benchmarks.watchers import WatchJob, watched

PRODUCERS: Final = Shape(1000, rate=4000.0)
PATTERN: Final = "mlp/*"
HZ: Final = 10.0
NOBODY, HERE, THERE = PLACES = ("nobody", "at the producers' process", "at the other process")


class Seen(NamedTuple):
    """CPU of each process, µs a prediction, and the updates that the second process had of the first, a prediction."""

    first: float
    second: float
    redis: float
    relayed: float
    by_others: float
    """Cores that other programs used meanwhile."""


def relay(model: str, rounds: int, seconds: float) -> list[str]:
    """Measure with the watcher at each place; return figures to compare."""
    print(f"\n{PRODUCERS}, one watcher of all keys, {HZ:g} Hz; CPU µs a prediction\n")
    print(
        "| round | watcher | producers' process | other process | Redis | updates relayed | cores of other programs |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    costs: list[tuple[float, ...]] = []
    for number in range(rounds):
        seen = {place: _measure(model, place, seconds) for place in PLACES}
        for place, cost in seen.items():
            print(
                f"| {number + 1} | {place} | {cost.first:.1f} | {cost.second:.1f} | {cost.redis:.1f} "
                f"| {cost.relayed:.2f} a prediction | {cost.by_others:.2f} |",
                flush=True,
            )
        base, there = seen[NOBODY], seen[THERE]
        parts = zip(there[:3], base[:3], strict=True)
        costs.append((seen[HERE].first - base.first, *((one - none) / there.relayed for one, none in parts)))
    figures = (
        "CPU of a watched update, watcher at the producers' process",
        "CPU of a relayed update, at its sender",
        "CPU of a relayed update, at its receiver, with sending it to the watcher",
        "CPU of a relayed update, in Redis",
    )
    medians = map(median, zip(*costs, strict=True))
    return [verdict(figure, cost, " µs") for figure, cost in zip(figures, medians, strict=True)]


def _measure(model: str, place: str, seconds: float) -> Seen:
    cores = Cores.choose()
    with (
        serving_redis(cores.server) as redis,
        serving("all", cores.server, [model], redis) as first,
        serving("all", cores.server, [model], redis) as second,
        _watcher({HERE: first, THERE: second}.get(place), cores.load),
    ):
        counter = second.url, "waterspout_letters_received_total"
        others = [second.pid, pid_of(redis)]
        load = put_load(first, PRODUCERS, seconds, cores.load, others=others, counters=[counter])
    second_us, redis_us = load.others_cpu_us
    (relayed,) = load.counted
    return Seen(load.cpu_us, second_us, redis_us, relayed, load.others_busy)


def _watcher(server: Server | None, core: int) -> AbstractContextManager[None]:
    return watched(WatchJob(server.url, 1, PATTERN, HZ, reads=True), core) if server is not None else nullcontext()
