"""What every attack is judged by: polite neighbours, memory, descriptors and the log of the server."""

import bisect
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from ..process import ROOT, Server, until
from .neighbours import CLIENTS, EVERY, PATIENCE, REPORT_EVERY, Sample

MOST_SLOWDOWN: Final = 2.0  # of the neighbours' p99
MOST_LEFT: Final = 16 << 20  # bytes that the allocators may keep of an attack
MOST_AMID: Final = 64 << 20  # bytes that an attack may cost while it lasts
ROUND: Final = 0.25  # seconds
TOLD_AFTER: Final = 2 * REPORT_EVERY
ROUNDS: Final = 5  # that a median is taken of, the latest, unless more are asked for
MOST_ROUNDS: Final = 32  # until then things may get better: others are at work on the machine that runs the tests
FULL: Final = CLIENTS * ROUND / EVERY * 0.8  # events that a round must have to count
RECOVERY: Final = 10.0  # seconds until all is as it was


class Neighbours:
    """The process of a server's polite clients, and what it has measured."""

    def __init__(self, server: Server, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.system.attacks.neighbours", server.ws]
        env = {**os.environ, **environment}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        prefer(self._process.pid)
        self._samples: list[Sample] = []  # nearly in the order of time
        self._reads = threading.Thread(target=self._read, daemon=True)
        self._reads.start()

    @property
    def are_there(self) -> bool:
        """Whether they have begun."""
        self.check()
        return bool(self._samples)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._reads.join()
        self._process.communicate()

    def check(self) -> None:
        """Fail if anything was not as it should be for one of them."""
        if self._process.poll() is not None:
            assert self._process.stderr is not None
            raise AssertionError(f"a neighbour noticed:\n{self._process.stderr.read()}")

    def rounds(self, start: float) -> list[float]:
        """Return the p99 in seconds of each round since `start`, as soon as it is told; infinity for one of silence."""
        self.check()
        samples = self._samples[bisect.bisect_left(self._samples, (start - PATIENCE, 0.0)) :]
        rounds: list[list[float]] = [[] for _ in range(max(0, int((time.monotonic() - TOLD_AFTER - start) / ROUND)))]
        for sent, seconds in samples:
            if 0 <= (number := math.floor((sent - start) / ROUND)) < len(rounds):
                rounds[number].append(seconds)
        # A round that lacks events was no quick one: what is missing has not left, or is not answered yet.
        return [p99(taken) if len(taken) >= FULL else math.inf for taken in rounds]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._samples += [(sent, seconds) for sent, seconds in json.loads(line)]


def prefer(process: int) -> None:
    """Let a process go before what else runs on the machine, where that is allowed: an attack makes a server busy,
    and what is busy waits longer for a core than what is not.
    """
    with contextlib.suppress(PermissionError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), -15)


def p99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


class Arena:
    """A server to attack, and a bystander: the same server with the same neighbours, which nobody attacks.

    What the bystander's neighbours see tells what the machine does to both.
    """

    def __init__(self, server: Server, bystander: Server, trusted: Path | None = None, key: str | None = None) -> None:
        """`trusted`: the certificate of servers with TLS; `key`: the neighbours' credential."""
        environment = {} if trusted is None else {"SSL_CERT_FILE": str(trusted)}
        if key is not None:
            environment["NEIGHBOURS_KEY"] = key
        prefer(server.process.pid)
        prefer(bystander.process.pid)
        self.server = server
        self._neighbours = Neighbours(server, environment)
        self._others = Neighbours(bystander, environment)
        self._quiet_since = 0.0

    def __enter__(self) -> Self:
        until(lambda: self._neighbours.are_there and self._others.are_there)
        self._quiet_since = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._neighbours.stop()
        self._others.stop()

    @contextmanager
    def under_attack(
        self, *, rounds: int = ROUNDS, most_amid: int = MOST_AMID, most_left: int = MOST_LEFT
    ) -> Iterator["Measure"]:
        """Measure while the body attacks, and for as long as it takes until there are enough rounds.

        Neighbours may be slowed down to `MOST_SLOWDOWN` times what they had before, or have elsewhere now. After the
        attack, and within `RECOVERY`, that must be so again, and memory and descriptors be back.
        """
        server = self.server
        quiet = self._measure(self._quiet_since)
        quiet.hold()
        assert quiet.p99 < math.inf, quiet
        rss, descriptors = server.rss_bytes, server.descriptors
        forget_peak(server)
        attack = self._measure(time.monotonic(), quiet.p99, rounds)
        try:
            yield attack
            attack.hold()
        finally:
            self._quiet_since = time.monotonic()
        print(attack)
        assert peak_bytes(server) - rss < most_amid, f"{(peak_bytes(server) - rss) / 2**20:.0f} MiB amid the attack"
        assert attack.is_bearable, attack
        until(lambda: server.descriptors <= descriptors, within=RECOVERY)
        until(lambda: server.rss_bytes - rss < most_left, within=RECOVERY)
        self._quiet_since = time.monotonic()
        after = self._measure(self._quiet_since, quiet.p99)
        after.hold()
        assert after.is_bearable, f"after the attack: {after}"
        server.check_log()

    def _measure(self, start: float, before: float = math.inf, rounds: int = ROUNDS) -> "Measure":
        return Measure(self._neighbours, self._others, start, before, rounds)


class Measure:
    """A time in which neighbours are measured: an attack, or quiet before or after one."""

    def __init__(self, neighbours: Neighbours, others: Neighbours, start: float, before: float, enough: int) -> None:
        """`before`: the p99 that was seen in quiet, seconds; `enough`: rounds of which a median is taken."""
        self._neighbours = neighbours
        self._others = others
        self._start = start
        self._before = before
        self._enough = enough
        self._next_look = 0.0
        self._goes_on = True
        self.look()

    def __repr__(self) -> str:
        return (
            f"p99 {self.p99 * 1000:.1f} ms in {self.rounds} rounds, "
            f"{self._before * 1000:.1f} ms before, {self.elsewhere * 1000:.1f} ms elsewhere"
        )

    @property
    def is_bearable(self) -> bool:
        """Whether nobody was slowed down too much, as it looked last."""
        return self.p99 <= MOST_SLOWDOWN * max(self._before, self.elsewhere)

    def look(self) -> None:
        """Take the medians of the latest rounds."""
        rounds = self._neighbours.rounds(self._start)
        self.rounds = len(rounds)
        self.p99 = _median(rounds[-self._enough :])
        self.elsewhere = _median(self._others.rounds(self._start)[-self._enough :])

    def lasts(self, pause: float = 0.0) -> bool:
        """Return whether more rounds are needed to tell, after a rest of `pause` seconds.

        What is bearable for as long as a median takes is bearable: what an attack does it does all the time.
        """
        time.sleep(pause)
        if self._goes_on and (now := time.monotonic()) >= self._next_look:
            self._next_look = now + ROUND / 4
            self.look()
            self._goes_on = self.rounds < self._enough or (self.rounds < MOST_ROUNDS and not self.is_bearable)
        return self._goes_on

    def hold(self) -> None:
        """Wait until no more rounds are needed."""
        while self.lasts(pause=ROUND / 4):
            pass


def _median(rounds: list[float]) -> float:
    return statistics.median(rounds) if rounds else math.inf


def forget_peak(server: Server) -> None:
    """Have `peak_bytes` begin anew."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def peak_bytes(server: Server) -> int:
    """Return the most memory that a server has had resident."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
