"""What makes the server fast and may be missing: uvloop, Tornado's C code, and our own."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from tornado.util import _websocket_mask

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:  # platforms without it
    uvloop = None

SWITCH_INTERVAL: Final = 0.0005  # seconds a finished worker waits for the interpreter at most; Python's default is 5 ms


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on the fastest loop there is, as the whole of a process; return what it returns."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    code: int = asyncio.run(main) if uvloop is None else uvloop.run(main)
    return code


def slow_parts() -> list[str]:
    """Return a line for each part that is slower than it could be."""
    lines = []
    if uvloop is None:
        lines.append("uvloop is not installed: sockets stay on Tornado's IOStream, which costs several times the CPU")
    if _websocket_mask.__module__ != "tornado.speedups":
        lines.append("Tornado's C speedups are missing: unmasking frames is slow")
    lines += [
        f"{name} is compiled from an older source: run `make`, or `make clean` to do without"
        for name in outdated_modules()
    ]
    return lines


def outdated_modules() -> list[str]:
    """Return the loaded modules that were compiled from a source older than the one beside them."""
    outdated = []
    for name, module in sys.modules.copy().items():
        compiled = Path(getattr(module, "__file__", None) or "")
        if name.partition(".")[0] in ("handlers", "pipeline") and compiled.suffix == ".so":
            source = compiled.with_name(f"{name.rpartition('.')[2]}.py")
            if source.exists() and source.stat().st_mtime > compiled.stat().st_mtime:
                outdated.append(name)
    return outdated
