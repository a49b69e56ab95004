"""Clients at the level of messages: a WebSocket that speaks both encodings, and plain HTTP."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import msgpack
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from .process import Server

TIMEOUT: Final = 5.0
ENCODINGS: Final = ("json", "msgpack")

Message = dict[str, Any]


def subprotocol(encoding: str) -> str:
    """Return the name that a client offers for an encoding."""
    return f"waterspout.v1.{encoding}"


def encode(message: Any, encoding: str) -> str | bytes:
    """Return a message as the payload of a text or a binary frame."""
    if encoding == "json":
        return json.dumps(message)
    packed: bytes = msgpack.packb(message)
    return packed


def decode(payload: str | bytes) -> Any:
    """Return the message in a text or a binary frame."""
    return json.loads(payload) if isinstance(payload, str) else msgpack.unpackb(payload, strict_map_key=False)


class Stream:
    """An open WebSocket. What is sent is encoded as `encoding`; what comes is decoded by the kind of its frame."""

    def __init__(self, socket: ClientConnection, encoding: str) -> None:
        self.socket = socket
        self.encoding = encoding
        self.came_as = ""  # the encoding of the last message received

    def send(self, message: Any, encoding: str = "") -> None:
        """Send a message, or a list of messages, in one frame."""
        self.send_raw(encode(message, encoding or self.encoding))

    def send_raw(self, payload: str | bytes) -> None:
        """Send text or bytes as they are."""
        self.socket.send(payload)

    def receive(self) -> Message:
        """Return the next message."""
        payload = self.socket.recv(TIMEOUT)
        self.came_as = "json" if isinstance(payload, str) else "msgpack"
        message = decode(payload)
        assert isinstance(message, dict)
        return message

    def ask(self, message: Any, encoding: str = "") -> Message:
        """Send a message and return the next that comes."""
        self.send(message, encoding)
        return self.receive()

    def refusal(self, message: Any) -> Message:
        """Send a message and return the `error` of the answer, which must be one."""
        error = self.ask(message)["error"]
        assert isinstance(error, dict)
        return error

    def until_pong(self, mark: Any) -> list[Message]:
        """Send a ping and return what comes before its pong."""
        self.send({"op": "ping", "t": mark})
        came = []
        while (message := self.receive()) != {"op": "pong", "t": mark}:
            came.append(message)
        return came

    def close_code(self) -> int | None:
        """Read until the server has closed the socket; return its code."""
        try:
            while True:
                self.socket.recv(TIMEOUT)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


@contextmanager
def open_stream(
    server: Server,
    path: str,
    encoding: str = "json",
    *,
    announced: bool = False,
    origin: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Stream]:
    """Open a WebSocket; `announced`: offer the encoding's subprotocol, the server's welcome is the first message."""
    offered = [Subprotocol(subprotocol(encoding))] if announced else None
    with connect(
        server.ws + path,
        subprotocols=offered,
        origin=Origin(origin) if origin is not None else None,
        additional_headers=headers,
        ssl=server.tls,
        compression=None,
        proxy=None,
        open_timeout=TIMEOUT,
        close_timeout=TIMEOUT,
        ping_interval=None,
        max_size=None,
        max_queue=None,
    ) as socket:
        yield Stream(socket, encoding)


@dataclass
class Reply:
    """An HTTP response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        assert self.headers.get_content_type() == "application/json", self.headers
        return json.loads(self.body)

    @property
    def msgpack(self) -> Any:
        """The body, which must be MessagePack."""
        assert self.headers.get_content_type() == "application/msgpack", self.headers
        return msgpack.unpackb(self.body)

    @property
    def error(self) -> Message:
        """What the body tells of an error."""
        error = self.json["error"]
        assert set(error) >= {"code", "message", "retryable"}
        assert isinstance(error, dict)
        return error


class Http:
    """A kept-alive HTTP connection."""

    def __init__(self, server: Server) -> None:
        host, port = server.address
        self.connection: http.client.HTTPConnection
        if server.tls is None:
            self.connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        else:
            self.connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=server.tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def request(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request and return the response."""
        self.connection.request(method, path, body, dict(headers or {}))
        response = self.connection.getresponse()
        return Reply(response.status, response.headers, response.read())


def get(server: Server, path: str, headers: Mapping[str, str] | None = None) -> Reply:
    """GET on a connection of its own."""
    with Http(server) as http_client:
        return http_client.request("GET", path, headers=headers)


def post(server: Server, path: str, message: Any, accept: str | None = None) -> Reply:
    """POST a message as JSON on a connection of its own."""
    headers = {"Content-Type": "application/json", **({"Accept": accept} if accept else {})}
    with Http(server) as http_client:
        return http_client.request("POST", path, json.dumps(message), headers)
