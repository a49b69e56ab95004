"""Answer a constant to any JSON, as a stock Tornado handler does: what a request costs without any inference."""

import asyncio
import json

import uvloop
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from benchmarks import mlp
from benchmarks.servers.common import announce, arguments

ANSWER = {
    "model_name": "mlp",
    "model_version": "1",
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, mlp.CLASSES], "data": [0.125] * mlp.CLASSES}],
}


class ConstantHandler(RequestHandler):
    """Parse the body and answer."""

    def post(self) -> None:
        """Write the same answer to everything that is JSON."""
        json.loads(self.request.body)
        self.write(ANSWER)


async def main() -> None:
    """Serve until ended, on the loop that Waterspout has, so that the loop makes no difference."""
    options = arguments(__doc__)
    server = HTTPServer(Application([("/v2/models/mlp/infer", ConstantHandler)], log_function=lambda handler: None))
    sockets = bind_sockets(options.port, options.host)
    server.add_sockets(sockets)
    announce("Stock Tornado over HTTP", sockets[0].getsockname())
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
