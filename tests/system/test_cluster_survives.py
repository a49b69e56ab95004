"""A cluster under load whose processes are killed, frozen and replaced: all events are answered once, in order."""

import signal
import time
from collections.abc import Iterator
from typing import Final

import pytest

from .cluster import Cluster, running_cluster, total, whole, write_models
from .cluster_load import Load, running_load, running_slow_load
from .metrics import Metrics
from .process import Server, until
from .roles import has_workers

FROZEN: Final = 30.0  # seconds: longer than a worker is remembered, and than a call to Redis may take


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    models = tmp_path_factory.mktemp("models")
    write_models(models)
    with running_cluster(tmp_path_factory.mktemp("redis"), models) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    with whole(_cluster):
        yield _cluster


def busy_worker(cluster: Cluster) -> Server:
    """Return a worker that holds entries; a run of the slow model takes longer than it takes to ask."""
    holders = until(lambda: [worker for worker in cluster.workers if Metrics(worker)("entries_held")])
    return holders[0]


def other_worker(cluster: Cluster, worker: Server) -> Server:
    """Return the one of two workers that is not this one."""
    (other,) = [one for one in cluster.workers if one is not worker]
    return other


def recover(*loads: Load) -> None:
    for load in loads:
        load.recover()


def test_a_worker_that_is_killed_in_a_batch_takes_nothing_with_it(cluster: Cluster) -> None:
    with running_load(cluster.urls) as load, running_slow_load(cluster.urls) as slow:
        cluster.kill(busy_worker(cluster))
        recover(load, slow)
        assert total(cluster.workers, "entries_claimed_total") > 0
    assert (load.lost, slow.lost) == (0, 0)


def test_all_workers_are_killed_and_others_come(cluster: Cluster) -> None:
    with running_load(cluster.urls) as load:
        for worker in list(cluster.workers):
            cluster.kill(worker)
        load.until(lambda: load.errors["deadline_exceeded"])
        cluster.start(workers=1)
        load.recover()
    assert load.lost == 0


def test_a_worker_that_was_frozen_comes_back_as_a_zombie(cluster: Cluster) -> None:
    with running_load(cluster.urls) as load, running_slow_load(cluster.urls) as slow:
        frozen = busy_worker(cluster)
        other = other_worker(cluster, frozen)
        claimed = Metrics(other)("entries_claimed_total")
        frozen.process.send_signal(signal.SIGSTOP)
        until(lambda: Metrics(other)("entries_claimed_total") > claimed)
        recover(load, slow)
        duplicates = total(cluster.gateways, "replies_duplicate_total")
        frozen.process.send_signal(signal.SIGCONT)
        until(lambda: total(cluster.gateways, "replies_duplicate_total") > duplicates)
        recover(load, slow)
    assert (load.lost, slow.lost) == (0, 0)


@pytest.mark.slow
def test_a_worker_that_is_long_forgotten_comes_back_as_a_zombie_and_takes_part_again(cluster: Cluster) -> None:
    with running_load(cluster.urls) as load, running_slow_load(cluster.urls) as slow:
        frozen = until(lambda: [one for one in cluster.workers if Metrics(one)("queue_depth", model="slow")])[0]
        other = other_worker(cluster, frozen)
        claimed = Metrics(other)("entries_claimed_total")
        frozen.process.send_signal(signal.SIGSTOP)
        thaw_at = time.monotonic() + FROZEN
        while time.monotonic() < thaw_at:
            recover(load, slow)
        for gateway in cluster.gateways:
            has_workers(gateway, 1)
        assert Metrics(other)("entries_claimed_total") > claimed
        duplicates = total(cluster.gateways, "replies_duplicate_total")
        frozen.process.send_signal(signal.SIGCONT)
        until(lambda: total(cluster.gateways, "replies_duplicate_total") > duplicates, 15.0)
        taken = Metrics(frozen)("entries_taken_total")
        until(lambda: Metrics(frozen)("entries_taken_total") > taken, 15.0)
        for gateway in cluster.gateways:
            has_workers(gateway, 2)
        recover(load, slow)
    assert (load.lost, slow.lost) == (0, 0)
    assert set(load.errors) <= {"deadline_exceeded"}
    assert set(slow.errors) <= {"deadline_exceeded"}


def test_when_a_gateway_is_killed_the_others_go_on(cluster: Cluster) -> None:
    with running_load(cluster.urls) as load, running_slow_load(cluster.urls) as slow:
        busy_worker(cluster)
        cluster.kill(cluster.gateways[0])
        recover(load, slow)
    assert load.cut == load.clients / 2
    assert slow.lost > 0
    assert not load.errors


def test_everything_is_replaced_under_load(cluster: Cluster) -> None:
    with running_load(cluster.urls) as load:
        former = [*cluster.gateways, *cluster.workers]
        cluster.start(gateways=2, workers=2)
        for server in former:
            cluster.stop(server)
            load.recover()
        cluster.redis.stop()
        cluster.redis.start()
        load.recover()
    assert load.lost == 0
    assert set(load.errors) <= {"shutting_down"}
