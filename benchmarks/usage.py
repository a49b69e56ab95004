"""Read what a process has used from /proc."""

import os
import resource
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """Return the user + system time of all threads of a process so far, in seconds (steps of 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def machine_cpu_seconds() -> float:
    """Return the CPU time that no core idled since the machine started, taken by other machines included."""
    user, nice, system, _idle, _wait, *rest = map(int, Path("/proc/stat").read_text().split(maxsplit=10)[1:9])
    return (user + nice + system + sum(rest)) / _TICKS


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def allow_open_files() -> int:
    """Raise this process's limit of open files as far as it goes and return it; children inherit it."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return limit
