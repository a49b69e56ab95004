"""Send each WebSocket message back with picows on uvloop: no model, the least a Python server can spend."""

import asyncio

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from benchmarks.servers.common import announce, arguments


class Echo(WSListener):
    """Answer a message with itself, and a close with a close."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Send the frame back."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


def accept(request: WSUpgradeRequest) -> WSListener:
    """Take every connection."""
    return Echo()


async def main() -> None:
    """Serve until ended."""
    options = arguments(__doc__)
    server = await ws_create_server(accept, options.host, options.port)
    announce("Echo", server.sockets[0].getsockname())
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
