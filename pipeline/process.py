"""The life of a process: it starts what it serves, says where that is, and drains it when it is told to end."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, Protocol

from prometheus_client import CollectorRegistry

from pipeline.control_messages import Seat
from pipeline.control_wire import ParentLink
from pipeline.errors import ConfigError
from pipeline.merged_metrics import snapshot
from pipeline.settings import Settings
from pipeline.supervisor import REFUSED, Supervisor, held_port

log = logging.getLogger("waterspout")

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Service(Protocol):
    """What a process is there for; `registry` has what it counts."""

    registry: CollectorRegistry

    async def start(self) -> str:
        """Return the URL once it is ready. Raises `ConfigError`."""

    async def stop(self) -> bool:
        """Drain and end; return whether that was done in time."""

    def reload(self) -> None:
        """Read again what may be renewed while the process runs."""


async def serve(build: Callable[[ParentLink | None], Service], seat: Seat | None = None) -> int:
    """Run a service until SIGTERM or SIGINT, a second of which ends it at once; return the exit code.

    With a `seat` it also ends with its parent, or when that says so, and tells it why it does not start. `build` makes
    the service; it is given the link to the parent, where there is one.
    """
    stopping = asyncio.Event()
    if seat is None:
        return await _run(build(None), stopping, _announce)
    link = await ParentLink.of(seat, stopping.set)
    try:
        service = build(link)
        return await _run(service, stopping, lambda url: link.ready(url, lambda: snapshot(service.registry)))
    except ConfigError as error:
        link.refuse(str(error))
        return REFUSED
    finally:
        await link.close()


async def supervise(settings: Settings) -> int:
    """Run several servers on one port, and end them as `serve` ends one; return the exit code."""
    loop = asyncio.get_running_loop()
    command = [sys.executable, *sys.orig_argv[1:]]
    with held_port(settings.address, settings.port) as port:
        supervisor = Supervisor(command, settings.processes, port, settings.drain_seconds, _announce)
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, supervisor.stop)
        _on_reload(supervisor.reload)
        code = await supervisor.run()
    log.info("stopped")
    return code


async def _run(service: Service, stopping: asyncio.Event, announce: Callable[[str], None]) -> int:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stopping.set()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, os._exit, 1)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    _on_reload(service.reload)
    waits = asyncio.create_task(stopping.wait())
    starts = asyncio.create_task(service.start())
    await asyncio.wait({waits, starts}, return_when=asyncio.FIRST_COMPLETED)
    if starts.done():
        url = starts.result()
        gc.collect()
        gc.freeze()
        announce(url)
        await waits
    starts.cancel()
    in_time = await service.stop()
    log.info("stopped")
    return 0 if in_time else 1


def _on_reload(reload: Callable[[], None]) -> None:
    """Have SIGHUP reload, unless a terminal sends it to say that it is gone."""
    if hasattr(signal, "SIGHUP") and not (sys.stdin and sys.stdin.isatty()):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def _announce(url: str) -> None:
    print(f"Waterspout is listening on {url}", flush=True)
