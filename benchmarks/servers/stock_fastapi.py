"""Serve the model with FastAPI and uvicorn as installed: one receive, one executor hop, one run a message."""

import asyncio
import socket

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.servers.common import announce, arguments
from benchmarks.servers.model import Model, decode_event, encode_prediction


def application(model: Model) -> FastAPI:
    """Return an app with one WebSocket at `/`."""
    app = FastAPI()

    @app.websocket("/")
    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        loop = asyncio.get_running_loop()
        try:
            while True:
                event = decode_event(await websocket.receive_bytes())
                scores = await loop.run_in_executor(None, model.predict, event.data)
                await websocket.send_bytes(encode_prediction(event.id, scores))
        except WebSocketDisconnect:
            return

    return app


def main() -> None:
    """Serve until ended."""
    options = arguments(__doc__)
    server = uvicorn.Server(uvicorn.Config(application(Model(options.model)), log_level="warning"))
    listener = socket.create_server((options.host, options.port), backlog=2048)
    announce("FastAPI", listener.getsockname())
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
