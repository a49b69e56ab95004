"""A machine's own counters, and what two readings of them say about the time between.

Everything is a share or counted per core, and what is heavy-tailed is on a logarithmic scale, so that samples of a
small machine and of a large one look alike.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

CHANNELS: Final = (
    "cpu",  # share of all cores' time that was not idle
    "system",  # share that the kernel took, interrupts included
    "busiest",  # share of the busiest core's time that was not idle
    "iowait",  # share of all cores' time that was idle because of a disk
    "memory",  # share of memory in use
    "switches",  # log10(1 + context switches per second and core)
    "interrupts",  # log10(1 + interrupts per second and core)
    "disk_read",  # log10(1 + kB per second), and so are the next three
    "disk_write",
    "net_in",
    "net_out",
)


class CoreTimes(NamedTuple):
    """Seconds of a core's life; `total` is all of them, stolen ones included."""

    total: float
    idle: float
    iowait: float
    system: float


@dataclass(frozen=True, slots=True)
class Counters:
    """One reading. But for `memory`, a share, only differences of two mean something. `seconds` is of any clock."""

    seconds: float
    cores: tuple[CoreTimes, ...]
    memory: float
    switches: int
    interrupts: int
    read_bytes: int
    written_bytes: int
    received_bytes: int
    sent_bytes: int


def core_times(times: Any) -> CoreTimes:
    """Sum up what psutil tells of one core, a named tuple whose fields are the platform's."""
    fields: dict[str, float] = times._asdict()
    guests = ("guest", "guest_nice")  # counted in `user` and `nice` as well
    return CoreTimes(
        sum(seconds for name, seconds in fields.items() if name not in guests),
        fields["idle"],
        fields.get("iowait", 0.0),
        sum(fields.get(name, 0.0) for name in ("system", "irq", "softirq", "interrupt", "dpc")),
    )


def sample(before: Counters, after: Counters) -> list[float]:
    """Return one number for each of `CHANNELS` about the time between two readings.

    Counters that went backwards (a disk was taken away) and cores that came count as if nothing had happened.
    """
    spent = spent_times(before, after)
    total = sum(core.total for core in spent)
    elapsed = after.seconds - before.seconds

    def per_second(name: str, unit: float) -> float:
        counted = max(0, getattr(after, name) - getattr(before, name))
        return math.log10(1 + counted / unit / elapsed) if elapsed > 0 else 0.0

    cores = max(1, len(spent))
    return [
        busy_share(spent),
        _share(sum(core.system for core in spent), total),
        max((busy_share([core]) for core in spent), default=0.0),
        _share(sum(core.iowait for core in spent), total),
        after.memory,
        per_second("switches", cores),
        per_second("interrupts", cores),
        per_second("read_bytes", 1e3),
        per_second("written_bytes", 1e3),
        per_second("received_bytes", 1e3),
        per_second("sent_bytes", 1e3),
    ]


def spent_times(before: Counters, after: Counters) -> list[CoreTimes]:
    """Return how each core spent the time between two readings."""
    return [
        CoreTimes(*(max(0.0, new - old) for old, new in zip(*pair, strict=True)))
        for pair in zip(before.cores, after.cores, strict=False)
    ]


def busy_share(spent: Iterable[CoreTimes]) -> float:
    """Return the share of the cores' time that was not idle."""
    total = idle = 0.0
    for core in spent:
        total += core.total
        idle += core.idle + core.iowait
    return _share(total - idle, total)


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0
