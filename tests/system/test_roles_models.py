"""What changes in a worker's folder, as a gateway tells of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.redis_server import RedisServer, running_redis

from .client import get, open_stream, post
from .graphs import double, plus, write_model
from .process import Server, running_server, until
from .roles import KNOWN, gateway_of, has_workers, worker_of
from .test_swaps import POLL


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a Redis of one's own."""
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Give a folder of two models."""
    write_model(tmp_path / "models", "plus", plus(1))
    write_model(tmp_path / "models", "double", double())
    return tmp_path / "models"


def info(server: Server, name: str) -> Any:
    return get(server, f"/v1/models/{name}").json


def test_a_model_that_a_worker_takes_back_is_gone_at_once(redis: RedisServer, models: Path) -> None:
    with running_server(*gateway_of(redis)) as gateway, running_server(*worker_of(redis, models, *POLL)):
        has_workers(gateway)
        with open_stream(gateway, "/v1/stream") as stream:
            assert stream.ask({"model": "plus", "data": [1]})["outputs"] == {"y": [2.0]}
            shutil.rmtree(models / "plus")
            until(lambda: get(gateway, "/v1/models/plus").status == 404, KNOWN)
            assert stream.refusal({"model": "plus", "data": [1]})["code"] == "unknown_model"
            assert stream.ask({"model": "double", "data": [1, 2, 3, 4]})["outputs"] == {"y": [2.0, 4.0, 6.0, 8.0]}
        assert get(gateway, "/readyz").json["models"]["ready"] == ["double"]
        write_model(models, "plus", plus(7), version="7")
        until(lambda: get(gateway, "/v1/models/plus").status == 200, KNOWN)
        assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).json["outputs"] == {"y": [8.0]}


def test_a_version_that_cannot_be_loaded_is_told_with_its_reason_until_it_can(redis: RedisServer, models: Path) -> None:
    with (
        running_server(*gateway_of(redis)) as gateway,
        running_server(*worker_of(redis, models, *POLL), allowed="is not served") as worker,
    ):
        has_workers(gateway)
        (models / "plus" / "2").mkdir()
        (models / "plus" / "2" / "model.onnx").write_bytes(b"no model")
        until(lambda: "versions" in info(gateway, "plus"), KNOWN)
        told = info(gateway, "plus")
        assert told == info(worker, "plus")
        assert (told["version"], told["versions"][1]["state"]) == ("1", "unavailable")
        assert "model.onnx" in told["versions"][1]["reason"]
        assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).json["outputs"] == {"y": [2.0]}
        shutil.rmtree(models / "plus" / "2")
        write_model(models, "plus", plus(2), version="2")
        until(lambda: info(gateway, "plus")["version"] == "2", KNOWN)
        until(lambda: info(gateway, "plus") == info(worker, "plus"), KNOWN)
        assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).json["outputs"] == {"y": [3.0]}


def test_two_workers_with_different_models_serve_all_of_them(redis: RedisServer, models: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "others", "plus", plus(2), version="2")
    with running_server(*gateway_of(redis)) as gateway, running_server(*worker_of(redis, models)):
        with running_server(*worker_of(redis, tmp_path / "others")):
            has_workers(gateway, 2)
            assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).json["outputs"] == {"y": [3.0]}
            with open_stream(gateway, "/v1/models/plus/stream?version=1") as stream:
                assert stream.ask({"data": [1]})["outputs"] == {"y": [2.0]}
            assert get(gateway, "/v2/models/plus").json["versions"] == ["1", "2"]
        has_workers(gateway, 1)
        until(lambda: get(gateway, "/v2/models/plus").json["versions"] == ["1"], KNOWN)
        assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).json["outputs"] == {"y": [2.0]}
