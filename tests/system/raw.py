"""Raw connections: for what a WebSocket or HTTP library would not do."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from tests.conformance.frames import Opcode, close_code
from tests.conformance.wire import Client, opening_headers, opening_request

from .client import TIMEOUT
from .process import Server

STUCK_SECONDS: Final = 0.3
MOST_SENT: Final = 64 << 20


def upgrade_request(server: Server, path: str, **headers: str) -> bytes:
    """Return an opening handshake; underscores in the names of further headers stand for hyphens."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return opening_request({**opening_headers(server.address), **more}, f"GET {path} HTTP/1.1")


def open_raw(server: Server, path: str = "/v1/echo", receive_buffer: int | None = None) -> Client:
    """Return a strict client after the opening handshake."""
    client = Client(server.address, receive_buffer)
    try:
        client.send(upgrade_request(server, path))
        response = client.receive_response()
        assert response.status == 101, response
    except BaseException:
        client.__exit__()
        raise
    return client


@contextmanager
def connection_to(server: Server, receive_buffer: int | None = None, *, secure: bool = True) -> Iterator[socket.socket]:
    """Connect; with TLS where the server has it, unless `secure` is false.

    `receive_buffer` bounds what the kernel takes from the server before the test does.
    """
    with contextlib.ExitStack() as stack:
        connection: socket.socket = stack.enter_context(socket.socket())
        connection.settimeout(TIMEOUT)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect(server.address)
        if server.tls is not None and secure:
            connection = stack.enter_context(server.tls.wrap_socket(connection, server_hostname=server.address[0]))
        yield connection


def read_head(connection: socket.socket) -> bytes:
    """Read up to the end of an HTTP response's head."""
    octets = b""
    while b"\r\n\r\n" not in octets:
        more = connection.recv(1)
        assert more, f"ended after {octets!r}"
        octets += more
    return octets


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the server has ended the connection in whatever way, which the socket's timeout bounds."""
    octets = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while more := connection.recv(1 << 18):
            octets += more
    return octets


def send_and_read_to_end(connection: socket.socket, octets: bytes) -> bytes:
    """Send, end this direction, and return all that the server sends until it ends the other."""
    with contextlib.suppress(OSError):
        connection.sendall(octets)
        connection.shutdown(socket.SHUT_WR)
    return read_to_end(connection)


class Wire:
    """A WebSocket as a stream of frames, over TCP or TLS, that reads only when it is told to."""

    def __init__(self, server: Server, path: str, receive_buffer: int | None = None) -> None:
        self._stack = contextlib.ExitStack()
        self._socket = self._stack.enter_context(connection_to(server, receive_buffer))
        self._pending = bytearray()
        self._rest = b""  # of a frame that was sent in part
        with self._stack:
            self._socket.sendall(upgrade_request(server, path))
            assert read_head(self._socket).startswith(b"HTTP/1.1 101 ")
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, octets: bytes) -> None:
        """Send what is left of the last frame, and then these octets."""
        self._socket.sendall(self._rest + octets)
        self._rest = b""

    def send_until_stuck(self, octets: bytes, *, must_stick: bool = True) -> int:
        """Send copies without reading until the server takes no more or has cut the connection; return how many.

        After its own close frame the server may read on, to find the client's; it drops what it reads then.
        """
        self._socket.settimeout(STUCK_SECONDS)
        count, unsent = 0, memoryview(b"")
        try:
            while count * len(octets) < MOST_SENT:
                unsent = memoryview(octets)
                while unsent:
                    unsent = unsent[self._socket.send(unsent) :]
                count += 1
            assert not must_stick, f"the server took {MOST_SENT} octets and more of a client that does not read"
        except TimeoutError:
            self._rest = bytes(unsent)
        except ConnectionError:
            pass  # it was cut
        finally:
            self._socket.settimeout(TIMEOUT)
        return count

    def receive(self) -> tuple[Opcode, bytes]:
        """Return the next frame. Raises `EOFError` or `ConnectionError` where there is none."""
        first, length = self._read(2)
        if length >= 126:
            length = int.from_bytes(self._read(2 if length == 126 else 8))
        return Opcode(first & 15), self._read(length)

    def close_code(self) -> int | None:
        """Read on until the server closes; return its code, None if the connection ends without."""
        try:
            while True:
                opcode, payload = self.receive()
                if opcode is Opcode.CLOSE:
                    return close_code(payload)
        except (ConnectionError, EOFError):
            return None

    def _read(self, size: int) -> bytes:
        while len(self._pending) < size:
            octets = self._socket.recv(1 << 18)
            if not octets:
                raise EOFError
            self._pending += octets
        octets = bytes(self._pending[:size])
        del self._pending[:size]
        return octets

    def expect_end(self) -> None:
        """Check that the server ends the connection and sends nothing before."""
        with contextlib.suppress(ConnectionError, EOFError, ssl.SSLError):
            raise AssertionError(self._read(1))
