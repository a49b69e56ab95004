"""Describe the machine and the packages that figures were measured with."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

PACKAGES = (
    "tornado", "uvloop", "msgspec", "numpy", "onnxruntime", "picows", "aiofastnet", "fastapi", "uvicorn",
    "websockets",
)  # fmt: skip


class Machine(msgspec.Struct, frozen=True):
    """Where and when a benchmark ran."""

    date: str
    cpu: str
    cores: int
    usable_cores: int
    memory_gb: float
    system: str
    python: str
    packages: dict[str, str]
    load_average: float
    """Runnable processes over the last minute before the start: above 0.5 others use this machine too."""


def describe() -> Machine:
    """Return this machine, now."""
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        usable_cores=len(os.sched_getaffinity(0)),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages={name: found for name in PACKAGES if (found := _version(name))},
        load_average=round(os.getloadavg()[0], 2),
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
