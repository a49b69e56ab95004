"""Serve the model the way Waterspout does, with the hot path and nothing else: what its features cost more.

Tornado routes and shakes hands, then the socket leaves for a plain protocol on uvloop; events gather while
the one worker thread is busy and run as one batch. No errors, limits, fragments, pings or close handshake.
"""

import asyncio
import socket
import struct
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, cast

import uvloop
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.util import _websocket_mask as unmask
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketProtocol13

from benchmarks.mlp import CLASSES
from benchmarks.servers.common import announce, arguments
from benchmarks.servers.model import Model, decode_event, encode_prediction

MAX_BATCH_SIZE = 256
SCORE_BYTES = 4 * CLASSES
BINARY, CLOSE = 2, 8


class Waiting(NamedTuple):
    """An event in the queue and the transport that its answer goes to."""

    transport: asyncio.Transport
    id: int
    data: bytes


class Batcher:
    """Give a free worker all that waits; while it runs, let the next batch gather."""

    def __init__(self, model: Model) -> None:
        self.loop = asyncio.get_running_loop()
        self.worker = ThreadPoolExecutor(1)
        self.model = model
        self.queue: list[Waiting] = []
        self.busy = False

    def put(self, event: Waiting) -> None:
        """Queue one event; a batch starts after all bytes of this loop turn are read."""
        self.queue.append(event)
        if not self.busy:
            self.busy = True
            self.loop.call_soon(self.start)

    def start(self) -> None:
        """Hand the next batch to the worker, if any event waits."""
        batch, self.queue = self.queue[:MAX_BATCH_SIZE], self.queue[MAX_BATCH_SIZE:]
        self.busy = bool(batch)
        if batch:
            rows = b"".join([event.data for event in batch])
            run = self.worker.submit(self.model.predict, rows)
            run.add_done_callback(lambda done: self.loop.call_soon_threadsafe(self.finish, batch, done))

    def finish(self, batch: list[Waiting], run: Future[bytes]) -> None:
        """Start the next batch, then send this one's answers, one write a socket."""
        self.start()
        scores = run.result()
        replies: dict[asyncio.Transport, list[bytes]] = {}
        for i, event in enumerate(batch):
            payload = encode_prediction(event.id, scores[i * SCORE_BYTES : (i + 1) * SCORE_BYTES])
            replies.setdefault(event.transport, []).append(bytes((0x80 | BINARY, len(payload))) + payload)
        for transport, frames in replies.items():
            transport.write(b"".join(frames))


class StreamSocket(asyncio.Protocol):
    """Parse masked frames below 64 KiB out of all bytes that arrived."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher, self.rest = batcher, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Queue the event of each whole frame; keep the last, unfinished one."""
        data, at = self.rest + data if self.rest else data, 0
        while len(data) - at >= 6:
            length, mask = data[at + 1] & 127, at + 2
            if length == 126:
                if len(data) - at < 8:
                    break
                (length,), mask = struct.unpack_from(">H", data, mask), mask + 2
            end = mask + 4 + length
            if end > len(data):
                break
            if data[at] & 15 == CLOSE:
                self.transport.close()
                return
            event = decode_event(unmask(data[mask : mask + 4], data[mask + 4 : end]))
            self.batcher.put(Waiting(self.transport, event.id, event.data))
            at = end
        self.rest = data[at:]


class UpgradeHandler(RequestHandler):
    """Shake hands, then take the socket away from Tornado."""

    def initialize(self, batcher: Batcher) -> None:
        """Keep the batcher that all sockets share."""
        self.batcher = batcher

    async def get(self) -> None:
        """Answer 101 and continue on uvloop's own transport."""
        accept = WebSocketProtocol13.compute_accept_value(self.request.headers["Sec-WebSocket-Key"])
        stream = self.detach()
        stream.io_loop.remove_handler(stream.fileno())
        sock: socket.socket = stream.socket.dup()
        stream.socket.close()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(lambda: StreamSocket(self.batcher), sock)
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        transport.write(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())


async def main() -> None:
    """Serve until ended."""
    options = arguments(__doc__)
    sys.setswitchinterval(0.0005)
    server = HTTPServer(Application([("/", UpgradeHandler, {"batcher": Batcher(Model(options.model))})]))
    sockets = bind_sockets(options.port, options.host)
    server.add_sockets(sockets)
    announce("Minimal", sockets[0].getsockname())
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
