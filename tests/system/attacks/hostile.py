"""What attackers do: sockets by the hundred, octets as fast as they are taken, requests as no library writes them."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..process import Server
from ..raw import connection_to, read_head, read_to_end, upgrade_request
from .scene import Measure

DOUBLE: Final = "/v1/models/double/stream"


@contextmanager
def websocket(server: Server, path: str = DOUBLE, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """Give a WebSocket as the octets that travel on it."""
    with connection_to(server, receive_buffer) as connection:
        connection.sendall(upgrade_request(server, path))
        assert read_head(connection).startswith(b"HTTP/1.1 101 ")
        yield connection


def flood(connection: socket.socket, octets: bytes, attack: Measure) -> None:
    """Send ten times a second, reading all that comes, for as long as the attack lasts."""
    connection.settimeout(None)
    reader = threading.Thread(target=read_to_end, args=(connection,))
    reader.start()
    with contextlib.suppress(OSError):
        while attack.lasts(pause=0.1):
            connection.sendall(octets)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    reader.join()


@contextmanager
def crowd(server: Server, size: int) -> Iterator[list[socket.socket]]:
    """Give so many connections that have not said anything yet."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connection_to(server, secure=False)) for _ in range(size)]


def drip(connections: list[socket.socket], octets: bytes) -> list[socket.socket]:
    """Send the same on each connection; return those that the server has not ended."""
    alive = []
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(octets)
            alive.append(connection)
    return alive


def is_open(connection: socket.socket) -> bool:
    """Return whether the server has not ended a connection; what it sends is thrown away."""
    try:
        while connection.recv(1 << 18, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def exchange(server: Server, request: bytes) -> bytes:
    """Send octets in place of a request, and return all that comes until the server ends the connection."""
    with connection_to(server) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return read_to_end(connection)
