"""File descriptors: as many as the system allows, and some of them for what is no connection."""

import sys
from math import inf
from typing import Final

if sys.platform != "win32":
    import resource

RESERVE: Final = 100  # for models, keys, usage, Redis and whatever else is no connection


def allow_most() -> None:
    """Raise the limit of this process as far as the system lets it."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # of macOS, where "unlimited" is none of the values that it takes
        return


def room() -> float:
    """Return how many connections may be open at the same time."""
    if sys.platform == "win32":
        return inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return inf if soft == resource.RLIM_INFINITY else max(soft - RESERVE, soft / 2)
