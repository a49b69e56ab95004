"""What is believed of what proxies say, by a server that has some and by one that has none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.certificates import Certificate

from .client import get
from .process import Server, running_server, until
from .raw import connection_to, read_head, upgrade_request

ECHO: Final = "/v1/echo"


@pytest.fixture(scope="module", params=["127.0.0.0/8", "127.0.0.1", "::ffff:127.0.0.1/128"])
def proxied(request: pytest.FixtureRequest, zoo_models: Path) -> Iterator[Server]:
    """Give a server that trusts whoever is on this machine."""
    arguments = ("--trusted-proxies", "10.0.0.0/8", "--trusted-proxies", request.param)
    with running_server("--models", str(zoo_models), *arguments) as server:
        yield server


def status_of(server: Server, scheme: str, **headers: str) -> int:
    """Return how an upgrade is answered that a page of the server's own host asks for."""
    host, port = server.address
    with connection_to(server) as connection:
        connection.sendall(upgrade_request(server, ECHO, Origin=f"{scheme}://{host}:{port}", **headers))
        return int(read_head(connection).split()[1])


@pytest.mark.parametrize("told", ["https", "HTTPS", "http, https"])
def test_a_page_without_tls_is_refused_where_a_trusted_proxy_has_it(proxied: Server, told: str) -> None:
    assert status_of(proxied, "http", X_Forwarded_Proto=told) == 403
    assert status_of(proxied, "https", X_Forwarded_Proto=told) == 101


@pytest.mark.parametrize("told", ["http", "https, http", "", "junk"])
def test_either_may_connect_where_there_is_none(proxied: Server, told: str) -> None:
    assert status_of(proxied, "http", X_Forwarded_Proto=told) == 101
    assert status_of(proxied, "https", X_Forwarded_Proto=told) == 101


def test_nobody_is_believed_who_is_not_listed(zoo: Server) -> None:
    assert status_of(zoo, "http", X_Forwarded_Proto="https") == 101


def test_only_pages_with_tls_connect_to_a_server_with_tls(zoo_models: Path, certificate: Certificate) -> None:
    with running_server("--models", str(zoo_models), *certificate.arguments, tls=certificate.trusted()) as server:
        assert status_of(server, "https") == 101
        assert status_of(server, "http") == 403
        assert status_of(server, "https", X_Forwarded_Proto="http") == 101


@pytest.mark.parametrize("path", ["/v1/echo", "/v1/watch", "/v1/models/double/stream", "/v1/watch/sse?topics=$alerts"])
def test_operators_see_the_client_and_not_the_proxy(proxied: Server, path: str) -> None:
    address = "2001:db8::7"
    with connection_to(proxied) as connection:
        connection.sendall(upgrade_request(proxied, path, X_Forwarded_For=f"198.51.100.1, {address}, 10.0.0.1"))
        read_head(connection)
        until(
            lambda: [session["address"] for session in get(proxied, "/v1/admin/sessions").json["sessions"]] == [address]
        )
    until(lambda: get(proxied, "/v1/admin/sessions").json["total"] == 0)
