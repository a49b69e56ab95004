"""What it costs that someone watches in another process than the one that predicts.

Two processes with sockets and models share a Redis and a core; producers and the watcher have the other core.
Producers are at the first process, the watcher is at neither, at the first or at the second; costs are differences
within a round. Once at a rate that the server does not set, where all is told, and once as fast as the core allows:
then updates are passed over, and the cost of a prediction depends less on what else the machine does.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from statistics import median
from typing import Final, NamedTuple

from benchmarks.cluster_servers import least_disturbed, pid_of, put_load, serving, serving_redis, verdict
from benchmarks.jobs import Shape
from benchmarks.process import Cores, Server
from benchmarks.watchers import WatchJob, watched

PATTERN: Final = "mlp/*"
CASES: Final = ((Shape(1000, rate=4000.0), 10.0), (Shape(1000, 1), 60.0))  # producers, Hz of the watcher
NOBODY, HERE, THERE = PLACES = ("nobody", "at the producers' process", "at the other process")


class Seen(NamedTuple):
    """CPU of each process, µs a prediction, and the updates that the second process had of the first, a prediction."""

    first: float
    second: float
    redis: float
    relayed: float
    by_others: float
    """Cores that other programs used meanwhile."""


def relay(model: str, rounds: int, seconds: float, repeats: int) -> list[str]:
    """Measure with the watcher at each place; return figures to compare."""
    return [line for shape, hz in CASES for line in _compare(model, shape, hz, rounds, seconds, repeats)]


def _compare(model: str, shape: Shape, hz: float, rounds: int, seconds: float, repeats: int) -> list[str]:
    print(f"\n{shape}, one watcher of all keys, {hz:g} Hz; CPU µs a prediction\n")
    print(
        "| round | watcher | producers' process | other process | Redis | updates relayed | cores of other programs |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    costs: list[tuple[float, ...]] = []
    for number in range(rounds):
        seen = {}
        for place in PLACES:
            measure = partial(_measure, model, shape, hz, place, seconds)
            cost = seen[place] = least_disturbed(measure, _by_others, repeats)
            print(
                f"| {number + 1} | {place} | {cost.first:.1f} | {cost.second:.1f} | {cost.redis:.1f} "
                f"| {cost.relayed:.2f} a prediction | {cost.by_others:.2f} |",
                flush=True,
            )
        base, there = seen[NOBODY], seen[THERE]
        costs.append(tuple((one - none) / there.relayed for one, none in zip(there[:3], base[:3], strict=True)))
    figures = ("at its sender", "at its receiver, with sending it to the watcher", "in Redis")
    medians = map(median, zip(*costs, strict=True))
    told = f"CPU of a relayed update, {shape}"
    return [verdict(f"{told}, {figure}", cost, " µs") for figure, cost in zip(figures, medians, strict=True)]


def _measure(model: str, shape: Shape, hz: float, place: str, seconds: float) -> Seen:
    cores = Cores.choose()
    with (
        serving_redis(cores.server) as redis,
        serving("all", cores.server, [model], redis) as first,
        serving("all", cores.server, [model], redis) as second,
        _watcher({HERE: first, THERE: second}.get(place), hz, cores.load),
    ):
        counter = second.url, "waterspout_letters_received_total"
        others = [second.pid, pid_of(redis)]
        load = put_load(first, shape, seconds, cores.load, others=others, counters=[counter])
    second_us, redis_us = load.others_cpu_us
    (relayed,) = load.counted
    return Seen(load.cpu_us, second_us, redis_us, relayed, load.others_busy)


def _by_others(seen: Seen) -> float:
    return seen.by_others


def _watcher(server: Server | None, hz: float, core: int) -> AbstractContextManager[None]:
    return watched(WatchJob(server.url, 1, PATTERN, hz, reads=True), core) if server is not None else nullcontext()
