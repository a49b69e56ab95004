"""The certificate of a TLS port, which is renewed while the server runs."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NoReturn

from cryptography.x509 import load_pem_x509_certificate
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.errors import ConfigError

LOOK_SECONDS: Final = 2.0

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, ...], ...]


class Certificate(Collector):
    """A chain and its key (PEM), as two files that somebody else writes.

    They are looked at every `LOOK_SECONDS`, and read once two looks in a row found them the same, since whoever renews
    them writes one after the other. A pair that cannot be used is told once; the one before it stays.
    """

    def __init__(self, chain: Path, key: Path, show: Callable[[ssl.SSLContext], None]) -> None:
        """Read the files; `show` is given what new connections are to be shown, whenever that has changed.

        Raises `ConfigError` where they cannot be used.
        """
        self._chain = chain
        self._key = key
        self._show = show
        self._read_at = self._seen = self._stamp()
        self.expires_at = 0.0  # unix seconds
        self._timer: asyncio.TimerHandle | None = None
        self.context = self._read()

    def __repr__(self) -> str:
        return f"<Certificate {self._chain}>"

    def start(self) -> None:
        """Look at the files from now on."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        title = "When the certificate of the port expires, in unix seconds"
        yield GaugeMetricFamily("waterspout_certificate_expiry_timestamp_seconds", title, self.expires_at)

    def look(self, *, at_once: bool = False) -> None:
        """Take what is new. `at_once`: though it may not be at rest, and though it was refused before."""
        stamp = self._stamp()
        is_at_rest = stamp == self._seen
        self._seen = stamp
        if not at_once and (stamp == self._read_at or not is_at_rest):
            return
        self._read_at = stamp
        try:
            self.context = self._read()
        except ConfigError as error:
            log.error("%s; the certificate from before stays", error)  # noqa: TRY400
        else:
            log.info("%s: new connections get the certificate that lies there now", self._chain)
            self._show(self.context)

    def _tick(self) -> None:
        self.start()
        self.look()

    def _stamp(self) -> Stamp:
        """Return what is another value when the files are others, behind symbolic links too."""
        found: list[tuple[int, ...]] = []
        for path in (self._chain, self._key):
            try:
                stat = path.stat()
            except OSError:
                found.append(())
            else:
                found.append((stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self._chain, self._key, _no_passphrase)
            first = load_pem_x509_certificate(self._chain.read_bytes())
        except (OSError, ValueError) as error:  # an error of TLS is an OSError
            raise ConfigError(f"tls_cert, tls_key: {error}") from error
        self.expires_at = first.not_valid_after_utc.timestamp()
        return context


def _no_passphrase() -> NoReturn:
    """Say what to do where OpenSSL would ask on the terminal, and all would wait."""
    raise ConfigError("tls_key: the key has a passphrase, which the server cannot ask for; store it without")
