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
from typing import TYPE_CHECKING, Any

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
from pipeline.control_messages import Seat
from pipeline.control_wire import ParentLink, own_seat
from pipeline.errors import CloseCode, ConfigError
from pipeline.hub import Hub
from pipeline.interfaces import KeyBudget
from pipeline.local_models import LocalModels
from pipeline.merged_metrics import snapshot
from pipeline.metrics import QueueCollector, make_registry
from pipeline.pulse import Pulse
from pipeline.pulse_messages import Stats
from pipeline.queue_memory import QueueMemory
from pipeline.settings import Settings, read_settings, unknown_variables
from pipeline.stats import ServerStats
from pipeline.supervisor import REFUSED, Supervisor, held_port
from pipeline.topics import STATS
from pipeline.watch_messages import StatsUpdate
from pipeline.webhook_rules import signing_key

if TYPE_CHECKING:
    from pipeline.cluster import Cluster
    from pipeline.remote_repository import RemoteRepository
    from pipeline.repository import Repository

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:  # platforms without it
    uvloop = None

log = logging.getLogger("waterspout")

SWITCH_INTERVAL = 0.0005  # seconds a finished worker waits for the interpreter at most; Python's default is 5 ms
BACKLOG = 4096
LAST_WORDS = 0.1  # seconds after `goaway` in which events that were on their way are still answered
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server:
    """All parts of one process, put together."""

    def __init__(self, settings: Settings) -> None:
        """Build the parts; needs a running loop."""
        self.settings = settings
        self.stats = ServerStats()
        self.hub = Hub()
        secret = settings.webhook_secret
        self.webhooks = WebhookSender(self.stats, signing_key(secret.get_secret_value()) if secret else None)
        self.desk = AlertDesk(self.stats, self.hub)
        self.desk.call_webhook = self.webhooks.send
        loop = asyncio.get_running_loop()
        self.queue_memory = QueueMemory(settings.max_queue_bytes, lambda shed: loop.call_soon(shed))
        self.cluster = _join_cluster(settings, self.stats, self.hub, self.desk, self.queue_memory)
        self.models: LocalModels | None = None
        self.repository: Repository | RemoteRepository
        if self.cluster is not None and self.cluster.repository is not None:
            self.repository = self.cluster.repository
        else:
            self.models = LocalModels(settings, self.stats, self.hub, self.desk, self.queue_memory)
            self.repository = self.models.repository
            if settings.role == "worker" and self.cluster is not None:
                self.cluster.employ(self.models.repository)
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
        self.registry = make_registry(self.stats)
        self.registry.register(QueueCollector(self.queue_memory))
        if self.cluster is not None:
            self.state.cluster = self.cluster
            for collector in self.cluster.collectors:
                self.registry.register(collector)
        self.port = settings.port
        self.http = tornado.httpserver.HTTPServer(
            make_app(self.state, self.registry),
            ssl_options=_tls_context(settings),
            idle_connection_timeout=settings.header_seconds,
            max_header_size=16384,
            max_body_size=settings.max_message_bytes + 65536,
            max_buffer_size=settings.max_message_bytes + 131072,
        )

    async def start(self) -> str:
        """Listen, load and warm the models; return the server's URL once it is ready."""
        settings = self.settings
        shares_port = settings.processes > 1
        if self.models is not None:
            self.models.look()  # a wrong folder is told before anything else
        if self.cluster is not None:
            await self.cluster.check()
        if not shares_port:
            self._listen()
        self.heartbeat.start()
        if self.models is not None:
            await self.models.start()
        if self.cluster is not None:
            await self.cluster.start()
        self.state.ready = True
        if shares_port:
            self._listen()  # not before, as clients that come now are answered by others
        host = f"[{settings.address}]" if ":" in settings.address else settings.address
        scheme = "https" if settings.tls_cert else "http"
        return f"{scheme}://{host}:{self.port}"

    def _listen(self) -> None:
        settings = self.settings
        try:
            sockets = tornado.netutil.bind_sockets(
                settings.port, settings.address, backlog=BACKLOG, reuse_port=settings.processes > 1
            )
        except OSError as error:
            raise ConfigError(f"cannot listen on {settings.address}:{settings.port}: {error.strerror}") from error
        self.port = sockets[0].getsockname()[1]
        self.http.add_sockets(sockets)

    async def stop(self) -> bool:
        """Drain: refuse what is new, answer what is in flight, close all sockets; bounded by `drain_seconds`.

        Return whether all of that was done in time.
        """
        log.info("draining %d sockets", len(self.heartbeat))
        self.state.draining = True
        self.http.stop()
        if self.models is not None:
            await self.models.settle()
        in_time = True
        deadline = asyncio.get_running_loop().time() + self.settings.drain_seconds
        try:
            async with asyncio.timeout_at(deadline):
                for socket in self.heartbeat:
                    socket.go_away("shutting down")
                if len(self.heartbeat):
                    await asyncio.sleep(LAST_WORDS)
                if self.cluster is not None:
                    await self.cluster.drain()
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
        if self.cluster is not None:
            await self.cluster.leave()
        if self.models is not None:
            self.models.close()
        return in_time

    def _publish_stats(self, stats: Stats, ts: float) -> None:
        self.hub.publish_stats(StatsUpdate(STATS, ts, stats))


def _join_cluster(
    settings: Settings, stats: ServerStats, hub: Hub, desk: AlertDesk, memory: QueueMemory
) -> "Cluster | None":
    """Return what joins this process to others; None where nothing does, which then needs none of its modules."""
    if settings.redis is None:
        return None
    from pipeline.cluster import Cluster

    return Cluster(settings, settings.redis.get_secret_value(), stats, hub, desk, memory)


async def serve(settings: Settings, seat: Seat | None = None) -> int:
    """Run a server until SIGTERM or SIGINT, a second of which ends it at once; return the exit code.

    With a `seat` it also ends with its parent, or when that says so, and tells it why it does not start.
    """
    stopping = asyncio.Event()
    if seat is None:
        return await _serve(settings, stopping, None)
    link = await ParentLink.of(seat, stopping.set)
    try:
        return await _serve(settings, stopping, link)
    except ConfigError as error:
        link.refuse(str(error))
        return REFUSED
    finally:
        await link.close()


async def _serve(settings: Settings, stopping: asyncio.Event, link: ParentLink | None) -> int:
    loop = asyncio.get_running_loop()
    server = Server(settings)
    if link is not None:
        server.state.scrape = link.scrape

    def on_signal() -> None:
        stopping.set()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, os._exit, 1)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    waits = asyncio.create_task(stopping.wait())
    starts = asyncio.create_task(server.start())
    await asyncio.wait({waits, starts}, return_when=asyncio.FIRST_COMPLETED)
    if starts.done():
        url = starts.result()
        gc.collect()
        gc.freeze()
        if link is None:
            _announce(url)
        else:
            link.ready(url, lambda: snapshot(server.registry))
        await waits
    starts.cancel()
    in_time = await server.stop()
    log.info("stopped")
    return 0 if in_time else 1


async def supervise(settings: Settings) -> int:
    """Run several servers on one port, and end them as `serve` ends one; return the exit code."""
    loop = asyncio.get_running_loop()
    command = [sys.executable, *sys.orig_argv[1:]]
    with held_port(settings.address, settings.port) as port:
        supervisor = Supervisor(command, settings.processes, port, settings.drain_seconds, _announce)
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, supervisor.stop)
        code = await supervisor.run()
    log.info("stopped")
    return code


def _announce(url: str) -> None:
    print(f"Waterspout is listening on {url}", flush=True)


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
        seat = own_seat()
        settings = read_settings(sys.argv[1:])
        process = f"[{seat.number}]" if seat else ""
        logging.basicConfig(
            level=settings.log_level.upper(),
            format=f"%(asctime)s %(levelname)-7s %(name)s{process}: %(message)s",
            stream=sys.stderr,
        )
        sys.setswitchinterval(SWITCH_INTERVAL)
        run: Callable[[Coroutine[Any, Any, int]], int] = asyncio.run if uvloop is None else uvloop.run
        if seat is not None:
            return run(serve(settings.model_copy(update={"port": seat.port}), seat))
        for line in unknown_variables():
            log.warning(line)
        _warn_of_slow_parts()
        return run(supervise(settings) if settings.processes > 1 else serve(settings))
    except ConfigError as error:
        print(f"server.py: {error}", file=sys.stderr)
        return REFUSED


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
