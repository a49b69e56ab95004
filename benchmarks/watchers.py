"""Watch one server from many sockets in one process: `python -m benchmarks.watchers`, a job as JSON on stdin.

Prints `ready` once all have subscribed, and ends with stdin. What is read is thrown away.
"""

import base64
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec

from benchmarks.contestants import ROOT
from benchmarks.process import pin
from benchmarks.usage import allow_open_files

RECEIVE_BUFFER = 65536
_CHUNK = bytearray(1 << 20)


class WatchJob(msgspec.Struct, frozen=True):
    """So many watchers of one pattern; those that do not read stall."""

    url: str
    watchers: int
    pattern: str
    hz: float
    reads: bool


@contextmanager
def watched(job: WatchJob, core: int | None) -> Iterator[None]:
    """Have watchers look on, in a process on that core."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watchers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        preexec_fn=lambda: pin(0, core),
    ) as watchers:
        assert watchers.stdin is not None
        assert watchers.stdout is not None
        watchers.stdin.write(msgspec.json.encode(job) + b"\n")
        watchers.stdin.flush()
        if watchers.stdout.readline() != b"ready\n":
            raise RuntimeError("the watchers did not get ready")
        yield
        if watchers.poll() is not None:
            raise RuntimeError("the watchers ended early")
        watchers.stdin.close()


def connect(job: WatchJob) -> socket.socket:
    """Open a WebSocket and subscribe."""
    place = urlsplit(job.url)
    connection = socket.socket()
    if not job.reads:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    connection.connect((place.hostname, place.port))
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET /v1/watch HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    order = msgspec.json.encode({"op": "subscribe", "topics": [job.pattern], "hz": job.hz})
    connection.sendall(bytes((0x81, 0x80 | len(order))) + bytes(4) + order)  # masked with zeros
    connection.recv_into(_CHUNK)
    return connection


def main() -> None:
    """Subscribe, then read until stdin ends."""
    allow_open_files()
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=WatchJob)
    connections = [connect(job) for _ in range(job.watchers)]
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for connection in connections if job.reads else ():
            selector.register(connection, selectors.EVENT_READ, connection)
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    return
                if not key.data.recv_into(_CHUNK):
                    sys.exit("a watcher was closed")


if __name__ == "__main__":
    main()
