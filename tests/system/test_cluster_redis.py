"""A cluster under load whose Redis is absent, killed, full or far away: all events are answered once, in order."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer

from .client import get, post
from .cluster import Cluster, running_cluster, whole, write_models
from .cluster_load import running_load
from .conftest import StartServer
from .process import Server, until


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    write_models(models)
    return models


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("redis"), models) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    with whole(_cluster):
        yield _cluster


def say(status: str, *servers: Server) -> Callable[[], bool]:
    return lambda: all(get(server, "/readyz").json["status"] == status for server in servers)


@pytest.mark.parametrize("with_data", [True, False], ids=["with its data", "without its data"])
def test_redis_is_killed_and_comes_back(cluster: Cluster, with_data: bool) -> None:
    servers = [*cluster.gateways, *cluster.workers]
    with running_load(cluster.urls) as load:
        cluster.redis.kill()
        until(say("degraded", *servers))
        if not with_data:
            cluster.redis.lose_data()
        cluster.redis.start()
        load.recover()
        until(say("ready", *servers))
    assert load.lost == 0
    assert set(load.errors) <= {"deadline_exceeded", "overloaded"}


def test_redis_is_frozen_and_goes_on(cluster: Cluster) -> None:
    with running_load(cluster.urls) as load:
        cluster.redis.pause()
        load.until(lambda: load.errors["deadline_exceeded"])
        cluster.redis.resume()
        load.recover()
    assert load.lost == 0
    assert set(load.errors) <= {"deadline_exceeded", "overloaded"}


def test_redis_without_memory_refuses_at_once_and_serves_when_there_is_some(cluster: Cluster) -> None:
    with running_load(cluster.urls) as load:
        cluster.redis.set("maxmemory", 1)
        load.until(lambda: load.errors["overloaded"] > 100)
        until(say("ready", *cluster.gateways))
        cluster.redis.set("maxmemory", 0)
        load.recover()
    assert load.lost == 0
    assert set(load.errors) <= {"deadline_exceeded", "overloaded"}


def test_a_redis_that_is_far_away_costs_time_and_nothing_else(tmp_path: Path, models: Path) -> None:
    with (
        running_cluster(tmp_path, models, gateways=1, workers=1, latency=0.05) as cluster,
        whole(cluster, gateways=1, workers=1),
        running_load(cluster.urls) as load,
    ):
        load.recover()
    assert not load.errors
    assert load.lost == 0


def test_a_server_of_its_own_does_without_redis_until_it_comes(start_server: StartServer, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    server = start_server("--redis", redis.url)
    assert f"redis: no Redis answers at 127.0.0.1:{redis.port}: " in server.log
    health = get(server, "/readyz")
    assert (health.status, health.json["status"]) == (200, "degraded")
    assert post(server, "/v1/models/double/predict", {"data": [1, 2, 3, 4]}).status == 200
    redis.start()
    try:
        until(say("ready", server))
        redis.stop()
        until(say("degraded", server))
        assert post(server, "/v1/models/double/predict", {"data": [1, 2, 3, 4]}).status == 200
    finally:
        if redis.process is not None:
            redis.kill()
