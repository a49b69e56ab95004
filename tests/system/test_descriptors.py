"""File descriptors run out: new connections are refused, and all else goes on."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Certificate

from .client import open_stream
from .conftest import StartServer
from .process import Server, running_server, until
from .raw import connection_to, read_head, upgrade_request

ROOM = 120  # connections
RESERVE = 100  # descriptors that are kept for other things
CROWD = 150
TOLD = "new connections are refused"


def limit(server: Server, descriptors: int) -> None:
    """Let a server that runs have so many."""
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (descriptors, hard))


@pytest.fixture(params=["plain", "tls"])
def small(request: pytest.FixtureRequest, zoo_models: Path, certificate: Certificate) -> Iterator[Server]:
    """Give a server with room for few."""
    is_secure = request.param == "tls"
    arguments = ("--models", str(zoo_models), *(certificate.arguments if is_secure else ()))
    with running_server(*arguments, tls=certificate.trusted() if is_secure else None) as server:
        limit(server, ROOM + RESERVE)
        yield server
        assert server.log.count(TOLD) == 1
        server.check_log(TOLD)


def answer(server: Server, stack: contextlib.ExitStack) -> str:
    """Open a socket until the stack is closed; return the beginning of the answer, "" for none."""
    with contextlib.suppress(OSError):  # with TLS there is no word for who is refused
        connection = stack.enter_context(connection_to(server))
        connection.sendall(upgrade_request(server, "/v1/echo"))
        return read_head(connection).decode()
    return ""


def test_a_server_takes_as_many_as_the_system_allows(start_server: StartServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        server = start_server()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_those_for_whom_there_is_no_room_are_refused_and_the_others_go_on(small: Server) -> None:
    with open_stream(small, "/v1/models/double/stream") as stream:
        with contextlib.ExitStack() as stack:
            answers = []
            for number in range(CROWD):
                answers.append(answer(small, stack))
                assert stream.ask({"id": number, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}
        taken, refused = answers[: ROOM - 1], answers[ROOM - 1 :]
        assert all(head.startswith("HTTP/1.1 101 ") for head in taken)
        if small.tls is None:
            assert all(head.startswith("HTTP/1.1 503 ") and "Retry-After: 1\r\n" in head for head in refused)
        else:
            assert set(refused) == {""}

        def is_taken() -> bool:
            with contextlib.ExitStack() as stack:
                return answer(small, stack).startswith("HTTP/1.1 101 ")

        until(is_taken)


def test_a_connection_waits_while_the_system_gives_none(small: Server) -> None:
    with open_stream(small, "/v1/models/double/stream") as stream:
        limit(small, 10)
        with connection_to(small, secure=False) as waiting:
            until(lambda: TOLD in small.log)
            assert stream.ask({"id": 1, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}
            limit(small, ROOM + RESERVE)
            waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):  # with TLS that is no handshake
                assert waiting.recv(1) or small.tls is not None
