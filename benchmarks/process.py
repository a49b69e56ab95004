"""Start processes on a core of their own and end them, whatever happens."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SHOWN_LINES = 8
START_SECONDS = 30.0
STOP_SECONDS = 5.0
_READY = re.compile(r"listening on (http://\S+:\d+)\s")


class ProcessError(Exception):
    """A server did not start or a load failed; the text ends with what the process printed."""


@dataclass(frozen=True)
class Cores:
    """The core that servers run on and the one for the load; the same where there is only one."""

    server: int
    load: int

    @classmethod
    def choose(cls) -> Self:
        """Take the first and the second core that this process may use."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[min(1, len(usable) - 1)])

    @property
    def shared(self) -> bool:
        """Tell whether the load takes CPU from the server."""
        return self.server == self.load


class Server:
    """Run a server program on one core, or without one on all, for the length of a `with` block."""

    def __init__(self, name: str, command: Sequence[str], core: int | None, folder: Path) -> None:
        self.name, self._command, self._core, self._folder = name, command, core, folder

    def __enter__(self) -> Self:
        # A file, not a pipe: nobody reads along, and a full pipe would stop the server.
        self._output = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: pin(0, self._core),
        )
        try:
            self.url = self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        died = self._process.poll() is not None
        self._stop()
        printed = _last_lines(self._tail())
        self._output.close()
        if isinstance(error, ProcessError) or (died and error is None):
            raise ProcessError(f"{self.name}: {error or 'ended early'}\nIt printed:\n{printed}") from error

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def _wait_until_ready(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if ready := _READY.search(self._tail()):
                return ready[1]
            time.sleep(0.02)
        raise ProcessError(f"{self.name} did not get ready:\n{_last_lines(self._tail())}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tail(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), 4000, max(0, size - 4000)).decode(errors="replace")


def pin(pid: int, core: int | None) -> None:
    """Keep a process (0: this one) on a core, if it is to have one."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


def ask(module: str, job: bytes, core: int | None, folder: Path, timeout: float) -> bytes:
    """Run `python -m module` on a core (see `Server`), a job on stdin; return its stdout or raise ProcessError."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=job,
            capture_output=True,
            cwd=folder,
            timeout=timeout,
            check=False,
            preexec_fn=lambda: pin(0, core),
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessError(f"{module} took longer than {timeout:.0f} s") from error
    if done.returncode:
        raise ProcessError(f"{module} failed: {_last_lines(done.stderr.decode(errors='replace'))}")
    return done.stdout


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-SHOWN_LINES:])
