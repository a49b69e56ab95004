"""A cluster over a Redis Cluster under load: primaries die and slots move; all events are answered once, in order."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pipeline.redis_records import Keys
from tests.redis_cluster import RedisCluster, running_cluster

from .client import get
from .cluster import Cluster, total, whole, write_models
from .cluster_load import running_load
from .process import until

SHARDS = 6
QUEUES = [Keys("ws").queue(f"double/1/{shard}") for shard in range(SHARDS)]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with running_cluster(tmp_path_factory.mktemp("redis"), replicas=True) as redis:
        yield redis


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory, redis: RedisCluster) -> Iterator[Cluster]:
    models = tmp_path_factory.mktemp("models")
    write_models(models)
    with ExitStack() as stack:
        cluster = Cluster(redis, redis.url, models, stack, shards=SHARDS)
        cluster.start(gateways=2, workers=2)
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    with whole(_cluster):
        yield _cluster


def test_all_primaries_carry_their_part(cluster: Cluster, redis: RedisCluster) -> None:
    with running_load(cluster.urls) as load:
        load.recover()
        assert {redis.holder(queue).port for queue in QUEUES} == {node.port for node in redis.primaries}
    assert (load.lost, dict(load.errors)) == (0, {})
    assert total(cluster.gateways, "entries_resent_total") == 0


def test_slots_move_while_events_flow(cluster: Cluster, redis: RedisCluster) -> None:
    with running_load(cluster.urls) as load:
        for queue in QUEUES:
            source = redis.holder(queue)
            target = next(node for node in redis.primaries if node is not source)
            redis.move_key(queue, target)
            load.recover()
    assert load.lost == 0
    assert set(load.errors) <= {"deadline_exceeded"}


def test_a_primary_dies_and_its_replica_takes_over(cluster: Cluster, redis: RedisCluster) -> None:
    with running_load(cluster.urls) as load:
        primary = redis.holder(QUEUES[0])
        primary.kill()
        until(lambda: redis.holder(QUEUES[0]) in redis.nodes, 30.0)
        load.recover()
        primary.start()
        redis.wait_whole()
        load.recover()
        until(lambda: all(get(server, "/readyz").json["status"] == "ready" for server in cluster.gateways))
    assert load.lost == 0
    assert set(load.errors) <= {"deadline_exceeded", "model_unavailable"}


def test_a_worker_is_killed_and_others_take_what_it_had(cluster: Cluster) -> None:
    with running_load(cluster.urls) as load:
        cluster.kill(cluster.workers[0])
        load.recover()
    assert load.lost == 0
