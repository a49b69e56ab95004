"""The load of `v2_infer`: kept-alive connections that each wait for an answer before they ask again; a job on stdin."""

import asyncio
import json
import sys
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import uvloop

from benchmarks import mlp
from benchmarks.usage import cpu_seconds

TOLERANCE = 1e-5


class HttpJob(msgspec.Struct, frozen=True):
    """What to ask and for how long, in seconds; a `constant` answer is not compared with the model's."""

    url: str
    pid: int
    connections: int
    warm_up: float
    seconds: float
    constant: bool


class HttpLoad(msgspec.Struct, frozen=True):
    """What was seen."""

    answers: int
    seconds: float
    cpu_seconds: float

    @property
    def cpu_us(self) -> float:
        """Return the server's CPU time per answer, in microseconds."""
        return self.cpu_seconds / self.answers * 1e6


class Asker(asyncio.Protocol):
    """One connection."""

    def __init__(
        self, requests: list[bytes], first: int, expected: "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
    ):
        self.answers = 0
        self.failure = ""
        self._requests, self._at, self._expected = requests, first, expected
        self._buffer = b""
        self._left = -1

    def connection_made(self, transport: Any) -> None:
        """Ask at once."""
        self._transport = transport
        transport.write(self._requests[self._at])

    def data_received(self, data: bytes) -> None:
        """Ask again after each whole answer; compare every 64th with the model worked out in numpy."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self._fail(f"expected an answer, got {self._buffer!r}")
            return
        self._buffer = b""
        self.answers += 1
        if self.answers % 64 == 1 and len(self._expected):
            scores = np.array(json.loads(body)["outputs"][0]["data"])
            if not np.allclose(scores, self._expected[self._at], atol=TOLERANCE):
                self._fail(f"row {self._at}: expected {self._expected[self._at]}, got {scores}")
                return
        self._at = (self._at + 1) % len(self._requests)
        self._transport.write(self._requests[self._at])

    def _fail(self, why: str) -> None:
        """Ask no more."""
        self.failure = why
        self._transport.abort()


def requests(path: str) -> list[bytes]:
    """Return the request for each of the model's rows."""
    made = []
    for row in mlp.readings():
        tensor = {"name": "x", "shape": [1, mlp.FEATURES], "datatype": "FP32", "data": row.tolist()}
        body = msgspec.json.encode({"inputs": [tensor]})
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    return made


async def run(job: HttpJob) -> HttpLoad:
    """Warm up, then measure."""
    loop, url = asyncio.get_running_loop(), urlsplit(job.url)
    host, port = url.hostname or "", url.port or 80
    asked = requests(url.path)
    expected = np.empty((0, 0)) if job.constant else mlp.predict(mlp.readings())
    askers = [Asker(asked, first, expected) for first in range(job.connections)]
    for asker in askers:
        await loop.create_connection(lambda made=asker: made, host, port)  # type: ignore[misc]
    await asyncio.sleep(job.warm_up)
    started, answers, cpu = loop.time(), sum(asker.answers for asker in askers), cpu_seconds(job.pid)
    await asyncio.sleep(job.seconds)
    answers = sum(asker.answers for asker in askers) - answers
    if failures := [asker.failure for asker in askers if asker.failure]:
        raise SystemExit(failures[0])
    if not answers:
        raise SystemExit("no answer came")
    return HttpLoad(answers, loop.time() - started, cpu_seconds(job.pid) - cpu)


if __name__ == "__main__":
    load = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=HttpJob)))
    sys.stdout.buffer.write(msgspec.json.encode(load))
