"""A fuzz of some seconds, and what longer ones have found."""

import re
import subprocess
import sys

import pytest

from ..system.process import ROOT
from .targets import SEEDS, TARGETS

SECONDS = 1  # for each target; `make fuzz` takes longer

#: Lines as `python -m tests.fuzz` prints them: what failed once must not fail again.
FOUND: list[tuple[str, bytes]] = [
    ("config_toml", b"a = " + b"[" * 3000),
    ("config_toml", b"a = " + b"{b=" * 3000),
    ("settings", b"a = " + b"[" * 3000),
    ("settings", b"port = 1" + b"0" * 5000),
    ("key_file", b"a = " + b"[" * 3000),
    ("config_pbtxt", b"instance_group {" * 3000),
    ("json", b'{"' + b"x" * 900_000 + b'":1}'),
]


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_fuzzer_begins_with_does_not_fail(name: str) -> None:
    for seed in (*SEEDS[name], b"", b"\x00", b"\xff"):
        TARGETS[name](seed)
        TARGETS[name](seed[: len(seed) // 2])


@pytest.mark.parametrize(("name", "octets"), FOUND)
def test_what_was_found_is_mended(name: str, octets: bytes) -> None:
    TARGETS[name](octets)


def test_nothing_is_found_in_some_seconds() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(SECONDS)]
    fuzzed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert fuzzed.returncode == 0, fuzzed.stdout + fuzzed.stderr
    assert len(re.findall(r"^\w+: ok, [1-9]\d* inputs$", fuzzed.stdout, re.MULTILINE)) == len(TARGETS)
