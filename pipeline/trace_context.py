"""Whose traces a batch belongs to, after W3C's Trace Context, and which batches are worth a span."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

MOST_LINKS: Final = 128  # of a span, which is what the SDK keeps
MOST_SPANS_PER_SECOND: Final = 100

_HEADER: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED: Final = 1


class TraceContext(NamedTuple):
    """The span of somebody else's that a request or a socket is part of."""

    trace_id: int
    span_id: int
    is_sampled: bool


def read_traceparent(text: str) -> TraceContext | None:
    """Return what the header `traceparent` says; None where it says nothing, or nothing right (section 3.2)."""
    found = _HEADER.fullmatch(text.strip())
    if found is None:
        return None
    version, trace, span, flags = found.groups()
    if version == "ff" or (version == "00" and found.end(4) != len(text.strip())):
        return None
    if not int(trace, 16) or not int(span, 16):
        return None
    return TraceContext(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED))


def check_endpoint(url: str) -> None:
    """Raise `ValueError` for what is no http or https URL of a receiver."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("no URL, or no port between 0 and 65535") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ValueError("expected http://host:4318 or https://host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials go to OTEL_EXPORTER_OTLP_HEADERS")


def contexts_of(jobs: Iterable[Any]) -> list[TraceContext]:
    """Return the contexts of the rows of a batch, each once, at most `MOST_LINKS`."""
    found: dict[TraceContext, None] = {}
    for job in jobs:
        owner = job.owner
        while (outer := getattr(owner, "job", None)) is not None:  # a step of an ensemble
            owner = outer.owner
        holder = owner if owner.outlet is None else owner.outlet
        context = getattr(holder, "trace", None)
        if context is not None:
            found[context] = None
            if len(found) == MOST_LINKS:
                break
    return list(found)


class Sampling:
    """Which batches are recorded: those of sampled traces, and a share of the others; in all so many a second."""

    def __init__(self, ratio: float, random: Callable[[], float], most_per_second: int = MOST_SPANS_PER_SECOND) -> None:
        """`ratio`: of the batches that no sampled trace asks for; `random` returns numbers of [0, 1)."""
        self._ratio = ratio
        self._random = random
        self._most = most_per_second
        self._second = 0.0
        self._count = 0

    def __repr__(self) -> str:
        return f"<Sampling ratio={self._ratio}>"

    def takes(self, contexts: Iterable[TraceContext], now: float) -> bool:
        """Return whether to record a batch; `now` is monotonic, in seconds."""
        is_wanted = any(context.is_sampled for context in contexts) or self._random() < self._ratio
        if not is_wanted:
            return False
        if now >= self._second + 1.0:
            self._second, self._count = now, 0
        self._count += 1
        return self._count <= self._most
