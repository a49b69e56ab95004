"""Waterspout: live predictions for live streams. `python server.py --help` explains every option."""

import asyncio
import functools
import itertools
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from handlers.access import Gate
from handlers.app import make_app
from handlers.descriptors import allow_most
from handlers.farewell import part, seconds_to_part
from handlers.heartbeat import Heartbeat, HeartbeatOptions
from handlers.hub_clock import HubClock
from handlers.listener import Listener
from handlers.orders import Executor
from handlers.pulse import PulseTimer, make_gauges
from handlers.speedups import run, slow_parts
from handlers.state import ServerState
from handlers.vitals import Vitals
from handlers.webhooks import WebhookSender
from pipeline.access import Access
from pipeline.alert_desk import AlertDesk
from pipeline.bookkeeping import Bookkeeping, wants_books
from pipeline.control_wire import ParentLink, own_seat
from pipeline.errors import ConfigError
from pipeline.hub import Hub
from pipeline.interfaces import KeyBudget
from pipeline.local_models import LocalModels
from pipeline.logs import start_logging
from pipeline.metrics import QueueCollector, make_registry
from pipeline.operators import Alone, Operators
from pipeline.process import serve, supervise
from pipeline.pulse import Pulse
from pipeline.pulse_messages import Stats
from pipeline.queue_memory import QueueMemory
from pipeline.settings import Settings, read_settings, unknown_variables
from pipeline.standing import Standing
from pipeline.stats import ServerStats
from pipeline.supervisor import REFUSED
from pipeline.topics import STATS
from pipeline.watch_messages import StatsUpdate
from pipeline.webhook_rules import signing_key

if TYPE_CHECKING:
    from pipeline.cluster import Cluster
    from pipeline.remote_repository import RemoteRepository
    from pipeline.repository import Repository
    from pipeline.tracing import Tracing

log = logging.getLogger("waterspout")


class Server:
    """All parts of one process, put together."""

    def __init__(self, settings: Settings, link: ParentLink | None = None) -> None:
        """Build the parts; needs a running loop. `link`: to the parent, if there is one. Raises `ConfigError`."""
        self.settings = settings
        self.stats = ServerStats()
        self.tracing = _trace(settings)
        if self.tracing is not None:
            self.stats.tracer_of = self.tracing.of
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
        self.stats.closes = self.heartbeat.closes
        self.stats.states = self.repository.states
        self.vitals = Vitals()
        budget = KeyBudget(settings.max_keys)
        gauges = make_gauges(self.repository.states, budget, watchers=lambda: self.hub.watchers)
        self.pulse = PulseTimer(Pulse(self.stats, gauges, time.monotonic()), self._publish_stats)
        self.hub.on_stats = lambda is_watched: self.pulse.start() if is_watched else self.pulse.stop()
        nodes = None if self.cluster is None else self.cluster.backbone.nodes
        self.access = Access.from_settings(settings, nodes, link)
        standing = Standing()
        execute = Executor(self.heartbeat, None if settings.role == "worker" else self.repository, standing)
        others = self.cluster.orders if self.cluster is not None else link or Alone()
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
            Gate(settings, self.access),
            Operators(execute, others, standing, settings.drain_seconds),
            new_session_id=lambda: f"{prefix}-{next(sessions)}",
            scrape=None if link is None else link.scrape,
        )
        self.books = Bookkeeping(settings, self.cluster) if wants_books(settings) else None
        if self.books is not None:
            self.state.accounts, self.state.usage = self.books.accounts, self.books.keeper
        self.stats.events = self.state.count_events
        self.registry = make_registry(self.stats)
        self.registry.register(QueueCollector(self.queue_memory))
        for collector in self.books.collectors if self.books is not None else ():
            self.registry.register(collector)
        self.registry.register(self.vitals)
        if self.cluster is not None:
            self.state.cluster = self.cluster
            for collector in self.cluster.collectors:
                self.registry.register(collector)
        self.listener = Listener(make_app(self.state, self.registry), settings, self.heartbeat.__len__)
        for shown in self.listener.collectors:
            self.registry.register(shown)

    async def start(self) -> str:
        """Listen, load and warm the models; return the server's URL once it is ready."""
        shares_port = self.settings.processes > 1
        if self.models is not None:
            self.models.look()  # a wrong folder is told before anything else
        if self.cluster is not None:
            await self.cluster.check()
        await self.access.start()
        if self.books is not None:
            await self.books.start()
        if not shares_port:
            self.listener.listen()
        self.heartbeat.start()
        self.vitals.start()
        if self.models is not None:
            await self.models.start()
        if self.cluster is not None:
            await self.cluster.start()
        self.state.ready = True
        if shares_port:
            self.listener.listen()  # not before, as clients that come now are answered by others
        return self.listener.url

    def reload(self) -> None:
        """Read the certificate again."""
        self.listener.reload()

    async def stop(self) -> bool:
        """Drain: refuse what is new, answer what is in flight, close all sockets; bounded by `drain_seconds`.

        Return whether all of that was done in time.
        """
        log.info("draining %d sockets", len(self.heartbeat))
        self.state.draining = True
        self.listener.stop()
        if self.models is not None:
            await self.models.settle()
        deadline = asyncio.get_running_loop().time() + self.settings.drain_seconds
        in_time = await self._drain(deadline)
        self.repository.close()
        for socket in self.heartbeat:
            socket.abort()
        await self.listener.close()
        await self.webhooks.stop(deadline)
        await self.access.stop()
        if self.books is not None:
            await self.books.stop()
        self.heartbeat.stop()
        self.vitals.stop()
        self.hub_clock.stop()
        self.pulse.close()
        if self.cluster is not None:
            await self.cluster.leave()
        if self.models is not None:
            self.models.close()
        if self.tracing is not None:
            await self.tracing.stop(max(1.0, deadline - asyncio.get_running_loop().time()))
        return in_time

    async def _drain(self, deadline: float) -> bool:
        """Answer what is in flight and close all sockets; return whether that was done before the deadline."""
        try:
            async with asyncio.timeout_at(deadline):
                seconds = seconds_to_part(len(self.heartbeat), self.settings.drain_seconds)
                async with asyncio.TaskGroup() as group:
                    group.create_task(part(self.heartbeat, seconds, "shutting down"))
                    if self.cluster is not None:
                        group.create_task(self.cluster.drain())
                await self.repository.drained()
                await asyncio.gather(*self.state.requests)
                await self.heartbeat.emptied()
        except TimeoutError:
            log.warning("drain_seconds passed with %d sockets open", len(self.heartbeat))
            return False
        return True

    def _publish_stats(self, stats: Stats, ts: float) -> None:
        self.hub.publish_stats(StatsUpdate(STATS, ts, stats))


def _trace(settings: Settings) -> "Tracing | None":
    """Return what traces batches; None where nothing does, which then needs none of its packages."""
    if settings.otlp_endpoint is None:
        return None
    try:
        from pipeline.tracing import trace_to
    except ImportError as error:
        raise ConfigError(f"otlp_endpoint: needs `pip install -r requirements-otel.txt` ({error})") from error
    return trace_to(settings.otlp_endpoint, settings.trace_ratio)


def _join_cluster(
    settings: Settings, stats: ServerStats, hub: Hub, desk: AlertDesk, memory: QueueMemory
) -> "Cluster | None":
    """Return what joins this process to others; None where nothing does, which then needs none of its modules."""
    if settings.redis is None:
        return None
    from pipeline.cluster import Cluster

    return Cluster(settings, settings.redis.get_secret_value(), stats, hub, desk, memory)


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        if sys.argv[1:2] == ["keys"]:
            from pipeline.keys_command import run as run_keys

            return run_keys(sys.argv[2:])
        seat = own_seat()
        settings = read_settings(sys.argv[1:])
        start_logging(settings, None if seat is None else seat.number)
        allow_most()
        if seat is not None:
            settings = settings.model_copy(update={"port": seat.port})
        else:
            for line in [*unknown_variables(), *slow_parts()]:
                log.warning(line)
            if settings.insecure:
                log.warning(
                    "--insecure: whoever can reach %s can use and watch every model, and all of /v1/admin",
                    settings.address,
                )
            if settings.processes > 1:
                return run(supervise(settings))
        return run(serve(functools.partial(Server, settings), seat))
    except ConfigError as error:
        print(f"server.py: {error}", file=sys.stderr)
        return REFUSED


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a run that hangs in a thread must not keep the process
