"""Operators' orders to gateways and a worker around one Redis: whichever answers, all of them obey."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.redis_server import running_redis

from .client import TIMEOUT, get, open_stream, post
from .cluster import Cluster, running_cluster, total, write_models
from .conftest import StartServer
from .process import Server, until
from .test_orders import LEVEL, SESSIONS, UNAVAILABLE, order
from .test_processes import streams_to_each

DOUBLE: Final = "/v1/models/double/stream"
PREDICT: Final = "/v1/models/double/predict"
ROW: Final = [1, 2, 3, 4]
FORGOTTEN: Final = 30.0  # seconds within which a process that died is waited for no more, on a busy machine


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    models = tmp_path_factory.mktemp("models")
    write_models(models)
    folder: Path = tmp_path_factory.mktemp("redis")
    with running_cluster(folder, models, workers=1) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """Give two gateways and a worker that know each other and log as ever."""
    for server in (*_cluster.gateways, *_cluster.workers):
        until(is_obeyed_by_all(server, "info"), FORGOTTEN)
    until(lambda: level_of(_cluster) == {"info"})
    return _cluster


def is_obeyed_by_all(server: Server, level: str) -> Callable[[], bool]:
    return lambda: bool(order(server, "PUT", LEVEL, {"level": level}).json == {"level": level})


def level_of(cluster: Cluster) -> set[str]:
    return {get(server, LEVEL).json["level"] for server in (*cluster.gateways, *cluster.workers)}


def listed(server: Server) -> Any:
    return get(server, SESSIONS).json


def test_whichever_gateway_is_asked_it_tells_of_all_and_closes_any(cluster: Cluster) -> None:
    one, other = cluster.gateways
    with open_stream(one, DOUBLE, announced=True) as mine, open_stream(other, DOUBLE, announced=True) as theirs:
        names = mine.receive()["session"], theirs.receive()["session"]
        for gateway in (one, other):
            told = listed(gateway)
            assert {info["session"] for info in told["sessions"]} == set(names)
            assert "silent" not in told
            assert told["total"] == 2
            for info, server in ((info, one if info["session"] == names[0] else other) for info in told["sessions"]):
                assert f"-{server.process.pid}-" in info["process"]
        assert order(one, "DELETE", f"{SESSIONS}/{names[1]}").json == {"done": True}
        assert theirs.close_code() == 4010
        assert order(other, "DELETE", f"{SESSIONS}/{names[0]}").json == {"done": True}
        assert mine.close_code() == 4010
    gone = order(one, "DELETE", f"{SESSIONS}/{names[0]}")
    assert (gone.status, gone.error["code"]) == (404, "unknown_session")


def test_a_model_is_drained_at_all_gateways_and_its_worker_answers_what_they_took(cluster: Cluster) -> None:
    one, other = cluster.gateways
    with open_stream(other, DOUBLE + "?tensors=list") as stream:
        assert order(one, "POST", "/v1/admin/models/double/drain").json == {"done": True}
        assert stream.refusal({"data": ROW})["code"] == "model_unavailable"
        assert [post(gateway, PREDICT, {"data": ROW}).status for gateway in (one, other)] == [UNAVAILABLE] * 2
        assert order(other, "POST", "/v1/admin/models/double/resume").json == {"done": True}
        assert stream.ask({"data": ROW})["outputs"] == {"y": [2.0, 4.0, 6.0, 8.0]}
        assert [post(gateway, PREDICT, {"data": ROW}).status for gateway in (one, other)] == [200] * 2
    assert order(one, "POST", "/v1/admin/models/absent/drain").status == 404
    for worker in cluster.workers:
        assert "drains model" not in worker.log


def test_a_gateway_that_starts_later_knows_what_is_drained(cluster: Cluster) -> None:
    assert order(cluster.gateways[0], "POST", "/v1/admin/models/double/drain").json == {"done": True}
    cluster.start(gateways=1)
    late = cluster.gateways[-1]
    until(lambda: post(late, PREDICT, {"data": ROW}).status == UNAVAILABLE, FORGOTTEN)
    assert get(late, "/v1/models/double").json["reason"] == "drained by an operator"
    assert order(late, "POST", "/v1/admin/models/double/resume").json == {"done": True}
    assert {post(gateway, PREDICT, {"data": ROW}).status for gateway in cluster.gateways} == {200}
    cluster.stop(late)


@pytest.mark.parametrize("asked", ["gateway", "worker"])
def test_the_log_level_is_set_everywhere(cluster: Cluster, asked: str) -> None:
    server = cluster.gateways[0] if asked == "gateway" else cluster.workers[0]
    assert order(server, "PUT", LEVEL, {"level": "warning"}).json == {"level": "warning"}
    assert level_of(cluster) == {"warning"}


def test_a_gateway_that_hangs_is_told_and_the_rest_obeys_in_bounded_time(cluster: Cluster) -> None:
    one, other = cluster.gateways
    with open_stream(one, DOUBLE, announced=True) as mine, open_stream(other, DOUBLE):
        name = mine.receive()["session"]
        other.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            told = listed(one)
            assert [info["session"] for info in told["sessions"]] == [name]
            assert (told["total"], told["silent"]) == (1, 1)
            assert order(one, "PUT", LEVEL, {"level": "debug"}).json == {"level": "debug", "silent": 1}
            assert order(one, "DELETE", f"{SESSIONS}/{name}").json == {"done": True, "silent": 1}
            assert order(one, "DELETE", f"{SESSIONS}/elsewhere").status == UNAVAILABLE
            assert time.monotonic() - began < 4 * TIMEOUT
            assert order(one, "POST", "/v1/admin/models/double/drain").json == {"done": True, "silent": 1}
        finally:
            other.process.send_signal(signal.SIGCONT)
        assert mine.close_code() == 4010
    until(lambda: post(other, PREDICT, {"data": ROW}).status == UNAVAILABLE, FORGOTTEN)
    until(lambda: order(one, "POST", "/v1/admin/models/double/resume").json == {"done": True}, FORGOTTEN)
    assert post(other, PREDICT, {"data": ROW}).status == 200
    until(lambda: listed(one) == {"sessions": [], "total": 0}, FORGOTTEN)


def test_a_gateway_that_dies_is_waited_for_no_more_after_a_while(cluster: Cluster) -> None:
    cluster.start(gateways=1)
    one, *_, victim = cluster.gateways
    until(lambda: get(one, "/readyz").status == 200)
    cluster.kill(victim)
    until(lambda: listed(one) == {"sessions": [], "total": 0}, FORGOTTEN)


def test_foreign_bytes_are_counted_and_nothing_comes_of_them(cluster: Cluster) -> None:
    members = [*cluster.gateways, *cluster.workers]
    before = total(members, "orders_foreign_total")
    for payload in (b"", b"\xc1", b"cos\nsystem\n(S'true'\ntR.", b"\x95\x01\xa1x\x01\xc4\x01x\x01"):
        assert cluster.redis.command("PUBLISH", "ws:{orders}:news", payload) == len(members)
    until(lambda: total(members, "orders_foreign_total") == before + 4 * len(members))
    assert listed(cluster.gateways[0]) == {"sessions": [], "total": 0}


def test_siblings_over_redis_are_members_and_do_each_order_once(start_server: StartServer, tmp_path: Path) -> None:
    with running_redis(tmp_path, data=False) as redis:
        two = start_server("--processes", "2", "--redis", redis.url, allowed="redis")
        with streams_to_each(two, DOUBLE) as streams:
            told = until(lambda: whole(get(two, SESSIONS).json))
            assert told["total"] == len(told["sessions"]) >= len(streams)
            hosts = {info["process"] for info in told["sessions"]}
            assert len(hosts) == 2
            assert not hosts & {"1", "2"}
            assert order(two, "PUT", LEVEL, {"level": "warning"}).json == {"level": "warning"}
            for number in (1, 2):
                assert two.log.count(f"orders[{number}]: anonymous sets the log level to warning") == 1
            redis.kill()
            began = time.monotonic()
            told = get(two, SESSIONS).json
            assert told["silent"] == 1
            assert len({info["process"] for info in told["sessions"]}) == 1
            assert time.monotonic() - began < TIMEOUT
            redis.start()
            until(lambda: whole(get(two, SESSIONS).json), FORGOTTEN)


def whole(told: Any) -> Any:
    """Return a list where it has sockets of both processes, as soon as these know each other."""
    is_whole = "silent" not in told and len({info["process"] for info in told["sessions"]}) == 2
    return told if is_whole else None
