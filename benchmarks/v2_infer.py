"""Measure what an Open Inference Protocol request of one row costs beside a stock Tornado handler without any model."""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks import mlp
from benchmarks.contestants import PRODUCT, ROOT
from benchmarks.process import Cores, Server, ask
from benchmarks.v2_load import HttpJob, HttpLoad

AT_MOST = 1.3
PATH = "/v2/models/mlp/infer"
SERVERS = {"stock": ["-m", "benchmarks.servers.stock_http"], "waterspout": [str(PRODUCT)]}


def measure(name: str, model: Path, options: argparse.Namespace, cores: Cores) -> HttpLoad:
    """Load one server, started afresh."""
    command = [sys.executable, *SERVERS[name], str(model), "--port", "0"]
    with Server(name, command, cores.server, ROOT) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1") + PATH  # noqa: S104
        job = HttpJob(url, server.pid, options.connections, options.seconds / 3, options.seconds, name == "stock")
        answer = ask("benchmarks.v2_load", msgspec.json.encode(job), cores.load, ROOT, 30 + 2 * options.seconds)
    return msgspec.json.decode(answer, type=HttpLoad)


def main() -> None:
    """Measure round by round, the two side by side, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.v2_infer", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times that both are measured (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of each (3)")
    parser.add_argument("--connections", type=int, default=8, help="kept-alive connections, one request each (8)")
    options = parser.parse_args()
    cores = Cores.choose()
    print("| round | stock, CPU µs a request | Waterspout, CPU µs a request | ratio |\n| --- | ---: | ---: | ---: |")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "mlp.onnx")
        mlp.write(model)
        for number in range(options.rounds):
            stock, ours = (measure(name, model, options, cores).cpu_us for name in SERVERS)
            ratios.append(ours / stock)
            print(f"| {number + 1} | {stock:.1f} | {ours:.1f} | {ours / stock:.2f} |", flush=True)
    ratio = statistics.median(ratios)
    print(f"\nMedian ratio {ratio:.2f}, target <= {AT_MOST}: {'reached' if ratio <= AT_MOST else '**missed**'}")


if __name__ == "__main__":
    main()
