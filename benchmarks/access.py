"""Measure what API keys and limits cost: `python -m benchmarks.access`.

The same load goes to an open server and to one that needs a key and bounds all there is to bound; then as many
handshakes as possible, with a key, beside those of a stock Tornado without any.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import msgspec

from benchmarks import mlp
from benchmarks.contestants import PRODUCT, ROOT, Contestant
from benchmarks.jobs import Load, LoadJob, Shape
from benchmarks.process import Cores, Server, ask

COST_AT_MOST: Final = 1.05  # times the CPU of the open server
STORM_AT_LEAST: Final = 0.5  # of stock Tornado's rate
STREAM: Final = "/v1/models/mlp/stream"
SHAPE: Final = Shape(1000, 1)
WARM_UP: Final = 3.0
SPARE_SECONDS: Final = 60.0
HANDSHAKES: Final = 10_000
AT_ONCE: Final = 200  # connections that are under way
LIMITS: Final = """
[identity_limits]
sockets = 100000
new_sockets_per_second = 100000
events_per_second = 10000000
bytes_per_second = 10000000000
events_per_month = 1000000000000
keys = 1000000
subscriptions = 1000
control_frames_per_second = 100000

[address_limits]
sockets = 100000
new_sockets_per_second = 100000
events_per_second = 10000000
bytes_per_second = 10000000000
keys = 1000000
control_frames_per_second = 100000
"""


class Bench:
    """Starts each server anew for every measurement."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._cores = Cores.choose()
        self._seconds = seconds
        self._model = folder / "mlp.onnx"
        mlp.write(self._model)
        keys = folder / "keys.toml"
        made = subprocess.run(
            [
                sys.executable,
                str(PRODUCT),
                "keys",
                "create",
                "--name",
                "load",
                "--scopes",
                "predict:*",
                "--file",
                str(keys),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        self.key = made.stdout.strip()
        config = folder / "waterspout.toml"
        config.write_text(f"api_keys = '{keys}'\nusage_db = '{folder / 'usage.db'}'\nquery_tokens = true\n{LIMITS}")
        self._closed = ["--config", str(config)]

    def cpu_us(self, *, is_closed: bool) -> float:
        """Return the server's CPU per prediction, µs."""
        path = f"{STREAM}?access_token={self.key}" if is_closed else STREAM
        with self._product(is_closed=is_closed) as server:
            door = Contestant("waterspout", "Waterspout", None, path=path).door(server.url, server.pid)
            job = LoadJob(door, SHAPE, WARM_UP, self._seconds)
            timeout = SPARE_SECONDS + WARM_UP + self._seconds
            answer = ask("benchmarks.load", msgspec.json.encode(job), self._cores.load, ROOT, timeout)
        return msgspec.json.decode(answer, type=Load).cpu_us

    def handshakes(self, *, is_product: bool) -> float:
        """Return the handshakes accepted per second, each connection cut once it is answered."""
        if is_product:
            with self._product(is_closed=True) as server:
                return asyncio.run(_storm(server.url, STREAM, f"Authorization: Bearer {self.key}\r\n"))
        stock = Contestant("tornado", "stock Tornado", "benchmarks.servers.stock_tornado")
        with Server("tornado", stock.command(self._model), self._cores.server, ROOT) as server:
            return asyncio.run(_storm(server.url, "/", ""))

    def _product(self, *, is_closed: bool) -> Server:
        options = self._closed if is_closed else []
        command = [sys.executable, str(PRODUCT), str(self._model), "--port", "0", "--threads", "1", *options]
        return Server("waterspout", command, self._cores.server, ROOT)


async def _storm(url: str, path: str, header: str) -> float:
    place = urlsplit(url.replace("0.0.0.0", "127.0.0.1"))  # noqa: S104
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n"
    ).encode()
    left = iter(range(HANDSHAKES))
    accepted = 0

    async def connect() -> None:
        nonlocal accepted
        for _ in left:
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            accepted += head.startswith(b"HTTP/1.1 101 ")
            writer.transport.abort()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(connect())
    seconds = time.perf_counter() - started
    if accepted != HANDSHAKES:
        raise SystemExit(f"{accepted} of {HANDSHAKES} handshakes were accepted")
    return accepted / seconds


def main() -> None:
    """Measure round by round, side by side, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.access", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of each run (5)")
    parser.add_argument("--rounds", type=int, default=5, help="times that the pairs are measured (5)")
    options = parser.parse_args()
    costs, rates = [], []
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        bench = Bench(Path(folder), options.seconds)
        print(f"{SHAPE}, MessagePack, CPU µs a prediction\n\n| round | open | key and limits | ratio |")
        print("| --- | ---: | ---: | ---: |")
        for number in range(options.rounds):
            plain, closed = bench.cpu_us(is_closed=False), bench.cpu_us(is_closed=True)
            costs.append(closed / plain)
            print(f"| {number + 1} | {plain:.2f} | {closed:.2f} | {costs[-1]:.3f} |", flush=True)
        print(
            f"\n{HANDSHAKES:,} handshakes, {AT_ONCE} under way, per second\n\n| round | stock Tornado, open |", end=""
        )
        print(" Waterspout, with a key | ratio |\n| --- | ---: | ---: | ---: |")
        for number in range(options.rounds):
            stock, own = bench.handshakes(is_product=False), bench.handshakes(is_product=True)
            rates.append(own / stock)
            print(f"| {number + 1} | {stock:,.0f} | {own:,.0f} | {rates[-1]:.2f} |", flush=True)
    print("\n| figure | target | seen | verdict |\n| --- | ---: | ---: | ---: |")
    cost, rate = median(costs), median(rates)
    print(f"| CPU with a key and limits / open | {COST_AT_MOST} | {cost:.3f} | {_word(cost <= COST_AT_MOST)} |")
    print(
        f"| handshakes/s with a key / stock Tornado | {STORM_AT_LEAST} | {rate:.2f} | {_word(rate >= STORM_AT_LEAST)} |"
    )


def _word(is_reached: bool) -> str:
    return "reached" if is_reached else "missed"


if __name__ == "__main__":
    main()
