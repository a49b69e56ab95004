"""What TLS adds: certificates, handshakes that never end, and clients that speak something else."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Certificate

from .client import get, open_stream
from .metrics import Metrics
from .process import Server, run_to_end, running_server, until
from .raw import Wire, connection_to, read_to_end

DOUBLE = "/v1/models/double/stream"


@pytest.fixture(scope="module")
def secure(zoo_models: Path, certificate: Certificate) -> Iterator[Server]:
    """Give a server with TLS that expects its handshakes soon."""
    arguments = ("--models", str(zoo_models), "--header-seconds", "0.4", *certificate.arguments)
    with running_server(*arguments, tls=certificate.trusted()) as server:
        yield server


def check_alive(server: Server) -> None:
    """Check that the server still serves and has nothing to complain about."""
    with open_stream(server, DOUBLE) as stream:
        assert stream.ask({"id": 1, "data": [1, 2, 3, 4]}) == {"id": 1, "outputs": {"y": [2, 4, 6, 8]}}
    server.check_log()


def test_the_url_says_https(secure: Server) -> None:
    assert secure.scheme == "https"
    assert get(secure, "/readyz").json["ready"]
    check_alive(secure)


def test_a_client_that_does_not_trust_the_certificate_does_not_connect(secure: Server) -> None:
    ignorant = ssl.create_default_context()
    with socket.create_connection(secure.address, 5) as connection, pytest.raises(ssl.SSLCertVerificationError):
        ignorant.wrap_socket(connection, server_hostname="127.0.0.1")
    check_alive(secure)


def test_old_versions_of_tls_are_refused(secure: Server, certificate: Certificate) -> None:
    context = certificate.trusted()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(secure.address, 5) as connection, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(connection, server_hostname="127.0.0.1")
    check_alive(secure)


@pytest.mark.parametrize("octets", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_a_handshake_that_is_not_finished_is_closed(secure: Server, octets: bytes) -> None:
    with connection_to(secure, secure=False) as connection:
        connection.sendall(octets)
        assert read_to_end(connection) == b""
    check_alive(secure)


@pytest.mark.parametrize("octets", [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\xff" * 1000, bytes(1000)])
def test_a_client_that_speaks_no_tls_is_closed(secure: Server, octets: bytes) -> None:
    with connection_to(secure, secure=False) as connection:
        connection.sendall(octets)
        assert b"HTTP/1.1 200" not in read_to_end(connection)
    check_alive(secure)


def test_a_request_that_is_not_finished_is_closed(secure: Server) -> None:
    with connection_to(secure) as connection:
        connection.sendall(b"GET /v1/echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n")
        assert read_to_end(connection) == b""
    check_alive(secure)


def test_a_connection_that_ends_without_tls_s_own_goodbye_is_forgotten(secure: Server) -> None:
    with Wire(secure, DOUBLE):
        until(lambda: Metrics(secure)("sockets") == 1)
    until(lambda: Metrics(secure)("sockets") == 0)
    check_alive(secure)


def test_broken_tls_records_end_the_connection_alone(secure: Server) -> None:
    with connection_to(secure) as connection, open_stream(secure, DOUBLE) as neighbour:
        with socket.socket(fileno=socket.dup(connection.fileno())) as beneath:
            beneath.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        read_to_end(connection)
        assert neighbour.ask({"id": 1, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}


@pytest.mark.parametrize("case", ["no such file", "no certificate", "another key", "no key given"])
def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path, certificate: Certificate, case: str) -> None:
    wrong = tmp_path / "wrong.pem"
    if case != "no such file":
        wrong.write_text("not a certificate")
    cert, key = {"another key": (certificate.certificate, wrong)}.get(case, (wrong, certificate.key))
    arguments = ["--tls-cert", str(cert), *([] if case == "no key given" else ["--tls-key", str(key)])]
    ended = run_to_end("--port", "0", *arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "tls_cert" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
