"""What `make run` does: start the server, and when it is ready its feeds: smartwatches and this machine itself.

Ctrl-C ends all of it.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from examples import host, smartwatches
from examples.device import reason_of

ROOT = Path(__file__).parent.parent
READY = "Waterspout is listening on "
UNUSUAL = 2.0  # the machine's scores from which on they are printed


async def run(port: int) -> int:
    """Run server and feed until a signal comes or the server ends; return the server's exit code."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "server.py",
        "--port",
        str(port),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    conversation = asyncio.create_task(_feed_when_ready(server))
    waiting = {asyncio.create_task(stopping.wait()), asyncio.create_task(server.wait()), conversation}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    with contextlib.suppress(ProcessLookupError):
        server.terminate()
    code = await server.wait()
    if stopping.is_set():
        print("stopped", flush=True)
    return code


async def _feed_when_ready(server: asyncio.subprocess.Process) -> None:
    assert server.stdout is not None
    while line := (await server.stdout.readline()).decode():
        print(line, end="", flush=True)
        if line.startswith(READY):
            url = line.removeprefix(READY).strip()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(smartwatches.feed(url))
                    group.create_task(host.feed(url, least=UNUSUAL))
            except ExceptionGroup as failures:
                print(f"no feed: {reason_of(failures)}", flush=True)
    await server.wait()


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8888, help="of the server (default: %(default)s)")
    return asyncio.run(run(parser.parse_args().port))


if __name__ == "__main__":
    sys.exit(main())
