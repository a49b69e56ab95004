"""Loads to be told from quiet time: each takes at most a core and 512 MiB, and ends by itself.

Usage: python -m models.host.loads KIND [--seconds SECONDS]
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

MEBIBYTE: Final = 1 << 20
LONGEST_SECONDS: Final = 20.0
LASTING: Final = Path("/var/tmp")  # noqa: S108 - on a disk where /tmp may be in memory


def ticks(seconds: float, per_second: float) -> Iterator[None]:
    """Yield so often a second, for so long. Ticks that were missed are left out."""
    due, end = time.monotonic(), time.monotonic() + seconds
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        yield
        due = max(due + 1 / per_second, time.monotonic())


def spin(seconds: float) -> None:
    """Keep a core busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def cpu(seconds: float) -> None:
    """Use a whole core."""
    spin(seconds)


def third(seconds: float) -> None:
    """Use a third of a core, in slices of 10 ms."""
    for _ in ticks(seconds, 100 / 3):
        spin(0.01)


def memory(seconds: float) -> None:
    """Grow by 32 MiB a second up to 512 MiB, and stay there."""
    held: list[bytes] = []
    for _ in ticks(seconds, 4):
        if len(held) < 64:
            held.append(b"x" * (8 * MEBIBYTE))


def disk(seconds: float) -> None:
    """Write 16 MiB a second to a file of 64 MiB, and wait until they are on the disk."""
    chunk = os.urandom(4 * MEBIBYTE)
    with tempfile.TemporaryFile(dir=LASTING if LASTING.is_dir() else None) as file:
        for number, _ in enumerate(ticks(seconds, 4)):
            file.seek(number % 16 * len(chunk))
            file.write(chunk)
            file.flush()
            os.fsync(file.fileno())


def network(seconds: float) -> None:
    """Send 50 MiB a second over the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sender:
        receiver, _ = listener.accept()
        reading = threading.Thread(target=_drain, args=[receiver])
        reading.start()
        for _ in ticks(seconds, 50):
            sender.sendall(bytes(MEBIBYTE))
        sender.shutdown(socket.SHUT_WR)
        reading.join()


def _drain(receiver: socket.socket) -> None:
    buffer = bytearray(MEBIBYTE)
    with receiver:
        while receiver.recv_into(buffer):
            pass


def forks(seconds: float) -> None:
    """Start fifty processes a second that do nothing."""
    for _ in ticks(seconds, 50):
        subprocess.run(["true"], check=True)


KINDS: Final[dict[str, Callable[[float], None]]] = {
    load.__name__: load for load in (cpu, third, memory, disk, network, forks)
}


@contextlib.contextmanager
def running(kind: str, seconds: float = LONGEST_SECONDS) -> Iterator[subprocess.Popen[bytes]]:
    """Run a load in a process of its own, which ends with the context at the latest."""
    command = [sys.executable, "-m", "models.host.loads", kind, "--seconds", str(seconds)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
        try:
            yield process
        finally:
            process.kill()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--seconds", type=float, default=LONGEST_SECONDS, help="at most %(default)s, the default")
    arguments = parser.parse_args()
    KINDS[arguments.kind](min(arguments.seconds, LONGEST_SECONDS))


if __name__ == "__main__":
    main()
