"""What the benchmark asks of its load generator, and what it hears back, as JSON over stdin and stdout."""

from typing import Literal, Self

import msgspec

Encoding = Literal["msgpack", "json"]


class Door(msgspec.Struct, frozen=True):
    """Where to connect, and how the server behind it speaks."""

    url: str
    pid: int
    encoding: Encoding = "msgpack"
    subprotocol: str = ""
    echoes: bool = False
    expected: bytes = b""
    """float32[256, 8] that the model must answer; empty: those of the perceptron."""


class Shape(msgspec.Struct, frozen=True):
    """So many sockets with so many events in flight on each (closed loop), or at `rate` events/s over all."""

    sockets: int
    in_flight: int = 0
    rate: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `SOCKETSxIN_FLIGHT`."""
        sockets, _, in_flight = text.partition("x")
        if not (sockets.isdecimal() and in_flight.isdecimal() and int(sockets) and int(in_flight)):
            raise ValueError(f"shape: expected SOCKETSxIN_FLIGHT, such as 100x1, got {text!r}")
        return cls(int(sockets), int(in_flight))

    def __str__(self) -> str:
        if self.in_flight:
            return f"{self.sockets}x{self.in_flight}"
        return f"{self.rate:,.0f} events/s over {self.sockets:,} sockets"


class LoadJob(msgspec.Struct, frozen=True, tag="load"):
    """Keep up a load for `warm_up` + `seconds` and measure during the latter.

    Also what `others` (pids) use, and by how much `counters` rise: each the URL of a server and the name of its metric.
    """

    door: Door
    shape: Shape
    warm_up: float
    seconds: float
    others: list[int] = []
    counters: list[tuple[str, str]] = []


class IdleJob(msgspec.Struct, frozen=True, tag="idle"):
    """Open and close `warm_up` sockets, then hold `sockets` open without a word."""

    door: Door
    sockets: int
    warm_up: int = 500


class Load(msgspec.Struct, frozen=True):
    """What one load showed; CPU is the server's user + system time over all its threads."""

    predictions: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Server CPU per prediction, µs."""
    resident_mb: float
    server_busy: float
    """Cores the server used."""
    load_busy: float
    """Cores the load generator used; near 1, it is what bounds the rate."""
    others_busy: float
    """Cores that anything else used meanwhile: figures are only as good as this is near 0."""
    others_cpu_us: list[float] = []
    """CPU per prediction of the `others` that were asked for, µs."""
    counted: list[float] = []
    """How much the `counters` rose per prediction."""


class Idle(msgspec.Struct, frozen=True):
    """What open sockets cost a server in memory."""

    sockets: int
    baseline_mb: float
    resident_mb: float
    bytes_per_socket: float
