"""A receiver of webhooks: a real HTTP server on loopback that answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import tornado.httpserver
import tornado.netutil
import tornado.web

Answer = Callable[[tornado.web.RequestHandler], Any]


class Call(NamedTuple):
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float  # by the loop's clock


class Receiver:
    """What came so far; `answers` are those to the next requests, then all are answered 204."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.calls: list[Call] = []
        self.answers: list[Answer] = []
        self._came = asyncio.Condition()

    async def until(self, count: int) -> list[Call]:
        """Wait for so many calls and return them."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.calls) >= count)
        return self.calls

    async def take(self, handler: tornado.web.RequestHandler) -> None:
        """Note a request and answer it."""
        request = handler.request
        now = asyncio.get_running_loop().time()
        self.calls.append(Call(request.path, dict(request.headers.get_all()), request.body, now))
        async with self._came:
            self._came.notify_all()
        handler.set_status(204)
        if self.answers:
            answer = self.answers.pop(0)(handler)
            if asyncio.iscoroutine(answer):
                await answer


class _Handler(tornado.web.RequestHandler):
    def initialize(self, receiver: Receiver) -> None:
        self.receiver = receiver

    async def post(self) -> None:
        await self.receiver.take(self)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """Give a receiver that listens."""
    (socket,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
    made = Receiver(socket.getsockname()[1])
    application = tornado.web.Application([(".*", _Handler, {"receiver": made})], log_function=lambda handler: None)
    server = tornado.httpserver.HTTPServer(application)
    server.add_sockets([socket])
    yield made
    server.stop()
    await server.close_all_connections()


def status(code: int, **headers: str) -> Answer:
    """Return an answer with a status."""

    def answer(handler: tornado.web.RequestHandler) -> None:
        handler.set_status(code)
        for name, value in headers.items():
            handler.set_header(name.replace("_", "-"), value)

    return answer
