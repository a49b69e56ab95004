"""A TCP proxy in a thread that makes a good network a bad one: late, silent, or cut."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

CHUNK = 1 << 16


class SlowProxy:
    """Carries bytes to a port of 127.0.0.1 and back, `latency` seconds late each way; with `tls`, clients speak TLS."""

    def __init__(self, target: int, *, latency: float = 0.0, tls: ssl.SSLContext | None = None) -> None:
        self.latency = latency
        self.port = 0
        self.accepted = 0
        self._target = target
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "SlowProxy":
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def stall(self) -> None:
        """Let nothing through any more, and tell nobody: a dead network."""
        self._call(self._flowing.clear)

    def flow(self) -> None:
        """Let everything through again."""
        self._call(self._flowing.set)

    def cut(self) -> None:
        """Cut all connections."""
        self._call(self._cut)

    def _call(self, change: Callable[[], T]) -> T:
        async def call() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(5)

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _close(self) -> None:
        self._server.close()
        self._flowing.set()
        self._cut()
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, onward}
        try:
            await asyncio.gather(self._carry(reader, onward), self._carry(onward_reader, writer))
        finally:
            self._writers -= {writer, onward}
            writer.transport.abort()
            onward.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction; chunks wait beside each other, so that latency does not take bandwidth."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.create_task(self._write(late, writer))
        try:
            while data := await reader.read(CHUNK):
                late.put_nowait((self._loop.time() + self.latency, data))
        except OSError:
            pass
        late.put_nowait((self._loop.time() + self.latency, b""))
        await writing

    async def _write(self, late: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await late.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._flowing.wait()
            if not data:
                writer.close()
                return
            writer.write(data)
