"""What gateways and workers answer for, each by its role."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.redis_server import RedisServer, running_redis

from .client import Reply, get, open_stream, post
from .graphs import plus, write_model
from .metrics import Metrics
from .process import Server, run_to_end, running_server, until
from .roles import KNOWN, Trio, gateway_of, has_workers, running_trio, worker_of
from .v2_models import MODELS

ANSWERED_AT_WORKERS: Final = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/models",
    "/v1/models/add",
    "/v1/models/versioned/versions/3",
    "/v1/stats",
    "/v2/health/live",
    "/v2/health/ready",
    "/openapi.json",
]
NOT_AT_WORKERS: Final = [
    "/",
    "/docs",
    "/static/app.css",
    "/v1/stream",
    "/v1/models/add/stream",
    "/v1/models/add/predict",
    "/v1/watch",
    "/v1/watch/sse",
    "/v1/alerts",
    "/v1/echo",
    "/v2",
    "/v2/models",
    "/v2/models/add",
    "/v2/models/add/infer",
    "/v2/models/add/stats",
    "/v2/repository/index",
    "/v2/repository/models/add/load",
]
NAMES: Final = sorted([*MODELS, "broken", "chain", "moving", "nothing", "versioned"])


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """Give a gateway, a worker and a process of both."""
    with running_trio(tmp_path_factory.mktemp("roles")) as running:
        yield running


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a Redis of one's own."""
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as running:
        yield running


def message_of(reply: Reply) -> str:
    """Return what an error says, in either form."""
    error = reply.json["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize("path", ANSWERED_AT_WORKERS)
def test_a_worker_answers_for_itself(trio: Trio, path: str) -> None:
    assert get(trio.worker, path).status == 200


@pytest.mark.parametrize("path", NOT_AT_WORKERS)
def test_a_worker_has_no_other_door_and_says_why(trio: Trio, path: str) -> None:
    for reply in (get(trio.worker, path), post(trio.worker, path, {})):
        assert reply.status == 404
        assert "this is a worker" in message_of(reply)
        assert isinstance(reply.json["error"], str) is path.startswith("/v2")


def test_other_roles_have_all_doors_and_no_word_of_workers(trio: Trio) -> None:
    for server in (trio.gateway, trio.single):
        for path in ("/v1/nowhere", "/v2/nowhere"):
            assert "worker" not in message_of(get(server, path))
        assert get(server, "/").status == get(server, "/docs").status == 200


def test_a_worker_describes_the_doors_that_it_has(trio: Trio) -> None:
    paths = set(get(trio.worker, "/openapi.json").json["paths"])
    assert paths == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/models/{model}/versions/{version}",
        "/v1/admin/log-level",
        "/v1/stats",
        "/v2/health/live",
        "/v2/health/ready",
    }
    assert get(trio.gateway, "/openapi.json").body == get(trio.single, "/openapi.json").body


@pytest.mark.parametrize("order", ["load", "unload"])
def test_a_gateway_says_whose_business_models_are(trio: Trio, order: str) -> None:
    reply = post(trio.gateway, f"/v2/repository/models/add/{order}", {})
    assert reply.status == 403
    assert reply.json == {"error": "this is a gateway: models come and go at the workers, as their folders do"}


def test_readiness_tells_of_the_backbone_where_there_is_one(trio: Trio) -> None:
    told = {name: get(server, "/readyz").json for name, server in trio._asdict().items() if name != "redis"}
    assert {name: body.keys() - {"ready", "status", "models"} for name, body in told.items()} == {
        "gateway": {"backbone", "workers"},
        "worker": {"backbone"},
        "single": set(),
    }
    assert (told["gateway"]["backbone"], told["gateway"]["workers"]) == ("up", 1)
    assert told["worker"]["backbone"] == "up"
    for body in told.values():
        assert (body["ready"], body["status"]) == (True, "ready")
        assert sorted(body["models"]["ready"]) == [name for name in NAMES if name != "broken"]
        assert body["models"]["broken"] == ["broken"]


@pytest.mark.parametrize("name", NAMES)
def test_a_gateway_tells_of_models_what_their_worker_does(trio: Trio, name: str) -> None:
    paths = ["", "?version=1", "?version=canary", "/versions/1", "/versions/3", "/versions/9"]
    for path in (f"/v1/models/{name}{rest}" for rest in paths):
        told = get(trio.gateway, path)
        assert told.status == get(trio.worker, path).status == get(trio.single, path).status
        assert told.json == get(trio.worker, path).json == get(trio.single, path).json
    for rest in ("", "/config", "/ready"):
        for path in (f"/v2/models/{name}{version}{rest}" for version in ("", "/versions/1", "/versions/3")):
            told, expected = get(trio.gateway, path), get(trio.single, path)
            assert (told.status, told.body) == (expected.status, expected.body)


def test_so_it_does_of_all_of_them(trio: Trio) -> None:
    assert get(trio.gateway, "/v1/models").json == get(trio.worker, "/v1/models").json
    assert get(trio.gateway, "/v2/models").json == get(trio.single, "/v2/models").json
    told, expected = (post(server, "/v2/repository/index", {}).json for server in (trio.gateway, trio.single))
    assert told == expected


def test_a_gateway_alone_is_not_ready_and_says_what_it_lacks(redis: RedisServer, tmp_path: Path) -> None:
    write_model(tmp_path / "models", "plus", plus(1))
    with running_server(*gateway_of(redis)) as gateway:
        reply = get(gateway, "/readyz")
        assert (reply.status, reply.json["status"], reply.json["workers"]) == (503, "no_workers", 0)
        assert get(gateway, "/v2/health/ready").status == 503
        assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).status == 404
        with running_server(*worker_of(redis, tmp_path / "models")):
            has_workers(gateway)
            reply = get(gateway, "/readyz")
            assert (reply.status, reply.json["status"]) == (200, "ready")
            assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).json["outputs"] == {"y": [2.0]}
        has_workers(gateway, 0)
        reply = get(gateway, "/readyz")  # the models are known for a while: events wait for whoever comes back
        assert (reply.status, reply.json["status"]) == (200, "no_workers")
        assert reply.json["models"]["ready"] == ["plus"]


def test_who_cannot_reach_redis_is_degraded_until_it_can(redis: RedisServer, tmp_path: Path) -> None:
    write_model(tmp_path / "models", "plus", plus(1))

    def statuses(*servers: Server) -> set[tuple[int, str, str]]:
        replies = [get(server, "/readyz") for server in servers]
        return {(reply.status, reply.json["status"], reply.json["backbone"]) for reply in replies}

    with (
        running_server(*gateway_of(redis)) as gateway,
        running_server(*worker_of(redis, tmp_path / "models")) as worker,
        running_server("--redis", redis.url, "--models", str(tmp_path / "models")) as both,
    ):
        has_workers(gateway)
        assert statuses(gateway, worker, both) == {(200, "ready", "up")}
        redis.kill()
        until(lambda: statuses(gateway, worker, both) == {(200, "degraded", "down")}, KNOWN)
        assert Metrics(gateway)("backbone_up") == 0
        assert post(both, "/v1/models/plus/predict", {"data": [1]}).status == 200
        redis.start()
        until(lambda: statuses(gateway, worker, both) == {(200, "ready", "up")}, KNOWN)
        assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).json["outputs"] == {"y": [2.0]}


@pytest.mark.parametrize("role", ["gateway", "worker"])
def test_a_role_without_redis_does_not_start(role: str) -> None:
    ended = run_to_end("--port", "0", "--role", role)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"role: a {role} needs redis" in ended.stderr


def test_what_is_unknown_is_refused_before_the_upgrade(trio: Trio) -> None:
    for path in ("/v1/models/nowhere/stream", "/v1/models/versioned/stream?version=9", "/v1/models/broken/stream"):
        replies = [get(server, path, UPGRADE) for server in (trio.gateway, trio.single)]
        assert replies[0].status == replies[1].status != 101
        assert json.loads(replies[0].body) == json.loads(replies[1].body)
    with open_stream(trio.gateway, "/v1/models/versioned/stream?version=canary") as stream:
        assert stream.ask({"data": [1]})["outputs"] == {"y": [4.0]}


UPGRADE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
