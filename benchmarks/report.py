"""Lay results out as Markdown."""

import shlex
from collections.abc import Iterable, Sequence

from benchmarks.contestants import CONTESTANTS
from benchmarks.machine import Machine
from benchmarks.results import Results, Verdict, cpu_us, p50_ms, p99_ms

LOAD_HEAD = (
    "server", "predictions/s", "p50 ms", "p99 ms", "CPU µs each", "x echo", "RSS MB",
    "server core", "load core", "others",
)  # fmt: skip
IDLE_HEAD = ("server", "sockets", "RSS before MB", "RSS with MB", "bytes each")
VERDICT_HEAD = ("figure", "target", "seen", "verdict")
MARKS = {True: "reached", False: "**missed**", None: "-"}


def document(results: Results) -> str:
    """Return everything but single rounds."""
    parts = ["# Streaming benchmark", _machine(results.machine)]
    parts += [f"{name} skipped: {why}" for name, why in results.skipped.items()]
    for shape in dict.fromkeys(sample.shape for sample in results.samples):
        parts += [f"## {shape}", _table(LOAD_HEAD, _loads(results, shape))]
    if results.idle:
        parts += ["## Idle sockets", _table(IDLE_HEAD, _idle(results))]
    if results.failures:
        parts += ["## Failed", *[f"```\n{failure.strip()}\n```" for failure in results.failures]]
    parts += ["## Must reach", _table(VERDICT_HEAD, map(_verdict, results.verdicts))]
    parts.append(f"`{shlex.join(results.command)}`, {results.took_seconds:.0f} s")
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _machine(seen: Machine) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in seen.packages.items())
    return (
        f"{seen.date}, {seen.cpu}, {seen.cores} cores ({seen.usable_cores} usable), {seen.memory_gb} GB, "
        f"{seen.system}, load average {seen.load_average}\n{seen.python}; {packages}"
    )


def _loads(results: Results, shape: str) -> Iterable[Sequence[str]]:
    for name in [contestant.name for contestant in CONTESTANTS]:
        if not results.loads(name, shape):
            continue
        ratio = results.ratio(cpu_us, (name, shape), ("echo", shape))
        yield (
            name,
            f"{results.middle(lambda load: load.predictions / load.seconds, name, shape):,.0f}",
            f"{results.middle(p50_ms, name, shape):.3f}",
            f"{results.middle(p99_ms, name, shape):.3f}",
            f"{results.middle(cpu_us, name, shape):.2f}",
            "" if ratio is None else f"{ratio:.2f}",
            f"{results.middle(lambda load: load.resident_mb, name, shape):.0f}",
            f"{results.middle(lambda load: load.server_busy, name, shape):.0%}",
            f"{results.middle(lambda load: load.load_busy, name, shape):.0%}",
            f"{results.middle(lambda load: load.others_busy, name, shape):.0%}",
        )


def _idle(results: Results) -> Iterable[Sequence[str]]:
    for name, seen in results.idle.items():
        before, during = f"{seen.baseline_mb:.1f}", f"{seen.resident_mb:.1f}"
        yield name, f"{seen.sockets:,}", before, during, f"{seen.bytes_per_socket:,.0f}"


def _verdict(seen: Verdict) -> Sequence[str]:
    return seen.what, seen.target, seen.seen, MARKS[seen.reached]
