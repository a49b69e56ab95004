"""Gateways and workers as processes around one Redis, some of which come to harm."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.redis_cluster import RedisCluster
from tests.redis_server import RedisServer, running_redis
from tests.slow_proxy import SlowProxy

from .client import get
from .graphs import double, slow, write_model
from .metrics import Metrics
from .process import Server, running_server, until
from .roles import KNOWN

CLAIM_SECONDS: Final = 1.0
WORKER_WAIT_SECONDS: Final = 15.0
BOX_TTL_MS: Final = 60_000
EXPIRED: Final = -2  # what Redis says of a key that is not there
MODELS: Final = ("double", "slow")
TIMES: Final = (
    ("--claim-seconds", str(CLAIM_SECONDS)),
    ("--worker-wait-seconds", str(WORKER_WAIT_SECONDS)),
)


Store = RedisServer | RedisCluster


def write_models(root: Path) -> None:
    """Lay down what the workers run."""
    write_model(root, "double", double())
    write_model(root, "slow", slow(), "max_batch_size = 8\ninline_below_microseconds = 0\n")


class Cluster:
    """Processes by role. Those that are started together start beside each other."""

    def __init__(
        self, store: Store, url: str, models: Path, stack: ExitStack, *, allowed: str = "", shards: int = 1
    ) -> None:
        self.store = store
        self.gateways: list[Server] = []
        self.workers: list[Server] = []
        self._models = models
        self._url = url
        self._stack = stack
        self._allowed = allowed
        self._shards = shards
        self._ends: dict[Server, ExitStack] = {}

    @property
    def redis(self) -> RedisServer:
        """The only Redis."""
        assert isinstance(self.store, RedisServer)
        return self.store

    def start(self, *, gateways: int = 0, workers: int = 0) -> None:
        """Start processes, and wait until all gateways know all models."""
        roles = ["gateway"] * gateways + ["worker"] * workers
        with ThreadPoolExecutor(len(roles)) as pool:
            started = list(pool.map(self._start, roles))
        self.gateways += started[:gateways]
        self.workers += started[gateways:]
        until(lambda: all(models_of(gateway) >= set(MODELS) for gateway in self.gateways), KNOWN)

    def kill(self, server: Server) -> None:
        """End a process at once."""
        server.kill()
        self._forget(server)

    def stop(self, server: Server) -> None:
        """End a process as an operator would, which it must do cleanly."""
        self._forget(server)

    def urls(self) -> list[str]:
        """Return where clients can go."""
        return [gateway.ws for gateway in self.gateways]

    def check_empty(self) -> None:
        """Wait until no entry and no reply is left; the boxes of gateways that are gone are forgotten in a while."""
        until(lambda: not self._lengths(), 10.0)
        for name in self._names(":replies"):
            left = self.store.holder(name).command("PTTL", name)
            assert left == EXPIRED or 0 <= left <= BOX_TTL_MS

    def _lengths(self) -> dict[str, int]:
        """Return the lengths of those queues, and boxes of gateways that live, that are not empty."""
        own = [f"-{gateway.process.pid}-" for gateway in self.gateways]
        boxes = [name for name in self._names(":replies") if any(mark in name for mark in own)]
        lengths = {name: self.store.holder(name).command("XLEN", name) for name in [*self._names(":rows"), *boxes]}
        return {name: length for name, length in lengths.items() if length}

    def _names(self, end: str) -> list[str]:
        return [key.decode() for key in self.store.key_names() if key.endswith(end.encode())]

    def _start(self, role: str) -> Server:
        models = ("--models", str(self._models)) if role == "worker" else ()
        own = ExitStack()
        times = [part for pair in TIMES for part in pair]
        arguments = ("--redis", self._url, "--role", role, "--shards", str(self._shards), *times, *models)
        server = own.enter_context(running_server(*arguments, allowed=self._allowed))
        self._ends[server] = own
        self._stack.push(own)
        return server

    def _forget(self, server: Server) -> None:
        for kind in (self.gateways, self.workers):
            if server in kind:
                kind.remove(server)
        self._ends.pop(server).close()


@contextmanager
def running_cluster(
    folder: Path, models: Path, *, gateways: int = 2, workers: int = 2, latency: float = 0.0, allowed: str = ""
) -> Iterator[Cluster]:
    """Give a cluster around a Redis of its own, which takes `latency` seconds each way; see `running_server`."""
    with running_redis(folder) as redis, ExitStack() as stack:
        url = redis.url
        if latency:
            url = f"redis://127.0.0.1:{stack.enter_context(SlowProxy(redis.port, latency=latency)).port}"
        cluster = Cluster(redis, url, models, stack, allowed=allowed)
        cluster.start(gateways=gateways, workers=workers)
        yield cluster


@contextmanager
def whole(cluster: Cluster, *, gateways: int = 2, workers: int = 2) -> Iterator[Cluster]:
    """Give a cluster, and see that it is whole, empty and of the same size again."""
    check_memory = watch_memory([*cluster.gateways, *cluster.workers])
    yield cluster
    cluster.check_empty()
    check_memory()
    missing = gateways - len(cluster.gateways), workers - len(cluster.workers)
    if any(missing):
        cluster.start(gateways=missing[0], workers=missing[1])


def models_of(server: Server) -> set[str]:
    """Return the models that a server serves now."""
    return set(get(server, "/readyz").json["models"]["ready"])


def total(servers: Sequence[Server], name: str, **labels: str) -> float:
    """Return the sum of a metric over servers."""
    return sum(Metrics(server)(name, **labels) for server in servers)


def watch_memory(servers: Sequence[Server], bytes_more: int = 48 << 20) -> Callable[[], None]:
    """Return what checks that none of the servers has grown by more since now."""
    before = {server: server.rss_bytes for server in servers}

    def check() -> None:
        for server, was in before.items():
            if server.is_alive:
                assert server.rss_bytes - was < bytes_more

    return check
