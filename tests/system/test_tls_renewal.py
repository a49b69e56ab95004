"""Certificates that are renewed while the server runs."""

import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.certificates import Certificate, make_certificate

from .client import open_stream
from .metrics import Metrics
from .process import Server, running_server, until

PLUS: Final = "/v1/models/double/stream"
KEPT: Final = "the certificate from before stays"


class Renewing:
    """A server whose certificate lies behind a link, as those who renew certificates leave it."""

    def __init__(self, folder: Path, stack: ExitStack, models: Path) -> None:
        self.folder = folder
        self.link = folder / "live"
        self._stack = stack
        self._models = models

    def make(self, name: str, days: int = 2) -> Certificate:
        return make_certificate(self.folder / name, days=days)

    def show(self, name: str) -> None:
        """Have the link point to another certificate, in one step."""
        fresh = self.folder / "fresh"
        fresh.symlink_to(self.folder / name)
        fresh.replace(self.link)

    def start(self, *arguments: str, **options: Any) -> Server:
        lying = Certificate(self.link / "cert.pem", self.link / "key.pem")
        arguments = ("--models", str(self._models), *lying.arguments, *arguments)
        return self._stack.enter_context(running_server(*arguments, tls=lying.trusted(), **options))


@pytest.fixture
def renewing(tmp_path: Path, zoo_models: Path) -> Iterator[Renewing]:
    with ExitStack() as stack:
        yield Renewing(tmp_path, stack, zoo_models)


def shown_by(server: Server) -> bytes:
    """Return the certificate that a new connection gets."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(server.address, 5) as plain, context.wrap_socket(plain) as connection:
        certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


def test_new_connections_get_a_renewed_certificate_and_old_ones_go_on(renewing: Renewing) -> None:
    first, second = renewing.make("first"), renewing.make("second")
    renewing.show("first")
    server = renewing.start()
    assert shown_by(server) == first.der
    with open_stream(server, PLUS) as stream:
        renewing.show("second")
        until(lambda: shown_by(server) == second.der, 10)
        assert stream.ask({"id": 1, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}
    server.tls = second.trusted()
    with open_stream(server, PLUS) as stream:
        assert stream.ask({"id": 1, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}
    assert server.log.count("new connections get the certificate") == 1


def test_a_signal_has_the_certificate_read_at_once(renewing: Renewing) -> None:
    renewing.make("first")
    second = renewing.make("second")
    renewing.show("first")
    server = renewing.start()
    renewing.show("second")
    server.reload()
    until(lambda: "new connections get the certificate" in server.log, 1.5)  # a look is each two seconds
    assert shown_by(server) == second.der


def test_a_scraper_sees_when_the_certificate_expires(renewing: Renewing) -> None:
    renewing.make("first", days=3)
    second = renewing.make("second", days=30)
    renewing.show("first")
    server = renewing.start()
    day = 86_400
    assert seconds_left(server) == pytest.approx(3 * day, abs=60)
    renewing.show("second")
    server.reload()
    until(lambda: "new connections get the certificate" in server.log)
    server.tls = second.trusted()
    assert seconds_left(server) == pytest.approx(30 * day, abs=60)


def seconds_left(server: Server) -> float:
    return Metrics(server)("certificate_expiry_timestamp_seconds") - time.time()


@pytest.mark.parametrize("case", ["no certificate", "key of another", "gone", "with a passphrase"])
def test_a_pair_that_cannot_be_used_is_told_once_and_the_one_before_stays(renewing: Renewing, case: str) -> None:
    first, second, third = (renewing.make(name) for name in ("first", "second", "third"))
    match case:
        case "no certificate":
            second.certificate.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        case "key of another":
            shutil.copy(first.key, second.key)
        case "gone":
            second.key.unlink()
        case "with a passphrase":
            second.encrypt_key("secret")
    renewing.show("first")
    server = renewing.start(allowed=KEPT)
    renewing.show("second")
    until(lambda: KEPT in server.log, 10)
    assert shown_by(server) == first.der
    renewing.show("third")
    until(lambda: shown_by(server) == third.der, 10)
    assert server.log.count(KEPT) == 1


def test_every_process_of_a_port_gets_it(renewing: Renewing) -> None:
    renewing.make("first")
    second = renewing.make("second")
    renewing.show("first")
    server = renewing.start("--processes", "2")
    renewing.show("second")
    server.reload()
    until(lambda: server.log.count("new connections get the certificate") == 2, 1.5)
    assert {shown_by(server) for _ in range(16)} == {second.der}


def test_a_signal_to_a_server_without_tls_does_nothing(zoo_models: Path) -> None:
    with running_server("--models", str(zoo_models)) as server, open_stream(server, PLUS) as stream:
        server.reload()
        assert stream.ask({"id": 1, "data": [1, 2, 3, 4]})["outputs"] == {"y": [2, 4, 6, 8]}
