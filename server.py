"""Waterspout: live predictions for live streams. `python server.py --help` explains every option."""

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import tornado.httpserver
import tornado.netutil
from tornado.util import _websocket_mask

from handlers.app import make_app
from handlers.base import ServerState
from handlers.heartbeat import Heartbeat, HeartbeatOptions
from handlers.hub_clock import HubClock
from handlers.pulse import PulseTimer, make_gauges
from handlers.webhooks import WebhookSender
from pipeline.alert_desk import AlertDesk
from pipeline.errors import CloseCode, ConfigError
from pipeline.hub import Hub
from pipeline.interfaces import KeyBudget
from pipeline.model_folder import Look, find_models, single_model
from pipeline.model_watch import ModelWatch
from pipeline.pulse import Pulse
from pipeline.pulse_messages import Stats
from pipeline.repository import Repository
from pipeline.settings import Settings, read_settings, unknown_variables
from pipeline.stats import ServerStats
from pipeline.topics import STATS
from pipeline.watch_messages import StatsUpdate
from pipeline.webhook_rules import signing_key
from pipeline.workers import WorkerPool

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:  # platforms without it
    uvloop = None

log = logging.getLogger("waterspout")

SWITCH_INTERVAL = 0.0005  # seconds a finished worker waits for the interpreter at most; Python's default is 5 ms
BACKLOG = 4096


class Server:
    """All parts of one process, put together."""

    def __init__(self, settings: Settings) -> None:
        """Build the parts; needs a running loop."""
        self.cores = len(os.sched_getaffinity(0))
        self.threads = settings.threads or self.cores
        self.settings = settings
        self.stats = ServerStats()
        self.workers = WorkerPool(self.threads)
        is_explicit = settings.model_control == "explicit"
        self.hub = Hub()
        secret = settings.webhook_secret
        self.webhooks = WebhookSender(self.stats, signing_key(secret.get_secret_value()) if secret else None)
        self.desk = AlertDesk(self.stats, self.hub)
        self.desk.call_webhook = self.webhooks.send
        self.repository = Repository(
            self.stats,
            self.workers,
            self.threads,
            self._look,
            only=settings.load_models if is_explicit else None,
            hub=self.hub,
            desk=self.desk,
        )
        self.watch = ModelWatch(
            self.repository,
            settings.model.parent if settings.model else settings.models,
            recursive=settings.model is None,
        )
        self.heartbeat = Heartbeat(
            HeartbeatOptions(settings.ping_after_seconds, settings.pong_wait_seconds, settings.slow_consumer_seconds)
        )
        self.hub_clock = HubClock(self.hub, self.heartbeat)
        self.stats.sockets = self.heartbeat.__len__
        budget = KeyBudget(settings.max_keys)
        gauges = make_gauges(self.repository.states, budget, watchers=lambda: self.hub.watchers)
        self.pulse = PulseTimer(Pulse(self.stats, gauges, time.monotonic()), self._publish_stats)
        self.hub.on_stats = lambda is_watched: self.pulse.start() if is_watched else self.pulse.stop()
        sessions = itertools.count(1)
        prefix = os.urandom(4).hex()
        self.state = ServerState(
            settings,
            self.repository,
            self.heartbeat,
            self.stats,
            budget,
            self.hub,
            self.pulse,
            self.desk.recent,
            new_session_id=lambda: f"{prefix}-{next(sessions)}",
        )
        self.stats.events = self.state.count_events
        self.http = tornado.httpserver.HTTPServer(
            make_app(self.state),
            ssl_options=_tls_context(settings),
            idle_connection_timeout=settings.header_seconds,
            max_header_size=16384,
            max_body_size=settings.max_message_bytes + 65536,
            max_buffer_size=settings.max_message_bytes + 131072,
        )

    async def start(self) -> str:
        """Listen, load and warm the models; return the server's URL once it is ready."""
        settings = self.settings
        self._look()  # a wrong folder is told before anything else
        try:
            sockets = tornado.netutil.bind_sockets(settings.port, settings.address, backlog=BACKLOG)
        except OSError as error:
            raise ConfigError(f"cannot listen on {settings.address}:{settings.port}: {error.strerror}") from error
        self.http.add_sockets(sockets)
        self.heartbeat.start()
        if settings.model_control == "poll":
            self.watch.start()
        await self.repository.load_all()
        if settings.model is not None and self.repository.broken:
            raise ConfigError(str(self.repository.describe(settings.model.stem).reason))
        log.info("%d cores, %d inference threads for all models together", self.cores, self.threads)
        self.state.ready = True
        host = f"[{settings.address}]" if ":" in settings.address else settings.address
        scheme = "https" if settings.tls_cert else "http"
        return f"{scheme}://{host}:{sockets[0].getsockname()[1]}"

    async def stop(self) -> bool:
        """Drain: refuse what is new, answer what is in flight, close all sockets; bounded by `drain_seconds`.

        Return whether all of that was done in time.
        """
        log.info("draining %d sockets", len(self.heartbeat))
        self.state.draining = True
        self.http.stop()
        await self.watch.stop()
        in_time = True
        deadline = asyncio.get_running_loop().time() + self.settings.drain_seconds
        try:
            async with asyncio.timeout_at(deadline):
                for socket in self.heartbeat:
                    socket.go_away("shutting down")
                await self.repository.drained()
                await asyncio.gather(*self.state.requests)
                for socket in self.heartbeat:
                    socket.close(CloseCode.GOING_AWAY, "shutting down")
                await self.heartbeat.emptied()
        except TimeoutError:
            in_time = False
            log.warning("drain_seconds passed with %d sockets open", len(self.heartbeat))
        self.repository.close()
        for socket in self.heartbeat:
            socket.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.http.close_all_connections(), 1.0)
        await self.webhooks.stop(deadline)
        self.heartbeat.stop()
        self.hub_clock.stop()
        self.pulse.close()
        self.workers.shutdown()
        return in_time

    def _publish_stats(self, stats: Stats, ts: float) -> None:
        self.hub.publish_stats(StatsUpdate(STATS, ts, stats))

    def _look(self) -> Look:
        """Look for models; called in the loader's thread too."""
        return single_model(self.settings.model) if self.settings.model else find_models(self.settings.models)


async def serve(settings: Settings) -> int:
    """Run a server until SIGTERM or SIGINT, a second of which ends it at once; return the exit code."""
    loop = asyncio.get_running_loop()
    server = Server(settings)
    stopping = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    waits = asyncio.create_task(stopping.wait())
    starts = asyncio.create_task(server.start())
    await asyncio.wait({waits, starts}, return_when=asyncio.FIRST_COMPLETED)
    if starts.done():
        url = starts.result()
        gc.collect()
        gc.freeze()
        print(f"Waterspout is listening on {url}", flush=True)
        await waits
    starts.cancel()
    in_time = await server.stop()
    log.info("stopped")
    return 0 if in_time else 1


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls_cert, tls_key: {error}") from error
    return context


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        settings = read_settings(sys.argv[1:])
        logging.basicConfig(
            level=settings.log_level.upper(),
            format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        sys.setswitchinterval(SWITCH_INTERVAL)
        for line in unknown_variables():
            log.warning(line)
        _warn_of_slow_parts()
        run: Callable[[Coroutine[Any, Any, int]], int] = asyncio.run if uvloop is None else uvloop.run
        return run(serve(settings))
    except ConfigError as error:
        print(f"server.py: {error}", file=sys.stderr)
        return 2


def _warn_of_slow_parts() -> None:
    if uvloop is None:
        log.warning("uvloop is not installed: sockets stay on Tornado's IOStream, which costs several times the CPU")
    if _websocket_mask.__module__ != "tornado.speedups":
        log.warning("Tornado's C speedups are missing: unmasking frames is slow")
    for name in outdated_modules():
        log.warning("%s is compiled from an older source: run `make`, or `make clean` to do without", name)


def outdated_modules() -> list[str]:
    """Return the loaded modules that were compiled from a source older than the one beside them."""
    outdated = []
    for name, module in sys.modules.copy().items():
        compiled = Path(getattr(module, "__file__", None) or "")
        if name.partition(".")[0] in ("handlers", "pipeline") and compiled.suffix == ".so":
            source = compiled.with_name(f"{name.rpartition('.')[2]}.py")
            if source.exists() and source.stat().st_mtime > compiled.stat().st_mtime:
                outdated.append(name)
    return outdated


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a run that hangs in a thread must not keep the process
