"""The server under test: the real one, or any echo server that `CONFORMANCE_TARGET=host:port` names."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .frames import Opcode, frame
from .wire import Address, Client

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


@contextmanager
def running_server(models: Path) -> Iterator[Address]:
    """Run the server with no models on a free port; it must end cleanly on SIGTERM."""
    command = [sys.executable, "server.py", "--port", "0", "--models", str(models)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(START_TIMEOUT, process.kill)
        watchdog.start()
        try:
            listening = (re.search(r"listening on http://(.+):(\d+)", line) for line in process.stdout)
            address = next(filter(None, listening), None)
            assert address is not None, "the server ended without listening"
            watchdog.cancel()
            # A server that logs to a pipe nobody reads would block.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield address[1].strip("[]"), int(address[2])
            assert process.poll() is None, "the server died"
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_TIMEOUT) == 0
        finally:
            watchdog.cancel()
            process.kill()


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Give host and port of the server under test."""
    target = os.environ.get("CONFORMANCE_TARGET")
    if target:
        host, _, port = target.rpartition(":")
        yield host, int(port)
        return
    with running_server(tmp_path_factory.mktemp("models")) as address:
        yield address


@pytest.fixture
def client(echo: Address) -> Iterator[Client]:
    """Give an open connection of the test's own."""
    with Client(echo) as connection:
        yield connection.open()


@pytest.fixture(scope="module")
def witness(echo: Address) -> Iterator[Client]:
    """Give an open connection whose round trips tell that the server's event loop has turned."""
    with Client(echo) as connection:
        yield connection.open()


@pytest.fixture(scope="module", autouse=True)
def _survivor(echo: Address) -> Iterator[None]:
    """Check after each module that the server still accepts and serves connections."""
    yield
    with Client(echo) as connection:
        connection.open().send(frame(Opcode.TEXT, b"still there?"))
        connection.expect(Opcode.TEXT, b"still there?")
