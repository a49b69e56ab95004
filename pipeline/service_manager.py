"""What systemd is told of the process, where it has asked for that (Type=notify)."""

import contextlib
import os
import socket
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"

_ADDRESS: Final = "NOTIFY_SOCKET"


def keep_quiet() -> None:
    """Tell nothing from now on."""
    os.environ.pop(_ADDRESS, None)


def notify(state: str) -> None:
    """Tell the service manager a state; whether it listens is its own business (sd_notify(3))."""
    address = os.environ.get(_ADDRESS, "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
