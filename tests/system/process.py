"""Server processes: started on a free port, watched, and ended as an operator would end them."""

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

ROOT: Final = Path(__file__).parents[2]
START_TIMEOUT: Final = 60.0  # several start at once, beside whatever else a machine does
STOP_TIMEOUT: Final = 10.0

T = TypeVar("T")

_LISTENING = re.compile(r"Waterspout is listening on (https?)://(.+):(\d+)\n")
_PROBLEM = re.compile(
    r"Traceback| ERROR | CRITICAL |\"level\":\"(?:error|critical)\"|never retrieved|was never awaited|Exception ignored"
)


def until(look: Callable[[], T], within: float = 5.0) -> T:
    """Return what `look` sees once that is truthy; there is nothing to wait on but to look again."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {within} s, seen last: {seen!r}"
        time.sleep(0.02)
    return seen


class Server:
    """A running server. Its log is a file, since a pipe that nobody reads would stop it."""

    def __init__(
        self,
        process: subprocess.Popen[str],
        log: IO[str],
        listening: re.Match[str],
        tls: ssl.SSLContext | None,
        exit_code: int = 0,
    ) -> None:
        scheme, host, port = listening.groups()
        self.process = process
        self.exit_code = exit_code  # that it is to end with
        self.tls = tls
        self.address = (host.strip("[]"), int(port))
        self.scheme = scheme
        self.ws = f"{scheme.replace('http', 'ws')}://{host}:{port}"
        self._log = Path(log.name)
        self._checked = 0  # characters of the log that were looked at
        self._was_told = False  # to end; a second time it would end at once

    @property
    def log(self) -> str:
        """All that the server wrote to stderr so far."""
        return self._log.read_text()

    @property
    def descriptors(self) -> int:
        """The number of file descriptors it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def rss_bytes(self) -> int:
        """The memory of the process that is resident."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def check_log(self, allowed: str = "") -> None:
        """Fail for every error in the log since the last check, but for lines in which `allowed` is found."""
        fresh = self.log[self._checked :]
        self._checked += len(fresh)
        problems = [line for line in fresh.splitlines() if _PROBLEM.search(line)]
        if allowed:
            problems = [line for line in problems if not re.search(allowed, line)]
        assert not problems, f"the server logged errors:\n{fresh}"

    def terminate(self) -> None:
        """Ask the server to end."""
        self._was_told = True
        self.process.send_signal(signal.SIGTERM)

    def reload(self) -> None:
        """Have the server read again what may be renewed."""
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End the server at once, as nothing that goes well does."""
        self.process.kill()
        self.exit_code = -signal.SIGKILL
        self.wait()

    def end(self) -> int:
        """Ask the server to end unless it was asked before; return the exit code."""
        if self.is_alive and not self._was_told:
            self.terminate()
        return self.wait()

    def wait(self, within: float = STOP_TIMEOUT) -> int:
        """Return the exit code."""
        return self.process.wait(within)


@contextmanager
def running_server(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    allowed: str = "",
    exit_code: int = 0,
    root: Path = ROOT,
    popen: Mapping[str, Any] | None = None,
) -> Iterator[Server]:
    """Run a server with these arguments, on a free port unless they name one; the one that lies in `root`.

    It must end with the exit code and without an error in its log but for those that match `allowed`; it may have
    ended already when the context is left. `tls` is what its clients trust, `popen` what else its process gets.
    """
    has_port = "--port" in arguments or "WATERSPOUT_PORT" in (env or {})
    command = [sys.executable, "server.py", *([] if has_port else ["--port", "0"]), *arguments]
    with (
        tempfile.NamedTemporaryFile("w", prefix="waterspout-", suffix=".log") as log,
        subprocess.Popen(
            command,
            cwd=root,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            **(popen or {}),
        ) as process,
    ):
        try:
            line = _first_line(process)
            matched = _LISTENING.fullmatch(line)
            assert matched is not None, f"the server printed {line!r}\n{Path(log.name).read_text()}"
            server = Server(process, log, matched, tls, exit_code)
            yield server
            assert server.end() == server.exit_code, server.log
            assert process.stdout is not None
            assert process.stdout.read() == "", "the server prints one line only"
            server.check_log(allowed)
        finally:
            process.kill()


def copy_server(target: Path) -> None:
    """Copy what a server needs, without node_modules."""
    for part in ("handlers", "pipeline", "static"):
        shutil.copytree(ROOT / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (ROOT / "server.py", *ROOT.glob("*__mypyc.*.so")):
        shutil.copy2(file, target)


def run_to_end(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    command = [sys.executable, "server.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=_environment(env), capture_output=True, text=True, timeout=START_TIMEOUT, check=False
    )


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """Return this process's environment without what would configure the server."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATERSPOUT_")}
    return {**inherited, **(extra or {})}


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return the first line of stdout; nothing if the process ends or takes too long."""
    assert process.stdout is not None
    watchdog = threading.Timer(START_TIMEOUT, process.kill)
    watchdog.start()
    try:
        return process.stdout.readline()
    finally:
        watchdog.cancel()
