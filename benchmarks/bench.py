"""Run the measurements: every server under every load, round after round."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.contestants import ROOT, Contestant
from benchmarks.jobs import Idle, IdleJob, Load, LoadJob, Shape
from benchmarks.process import Cores, ProcessError, Server, ask
from benchmarks.results import Results, Sample

EQUAL_LOAD_SOCKETS = 100
AT_EQUAL_LOAD = ("spike", "waterspout-msgpack")
WITH_IDLE_SOCKETS = ("tornado", "spike", "waterspout-msgpack")
DISTURBED_ABOVE = 0.1
"""Cores that others may use during a measurement that stands at once."""

CONNECT_SECONDS = 60.0
"""How long opening the sockets of one job may take beyond its load."""


@dataclass(frozen=True)
class Plan:
    """What to measure; `rate` (events/s at equal load) and `idle` (sockets) may be 0 to leave that out."""

    shapes: Sequence[Shape]
    rounds: int
    seconds: float
    rate: float
    idle: int
    repeats: int
    """How often to measure again while other processes disturb."""

    @property
    def warm_up(self) -> float:
        """Return how long each load goes on before it is measured, in seconds."""
        return min(1.0, self.seconds / 2)

    @property
    def equal_load(self) -> Shape:
        """Return the open loop."""
        return Shape(EQUAL_LOAD_SOCKETS, rate=self.rate)

    def loads(self, racers: Sequence[Contestant]) -> Iterator[tuple[int, Shape, Contestant]]:
        """Yield (round, load, server), all servers under one load before the next load."""
        for turn in range(self.rounds):
            for shape in self.shapes:
                yield from ((turn, shape, racer) for racer in racers if racer.takes(shape))
            if self.rate:
                yield from ((turn, self.equal_load, racer) for racer in racers if racer.name in AT_EQUAL_LOAD)


class Bench:
    """Measure one server at a time, each with a fresh process and a fresh load generator."""

    def __init__(self, plan: Plan, model: Path, cores: Cores) -> None:
        self._plan, self._model, self._cores = plan, model, cores

    def measure(self, racers: Sequence[Contestant], results: Results) -> None:
        """Fill in the results as they come; a failed measurement is noted and the next one made."""
        for turn, shape, racer in self._plan.loads(racers):
            with _noting_failure(results, f"round {turn + 1}, {shape}"):
                load = self._load_undisturbed(racer, shape)
                results.samples.append(Sample(turn, racer.name, str(shape), load))
                seen = f"{load.cpu_us:.2f} µs each, p50 {load.p50_ms:.3f} ms, others {load.others_busy:.0%}"
                tell(f"round {turn + 1}, {shape}, {racer.name}: {seen}")
        for racer in racers:
            if self._plan.idle and racer.name in WITH_IDLE_SOCKETS:
                with _noting_failure(results, "idle"):
                    idle = results.idle[racer.name] = self._idle(racer)
                    tell(f"idle, {racer.name}: {idle.bytes_per_socket:,.0f} bytes a socket")

    def _load_undisturbed(self, racer: Contestant, shape: Shape) -> Load:
        best = self._load(racer, shape)
        for _ in range(self._plan.repeats):
            if best.others_busy <= DISTURBED_ABOVE:
                break
            # Chosen by what others used and never by the figures themselves, or luck would be picked out.
            best = min(best, self._load(racer, shape), key=lambda load: load.others_busy)
        return best

    def _load(self, racer: Contestant, shape: Shape) -> Load:
        with self._serve(racer) as server:
            door = racer.door(server.url, server.pid)
            answer = self._ask(LoadJob(door, shape, self._plan.warm_up, self._plan.seconds))
        return msgspec.json.decode(answer, type=Load)

    def _idle(self, racer: Contestant) -> Idle:
        with self._serve(racer) as server:
            answer = self._ask(IdleJob(racer.door(server.url, server.pid), self._plan.idle))
        return msgspec.json.decode(answer, type=Idle)

    def _serve(self, racer: Contestant) -> Server:
        return Server(racer.name, racer.command(self._model), self._cores.server, ROOT)

    def _ask(self, job: LoadJob | IdleJob) -> bytes:
        timeout = CONNECT_SECONDS + self._plan.warm_up + self._plan.seconds
        return ask("benchmarks.load", msgspec.json.encode(job), self._cores.load, ROOT, timeout)


@contextmanager
def _noting_failure(results: Results, what: str) -> Iterator[None]:
    try:
        yield
    except ProcessError as error:
        results.failures.append(f"{what}: {error}")
        tell(results.failures[-1])


def tell(progress: str) -> None:
    """Show on stderr how far the run is; stdout is for the tables."""
    print(progress, file=sys.stderr, flush=True)
