"""The servers that are measured side by side, and how each is started and spoken to."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.jobs import Door, Encoding, Shape

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ROOT / "server.py"

MANY_SOCKETS = 5000
"""From this many sockets on only those are measured whose cost against sockets is asked for."""


@dataclass(frozen=True)
class Contestant:
    """One server and the way to speak to it; `module` None is Waterspout itself."""

    name: str
    title: str
    module: str | None
    needs: tuple[str, ...] = ()
    encoding: Encoding = "msgpack"
    echoes: bool = False
    many_sockets: bool = False
    path: str = "/"

    def command(self, model: Path) -> list[str]:
        """Return the command line that serves the model on a free port."""
        program = ["-m", self.module] if self.module else [str(PRODUCT)]
        return [sys.executable, *program, str(model), "--port", "0"]

    def door(self, url: str, pid: int) -> Door:
        """Return what the load generator needs to know of the running server."""
        subprotocol = "" if self.module else f"waterspout.v1.{self.encoding}"
        address = url.replace("http://", "ws://").replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        return Door(address + self.path, pid, self.encoding, subprotocol, self.echoes)

    def missing(self) -> str:
        """Return what is not here to run it, or nothing."""
        if self.module is None:
            return "" if PRODUCT.exists() else f"{PRODUCT.name} is absent"
        return ", ".join(f"{package} is not installed" for package in self.needs if not find_spec(package))

    def takes(self, shape: Shape) -> bool:
        """Tell whether this server is measured under that shape."""
        return self.many_sockets or shape.sockets < MANY_SOCKETS


_STREAM = "/v1/models/mlp/stream"

# Those that are divided by each other stand side by side: the machine changes least from one to the next.
CONTESTANTS: Sequence[Contestant] = (
    Contestant("echo", "raw picows echo of the MessagePack event", "benchmarks.servers.echo", ("picows",),
               echoes=True, many_sockets=True),
    Contestant("waterspout-msgpack", "Waterspout, MessagePack", None, path=_STREAM, many_sockets=True),
    Contestant("echo-json", "raw picows echo of the JSON event", "benchmarks.servers.echo", ("picows",),
               encoding="json", echoes=True),
    Contestant("waterspout-json", "Waterspout, JSON", None, encoding="json", path=_STREAM),
    Contestant("spike", "minimal server: detached socket, micro-batching, nothing else",
               "benchmarks.servers.minimal"),
    Contestant("tornado", "stock Tornado, one run per message", "benchmarks.servers.stock_tornado"),
    Contestant("fastapi", "FastAPI + uvicorn, one run per message", "benchmarks.servers.stock_fastapi",
               ("fastapi", "uvicorn")),
)  # fmt: skip
