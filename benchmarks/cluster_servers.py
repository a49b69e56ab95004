"""Servers around a Redis, and loads on them: what the benchmarks of a cluster share."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from benchmarks.bench import DISTURBED_ABOVE
from benchmarks.contestants import PRODUCT, ROOT, Contestant
from benchmarks.jobs import Load, LoadJob, Shape
from benchmarks.process import Server, ask, pin
from tests.redis_server import RedisServer, running_redis

T = TypeVar("T")

WARM_UP: Final = 3.0
SPARE_SECONDS: Final = 60.0


class Team(NamedTuple):
    """A gateway, its workers, and the process id of their Redis."""

    gateway: Server
    workers: list[Server]
    redis: int

    @property
    def others(self) -> list[int]:
        """Return the process ids of all but the gateway, Redis first."""
        return [self.redis, *(worker.pid for worker in self.workers)]


@contextmanager
def serving_redis(core: int | None) -> Iterator[RedisServer]:
    """Run a Redis without a disk, on a core or without one on all."""
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder), data=False) as redis:
        pin(pid_of(redis), core)
        yield redis


def serving(role: str, core: int | None, models: Sequence[str], redis: RedisServer | None = None) -> Server:
    """Return what runs a server of one thread with these arguments for its models; a gateway has none."""
    joined = ["--redis", redis.url, "--role", role] if redis is not None else []
    own = models if role != "gateway" else []
    command = [sys.executable, str(PRODUCT), *own, "--port", "0", "--threads", "1", *joined]
    return Server(role, command, core, ROOT)


@contextmanager
def serving_team(core: int | None, models: Sequence[str], workers: int) -> Iterator[Team]:
    """Run a gateway and workers over a Redis of their own."""
    with serving_redis(core) as redis, ExitStack() as stack:
        team = [stack.enter_context(serving("worker", core, models, redis)) for _ in range(workers)]
        gateway = stack.enter_context(serving("gateway", core, models, redis))
        yield Team(gateway, team, pid_of(redis))


def put_load(
    server: Server,
    shape: Shape,
    seconds: float,
    core: int | None,
    *,
    others: Sequence[int] = (),
    counters: Sequence[tuple[str, str]] = (),
    model: str = "mlp",
    expected: bytes = b"",
) -> Load:
    """Return what a load on one server showed; `others`, `counters` and `expected` as in `LoadJob` and `Door`."""
    contestant = Contestant("waterspout", "Waterspout", None, path=f"/v1/models/{model}/stream")
    door = msgspec.structs.replace(contestant.door(server.url, server.pid), expected=expected)
    job = LoadJob(door, shape, min(WARM_UP, seconds), seconds, list(others), list(counters))
    answer = ask("benchmarks.load", msgspec.json.encode(job), core, ROOT, SPARE_SECONDS + WARM_UP + seconds)
    return msgspec.json.decode(answer, type=Load)


def least_disturbed(measure: Callable[[], T], disturbance: Callable[[T], float], repeats: int) -> T:
    """Measure, and again up to so many times while other programs use more of the cores than they may.

    What is kept is chosen by what others used and never by the figures themselves, or luck would be picked out.
    """
    best = measure()
    for _ in range(repeats):
        if disturbance(best) <= DISTURBED_ABOVE:
            break
        best = min(best, measure(), key=disturbance)
    return best


def pid_of(redis: RedisServer) -> int:
    """Return the process id of a Redis that runs."""
    assert redis.process is not None
    return redis.process.pid


def verdict(figure: str, seen: float, unit: str, *, at_most: float | None = None, at_least: float | None = None) -> str:
    """Return a line of the table of targets; without a bound the figure is there for comparison."""
    if at_most is not None:
        target, reached = f"<= {at_most:g}{unit}", seen <= at_most
    elif at_least is not None:
        target, reached = f">= {at_least:g}{unit}", seen >= at_least
    else:
        return f"| {figure} | for comparison | {seen:.2f}{unit} | - |"
    return f"| {figure} | {target} | {seen:.2f}{unit} | {'reached' if reached else '**missed**'} |"
