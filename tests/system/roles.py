"""A gateway and a worker over a real Redis, for the tests."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.redis_server import RedisServer, running_redis

from .client import get
from .graphs import moving_plus, plus, write_model
from .process import Server, running_server, until
from .v2_models import write_broken_model, write_models

KNOWN: Final = 15.0  # seconds within which a gateway has heard of a worker, on a busy machine

_CHAIN: Final = """
[[ensemble_scheduling.step]]
model_name = "versioned"
input_map = { x = "x" }
output_map = { y = "sum" }
[[ensemble_scheduling.step]]
model_name = "nothing"
input_map = { x = "sum" }
output_map = { y = "y" }
"""
_VERSIONED: Final = "[version_policy.specific]\nversions = [1, 3]\n[version_labels]\nstable = 1\ncanary = 3\n"


def write_all_kinds(root: Path) -> None:
    """Fill a model repository: a model per kind of tensor, a window, versions, an ensemble, a broken one."""
    write_models(root)
    write_broken_model(root)
    write_model(root, "moving", moving_plus(1), "[window]\nlength = 3\nhop = 2\n")
    for version in (1, 2, 3):
        write_model(root, "versioned", plus(version), _VERSIONED, str(version))
    write_model(root, "nothing", plus(0))
    (root / "chain").mkdir()
    (root / "chain" / "config.toml").write_text(_CHAIN)


def has_workers(gateway: Server, count: int = 1) -> None:
    """Wait until a gateway knows so many workers."""
    until(lambda: get(gateway, "/readyz").json.get("workers") == count, KNOWN)


class Trio(NamedTuple):
    """A gateway, its only worker, and a process that does all by itself with the same models."""

    redis: RedisServer
    gateway: Server
    worker: Server
    single: Server


def gateway_of(redis: RedisServer, *more: str) -> Sequence[str]:
    """Return a gateway's arguments."""
    return ("--redis", redis.url, "--role", "gateway", *more)


def worker_of(redis: RedisServer, models: Path, *more: str) -> Sequence[str]:
    """Return a worker's arguments."""
    return ("--redis", redis.url, "--role", "worker", "--models", str(models), *more)


@contextmanager
def running_trio(folder: Path) -> Iterator[Trio]:
    """Run all three on the models of `write_all_kinds`."""
    models, data = folder / "models", folder / "redis"
    write_all_kinds(models)
    data.mkdir()
    options: dict[str, Any] = {"allowed": "model broken is not served"}
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(data))
        gateway = stack.enter_context(running_server(*gateway_of(redis)))
        worker = stack.enter_context(running_server(*worker_of(redis, models), **options))
        single = stack.enter_context(running_server("--models", str(models), **options))
        has_workers(gateway)
        yield Trio(redis, gateway, worker, single)
