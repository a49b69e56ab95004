"""Keys, a server that needs them, and clients that show them, for the tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .client import TIMEOUT, Http, Reply
from .process import ROOT, Server, until

PREDICT = "/v1/models/add/predict"
EVENT = json.dumps({"data": [1, 2, 3, 4]})


class Keys(NamedTuple):
    """A file of keys, and keys in it by what they may do."""

    file: Path
    texts: dict[str, str]

    def add(self, name: str, scopes: str, *options: str) -> str:
        """Make a key as an operator does."""
        text = keys_command("create", "--name", name, "--scopes", scopes, "--file", str(self.file), *options).strip()
        self.texts[name] = text
        return text

    def add_at(self, server: Server, name: str, scopes: str, *options: str) -> str:
        """Make a key, and wait until a server that runs takes it."""
        text = self.add(name, scopes, *options)
        until(lambda: ask(server, "GET", "/v1/me", self.bearer(name)).status == 200)
        return text

    def revoke(self, text: str) -> None:
        keys_command("revoke", text.split("_")[1], "--file", str(self.file))

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.texts[name]}"}


def keys_command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "server.py"), "keys", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def ask(
    server: Server, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
) -> Reply:
    with Http(server) as http:
        return http.request(method, path, body, headers)


def socket(
    server: Server, path: str, *, headers: dict[str, str] | None = None, protocols: list[str] | None = None
) -> ClientConnection:
    return connect(
        server.ws + path,
        additional_headers=headers,
        subprotocols=[Subprotocol(name) for name in protocols or []] or None,
        compression=None,
        proxy=None,
        open_timeout=TIMEOUT,
        close_timeout=TIMEOUT,
        ping_interval=None,
    )


def receive(connection: ClientConnection) -> Any:
    return json.loads(connection.recv(timeout=4 * TIMEOUT))  # guests have 5 s


def closed(connection: ClientConnection) -> int:
    """Return the code with which the server closes, whatever it says before."""
    with pytest.raises(ConnectionClosed) as caught:  # noqa: PT012
        while True:
            connection.recv(timeout=TIMEOUT)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code
