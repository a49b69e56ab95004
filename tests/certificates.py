"""Certificates for the tests, which sign themselves."""

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """A certificate for an address and its key."""

    certificate: Path
    key: Path

    @property
    def arguments(self) -> tuple[str, ...]:
        """The server's."""
        return "--tls-cert", str(self.certificate), "--tls-key", str(self.key)

    @property
    def der(self) -> bytes:
        """The certificate as it is shown in a handshake."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())

    def encrypt_key(self, passphrase: str) -> None:
        """Store the key under a passphrase."""
        command = ["openssl", "ec", "-aes256", "-passout", f"pass:{passphrase}", "-in", str(self.key)]
        subprocess.run([*command, "-out", str(self.key)], check=True, capture_output=True, timeout=10)

    def trusted(self) -> ssl.SSLContext:
        """Return what a client needs to trust it."""
        return ssl.create_default_context(cafile=self.certificate)

    def served(self) -> ssl.SSLContext:
        """Return what a server needs to show it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_certificate(folder: Path, address: str = "127.0.0.1", days: int = 2) -> Certificate:
    folder.mkdir(exist_ok=True)
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=waterspout"
    names = ["-addext", f"subjectAltName=IP:{address}", "-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run([*command.split(), "-days", str(days), *names], check=True, capture_output=True, timeout=10)
    return made
