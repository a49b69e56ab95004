"""A server that is used in every way for a long time is as it was: nothing leaks, and nothing is left unanswered.

`make test` soaks it for a minute, `make soak` for half an hour, or `SOAK_SECONDS`.
"""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pytest

from .cluster_load import running_load
from .graphs import plus, write_model, write_zoo
from .metrics import Metrics
from .process import Server, running_server, until
from .soak import soaking

SHORT: Final = 60.0  # seconds
LONG: Final = float(os.environ.get("SOAK_SECONDS", "1800"))
WARM_UP: Final = 1 / 3  # of the time: caches and allocators fill up
EVERY: Final = 1.0  # seconds between looks

#: What each may grow by from the end of the warm-up to the end, as the slope tells.
MOST_GROWTH: Final = {"rss": 24 << 20, "descriptors": 20, "threads": 2, "tasks": 20}


@dataclass(frozen=True)
class Look:
    """What a server uses at a time."""

    at: float
    rss: float
    descriptors: float
    threads: float
    tasks: float

    @classmethod
    def at_server(cls, server: Server) -> Self:
        """Look at a server."""
        proc = Path(f"/proc/{server.process.pid}")
        metrics = Metrics(server)
        return cls(
            time.monotonic(),
            server.rss_bytes,
            server.descriptors,
            len(list((proc / "task").iterdir())),
            metrics("tasks"),
        )

    def is_as_idle_as(self, before: Self) -> bool:
        """Return whether nothing is left of what was under way; the look itself is a connection."""
        return self.descriptors <= before.descriptors + 2 and self.tasks <= before.tasks + 2


def growth(values: Sequence[tuple[float, float]]) -> float:
    """Return by how much values grow over their time: the median of all slopes (Theil, 1950), which no peak moves."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for at, earlier in enumerate(values)
        for later in values[at + 1 :: max(1, len(values) // 200)]
    ]
    return statistics.median(slopes) * (values[-1][0] - values[0][0])


def test_growth_is_that_of_the_trend() -> None:
    noise = [0, 5, -3, 2, 50, -4]
    assert growth([(at, 10 * at + noise[at % 6]) for at in range(61)]) == pytest.approx(600, rel=0.02)
    assert abs(growth([(at, noise[at % 6]) for at in range(61)])) < 5


@pytest.mark.parametrize(
    "seconds", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)], ids=["a minute", "half an hour"]
)
def test_nothing_leaks_and_nothing_is_left_unanswered(tmp_path: Path, seconds: float) -> None:
    write_zoo(tmp_path)
    write_model(tmp_path, "plain", plus(1))
    with running_server("--models", str(tmp_path), "--model-control", "poll", "--key-idle-seconds", "5") as server:
        until(lambda: Metrics(server)("tasks") > 0)
        before = Look.at_server(server)
        looks = []
        with running_load(lambda: [server.ws]) as load, soaking(server, tmp_path) as soak:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                time.sleep(EVERY)
                soak.check()
                looks.append(Look.at_server(server))
        assert load.predictions > 10 * seconds
        assert (load.lost, load.cut, dict(load.errors)) == (0, 0, {})
        assert min(soak.counts[kind] for kind in ("answers", "sockets", "updates", "chunks", "requests")) > seconds / 4
        assert soak.counts["versions"] > seconds / 10
        assert soak.counts["overloaded"] > 0
        server.check_log()
        warm = looks[int(len(looks) * WARM_UP) :]
        grown = {kind: growth([(look.at, getattr(look, kind)) for look in warm]) for kind in MOST_GROWTH}
        print(grown, dict(soak.counts), load)
        assert all(grown[kind] < most for kind, most in MOST_GROWTH.items()), grown
        until(lambda: Look.at_server(server).is_as_idle_as(before), within=15)
        assert Metrics(server)("sockets") == 0
