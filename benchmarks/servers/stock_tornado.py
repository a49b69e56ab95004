"""Serve the model as Tornado's documentation shows: one handler call, one executor hop, one run a message."""

import asyncio

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from benchmarks.servers.common import announce, arguments
from benchmarks.servers.model import Model, decode_event, encode_prediction


class StreamHandler(WebSocketHandler):
    """Answer each event of one socket in turn."""

    def initialize(self, model: Model) -> None:
        """Keep the model that all sockets share."""
        self.model = model

    async def on_message(self, message: str | bytes) -> None:
        """Predict one row in Tornado's default executor and send the answer."""
        assert isinstance(message, bytes)
        event = decode_event(message)
        scores = await IOLoop.current().run_in_executor(None, self.model.predict, event.data)
        self.write_message(encode_prediction(event.id, scores), binary=True)


async def main() -> None:
    """Serve until ended."""
    options = arguments(__doc__)
    server = HTTPServer(Application([("/", StreamHandler, {"model": Model(options.model)})]))
    sockets = bind_sockets(options.port, options.host)
    server.add_sockets(sockets)
    announce("Stock Tornado", sockets[0].getsockname())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
