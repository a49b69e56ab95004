"""A blocking WebSocket client that sends what it is told to and is strict about what comes back."""

import base64
import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final, NamedTuple, Self

from .frames import Opcode, close_code, frame

Address = tuple[str, int]

TIMEOUT: Final = 3.0
RESOURCE: Final = "/v1/echo"
TOGETHER: Final = 1 << 30
"""The chop that sends everything in one write."""

_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class End(Enum):
    """How the server ended the TCP connection."""

    FIN = "FIN"
    RST = "RST"


class Frame(NamedTuple):
    """A frame of the server; always whole, for the echo door does not fragment."""

    opcode: Opcode
    payload: bytes


class Response(NamedTuple):
    """The head of an HTTP response; header names are in lower case."""

    status: int
    headers: dict[str, str]


class ConnectionEndedError(AssertionError):
    """The server ended the connection where octets were expected."""

    def __init__(self, end: End, pending: bytearray) -> None:
        super().__init__(f"{end.value} after {bytes(pending[:64])!r}")
        self.end = end


def accept_value(key: str) -> str:
    """Compute Sec-WebSocket-Accept (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_GUID).digest()).decode()  # noqa: S324 - the RFC's


def opening_headers(address: Address) -> dict[str, str | None]:
    """Return the headers of a minimal opening handshake; a test replaces some, or drops them by None."""
    return {
        "Host": "{}:{}".format(*address),
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }


def opening_request(headers: Mapping[str, str | None], start: str = f"GET {RESOURCE} HTTP/1.1") -> bytes:
    """Build an opening handshake (section 4.1)."""
    fields = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([start, *fields, "", ""]).encode("latin-1")


class Client:
    """One TCP connection to the server, a WebSocket once `open` was called.

    `receive_buffer` bounds what the kernel takes from the server before the test does.
    """

    def __init__(self, address: Address, receive_buffer: int | None = None) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self._socket.settimeout(TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:  # the window is agreed on while connecting
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.connect(address)
        self._pending = bytearray()
        self._refused = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def open(self) -> Self:
        """Do the opening handshake; the server must neither select an extension nor a subprotocol."""
        headers = opening_headers(self.address)
        self.send(opening_request(headers))
        response = self.receive_response()
        assert response.status == 101, response
        assert response.headers["sec-websocket-accept"] == accept_value(str(headers["Sec-WebSocket-Key"]))
        assert not response.headers.keys() & {"sec-websocket-extensions", "sec-websocket-protocol"}
        return self

    def send(self, *frames: bytes, chop: int | None = None) -> None:
        """Send each frame in a write of its own, or all of them in writes of `chop` octets."""
        try:
            for octets in frames if chop is None else _chopped(b"".join(frames), chop):
                self._socket.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            self._refused = True

    def send_apart(self, *parts: bytes, witness: "Client") -> None:
        """Send parts such that the server reads each by itself.

        The loopback interface has delivered a part when `send` returns. Two round trips on another connection
        then show that the server's event loop went past it, for the second comes at least one turn later.
        """
        for part in parts:
            self.send(part)
            witness.round_trip()
            witness.round_trip()

    def round_trip(self) -> None:
        """Have a ping answered, which shows that the server took everything sent before it."""
        self.send(frame(Opcode.PING, b"round trip"))
        self.expect(Opcode.PONG, b"round trip")

    def finish_sending(self) -> None:
        """End the client's direction of the TCP connection."""
        self._socket.shutdown(socket.SHUT_WR)

    def receive(self) -> Frame:
        """Return the next frame, which must be unmasked, unfragmented, minimal and free of reserved bits."""
        first, second = self._read(2)
        assert first & 0x70 == 0, f"reserved bits in {first:#x}"
        assert first & 0x80, f"fragmented frame {first:#x}"
        assert second & 0x80 == 0, "the server masked a frame"
        opcode, length = Opcode(first & 15), second
        if second >= 126:
            length = int.from_bytes(self._read(2 if second == 126 else 8))
            assert length > (125 if second == 126 else 0xFFFF), f"length {length} is not minimally encoded"
        assert opcode < Opcode.CLOSE or second <= 125, "control frame longer than 125 octets"
        return Frame(opcode, self._read(length))

    def expect(self, opcode: Opcode, payload: bytes) -> None:
        """Receive exactly this frame."""
        received = self.receive()
        assert received.opcode == opcode, (received.opcode.name, received.payload[:64], opcode.name)
        assert received.payload == payload

    def expect_end(self, *codes: int | None, unread: bool = False) -> None:
        """Receive a close frame with one of the codes, then the end of the TCP connection, and nothing else.

        The end must be a FIN, unless the server might have ended before it read all that was sent (`unread`).
        """
        received = self.receive()
        assert received.opcode is Opcode.CLOSE, received
        assert close_code(received.payload) in codes, received
        assert self.expect_fin_or_rst() is End.FIN or unread, "the connection was reset"

    def expect_fin_or_rst(self) -> End:
        """Return how the server ended the connection; there must be no more octets."""
        try:
            octets = self._read(1)
        except ConnectionEndedError as ended:
            return ended.end
        raise AssertionError(f"octets after the last frame: {octets + bytes(self._pending)!r}")

    def receive_response(self) -> Response:
        """Return the head of an HTTP response, with which the octets of the server must begin."""
        while b"\r\n\r\n" not in self._pending:
            self._fill()
        head, _, rest = bytes(self._pending).partition(b"\r\n\r\n")
        self._pending = bytearray(rest)
        status_line, *fields = head.decode("latin-1").split("\r\n")
        version, status, *_ = status_line.split(" ")
        assert version == "HTTP/1.1", status_line
        headers: dict[str, str] = {}
        for field in fields:
            name, _, value = field.partition(":")
            assert name.lower() not in headers, f"{name} is sent twice"
            headers[name.lower()] = value.strip()
        return Response(int(status), headers)

    def is_silent(self) -> bool:
        """Tell whether the server has neither sent anything new nor ended the connection."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self._pending
        finally:
            self._socket.settimeout(TIMEOUT)
        return False

    def _read(self, size: int) -> bytes:
        while len(self._pending) < size:
            self._fill()
        octets = bytes(self._pending[:size])
        del self._pending[:size]
        return octets

    def _fill(self) -> None:
        try:
            octets = self._socket.recv(1 << 18)
        except ConnectionResetError:
            raise ConnectionEndedError(End.RST, self._pending) from None
        if not octets:
            raise ConnectionEndedError(End.RST if self._refused else End.FIN, self._pending)
        self._pending += octets


def _chopped(octets: bytes, chop: int) -> Iterator[bytes]:
    for at in range(0, len(octets), chop):
        yield octets[at : at + chop]
