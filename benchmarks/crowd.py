"""Load one server with groups of sockets at once: `python -m benchmarks.crowd`, a job as JSON on stdin.

Unlike `load`, it takes errors for answers: what is refused counts, and so does what comes late or not at all.
"""

import gc
import sys
from collections import Counter
from time import perf_counter

import msgspec
import numpy as np
import uvloop
from picows import WSError, WSFrame, WSTransport

from benchmarks.jobs import Door
from benchmarks.load import Client, Pacer, Run, connect
from benchmarks.messages import FIRST_ID, WrongAnswerError
from benchmarks.mlp import ROWS


class Group(msgspec.Struct, frozen=True):
    """So many sockets that send `rate` events/s together, or keep `in_flight` each under way."""

    name: str
    sockets: int
    rate: float = 0.0
    in_flight: int = 0


class CrowdJob(msgspec.Struct, frozen=True):
    """Keep all groups going for `warm_up` + `seconds`; count the events that should have left during the latter."""

    door: Door
    groups: list[Group]
    warm_up: float
    seconds: float
    slo_ms: float = 0.0
    """Answers that come later are late; 0: none is."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a group's events."""

    name: str
    offered: float
    """Events/s."""
    answered: float
    """Predictions/s, in time or late."""
    in_time: float
    """Predictions/s within the SLO."""
    refused: float
    """Errors/s."""
    p50_ms: float
    """Of the predictions; 0 where there was none."""
    p99_ms: float
    errors: dict[str, int]


class Member(Client):
    """One socket of a group; an answer is told by its event's id."""

    def __init__(self, run: Run, first_row: int) -> None:
        super().__init__(run, first_row)
        self.in_flight: dict[int, float] = {}
        self.again = False
        self.measured: list[tuple[float, float]] = []  # when it should have left, and its latency
        self.refused: list[tuple[float, str]] = []

    def send(self, at: float) -> None:
        """Send the next event, which should have left at `at`; none while one with its id is under way."""
        if FIRST_ID + self.row in self.in_flight:
            self.refused.append((at, "not sent"))
            return
        self.in_flight[FIRST_ID + self.row] = at
        self.transport.send(self.run.messages.kind, self.run.messages.encoded[self.row])
        self.row = (self.row + 1) % ROWS

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one answer, or the greeting."""
        if not self.greeted.done():
            self._take_unasked(frame)
            return
        now = perf_counter()
        answer = msgspec.msgpack.decode(frame.get_payload_as_bytes())
        sent = self.in_flight.pop(answer["id"])
        if "outputs" in answer:
            self.measured.append((sent, now - sent))
        else:
            self.refused.append((sent, answer["error"]["code"]))
        if self.again:
            self.send(now)


async def crowd(job: CrowdJob) -> list[Outcome]:
    """Let all groups loose, and look at each."""
    run = Run(job.door)
    members = {group.name: await connect(run, group.sockets, Member) for group in job.groups}
    pacers = [Pacer(members[group.name], group.rate) for group in job.groups if group.rate]
    for group in job.groups:
        for member in members[group.name]:
            member.again = group.in_flight > 0
            for _ in range(group.in_flight):
                member.send(perf_counter())
    begin = perf_counter() + job.warm_up
    await run.last(job.warm_up + job.seconds)
    end = perf_counter()
    for pacer in pacers:
        pacer.running = False
    await run.last(job.slo_ms / 1e3)
    run.closing = True
    return [_look(group.name, members[group.name], begin, end, job.slo_ms) for group in job.groups]


def _look(name: str, members: list[Member], begin: float, end: float, slo_ms: float) -> Outcome:
    """Count the events of a group that should have left between `begin` and `end`."""
    seconds = end - begin
    measured = [latency for member in members for at, latency in member.measured if begin <= at < end]
    errors = Counter(code for member in members for at, code in member.refused if begin <= at < end)
    missing = sum(begin <= at < end for member in members for at in member.in_flight.values())
    in_time = sum(not slo_ms or latency * 1e3 <= slo_ms for latency in measured)
    p50, p99 = np.percentile(np.array(measured) * 1e3, [50, 99]) if measured else (0.0, 0.0)
    return Outcome(
        name=name,
        offered=(len(measured) + errors.total() + missing) / seconds,
        answered=len(measured) / seconds,
        in_time=in_time / seconds,
        refused=errors.total() / seconds,
        p50_ms=float(p50),
        p99_ms=float(p99),
        errors=dict(errors),
    )


async def main() -> None:
    """Do the job on stdin and print what became of each group as JSON."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=CrowdJob)
    gc.disable()
    print(msgspec.json.encode(await crowd(job)).decode())


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except (WrongAnswerError, WSError, msgspec.DecodeError, OSError) as failure:
        sys.exit(f"{type(failure).__name__}: {failure}")
