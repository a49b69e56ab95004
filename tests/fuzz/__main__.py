"""Runs the targets, each in a process of its own: `python -m tests.fuzz [TARGET ...] [--seconds N] [--jobs N]`.

With atheris (coverage-guided, on Linux) what is found new goes to `.fuzz/TARGET`, where the next run begins. Without it
seeds are changed at random. What fails is left in `.fuzz/failures`, and printed as a line for `test_fuzz.py`.
"""

import argparse
import logging
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

try:
    import atheris
except ImportError:  # other platforms
    atheris = None

ROOT: Final = Path(__file__).parents[2] / ".fuzz"
LONGEST: Final = 4096  # bytes of an input
HANGS_AFTER: Final = 10  # seconds with one input
INSTRUMENTED: Final = ["handlers.frames", "pipeline"]


def load() -> tuple[dict[str, Callable[[bytes], object]], dict[str, list[bytes]]]:
    """Import the targets, such that a fuzzer sees which lines an input reaches."""
    if atheris is None:
        from tests.fuzz.targets import SEEDS, TARGETS

        return TARGETS, SEEDS
    logging.disable(logging.WARNING)  # of each module that is instrumented, and of each odd configuration
    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from tests.fuzz.targets import SEEDS, TARGETS
    return TARGETS, SEEDS


def fuzz(name: str, target: Callable[[bytes], object], seeds: list[bytes], seconds: int, corpus: Path) -> None:
    """Run one target; ends the process with another code than 0 where it fails."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    failures = ROOT / "failures"
    failures.mkdir(parents=True, exist_ok=True)
    latest = b""

    def once(data: bytes) -> None:
        nonlocal latest
        latest = data
        try:
            target(data)
        except BaseException:
            traceback.print_exc()
            print(f'FAILED: ("{name}", {data!r}),', flush=True)
            raise

    if atheris is None:
        mutate_for(seconds, once, seeds)
        return
    options = {
        "max_total_time": seconds,
        "max_len": LONGEST,
        "timeout": HANGS_AFTER,
        "artifact_prefix": f"{failures / name}-",
        "print_final_stats": 1,
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(corpus)], once)
    atheris.Fuzz()


def mutate_for(seconds: float, once: Callable[[bytes], object], seeds: list[bytes]) -> None:
    """Change seeds at random and try each."""
    rng = random.Random()
    ends, count = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        octets = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(octets) + 1)
            match rng.randrange(4):
                case 0:
                    octets[at:at] = rng.randbytes(rng.randint(1, 4))
                case 1:
                    del octets[at : at + rng.randint(1, 8)]
                case 2:
                    octets[at : at + 1] = rng.randbytes(1)
                case _:
                    octets[at:at] = octets[: rng.randint(0, 64)] if rng.random() < 0.5 else rng.choice(seeds)
        once(bytes(octets[:LONGEST]))
        count += 1
    print(f"stat::number_of_executed_units: {count}")


def main() -> int:
    """Fork a process per target, `jobs` at a time; return how many failed."""
    targets, seeds = load()
    parser = argparse.ArgumentParser(description="Fuzz what reads foreign bytes.")
    parser.add_argument("target", nargs="*", default=[], choices=[[], *targets], help="all of them by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    waiting, failed = list(arguments.target or targets), 0
    running: dict[int, str] = {}
    logs = ROOT / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    while waiting or running:
        if waiting and len(running) < arguments.jobs:
            name = waiting.pop(0)
            if (child := os.fork()) == 0:
                log = os.open(logs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(log, 1)
                os.dup2(log, 2)
                code = 1
                try:
                    fuzz(name, targets[name], seeds[name], arguments.seconds, ROOT / name)
                    code = 0
                finally:
                    sys.stdout.flush()
                    os._exit(code)
            running[child] = name
            continue
        child, status = os.wait()
        name = running.pop(child)
        text = (logs / name).read_text(errors="replace")
        counted = text.rpartition("number_of_executed_units:")[2].split()[:1]
        print(f"{name}: {'failed' if status else 'ok'}, {(counted or ['?'])[0]} inputs", flush=True)
        if status:
            failed += 1
            print(text[-4000:], flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
