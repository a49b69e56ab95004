"""Without uvloop: slower, the same behaviour; the conformance suite says so too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import StartServer
from .process import ROOT, Server
from .test_transports import without_uvloop

MODULES = ["test_closing", "test_fragmentation", "test_ping_pong", "test_utf8_fail_fast"]


@pytest.fixture
def fallback(start_server: StartServer, zoo_models: Path) -> Server:
    """Give a server that cannot import uvloop."""
    return start_server(env=without_uvloop(zoo_models))


def test_the_log_says_that_something_is_missing(fallback: Server) -> None:
    assert "WARNING waterspout: uvloop is not installed" in fallback.log


def test_the_echo_door_conforms(fallback: Server) -> None:
    environment = {**os.environ, "CONFORMANCE_TARGET": "{}:{}".format(*fallback.address)}
    modules = [f"tests/conformance/{name}.py" for name in MODULES]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *modules]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:]
