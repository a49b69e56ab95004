"""The command line and the ready line of the comparison servers."""

import argparse
from typing import Any


def arguments(description: str | None) -> argparse.Namespace:
    """Parse `MODEL [--host HOST] [--port PORT]`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help="path of the ONNX file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    return parser.parse_args()


def announce(name: str, address: tuple[Any, ...]) -> None:
    """Print the ready line that the benchmark waits for."""
    print(f"{name} is listening on http://{address[0]}:{address[1]}", flush=True)
