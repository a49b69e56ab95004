"""Spans that reach a receiver over OTLP, with links to the traces of those who asked."""

import json
from pathlib import Path

import pytest

from tests.redis_server import running_redis

from .client import Http, open_stream
from .graphs import plus, write_model
from .otlp import running_receiver
from .process import Server, run_to_end, running_server, until
from .roles import gateway_of, has_workers, worker_of
from .v2_models import write_models


def traceparent(number: int, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{number:032x}-{number:016x}-{flags}"}


def trace(number: int) -> str:
    return f"{number:032x}"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_model(tmp_path / "models", "plus", plus(1))
    write_models(tmp_path / "models", ["add"])
    return tmp_path / "models"


def post(server: Server, path: str, body: object, headers: dict[str, str]) -> None:
    with Http(server) as http:
        assert http.request("POST", path, json.dumps(body), headers).status == 200


def ask_at_every_door(server: Server) -> None:
    with open_stream(server, "/v1/models/plus/stream", headers=traceparent(1)) as stream:
        assert stream.ask({"data": [1]})["outputs"]
    with open_stream(server, "/v1/stream", headers=traceparent(2)) as stream:
        assert stream.ask({"data": [1], "model": "plus"})["outputs"]
    post(server, "/v1/models/plus/predict", {"data": [1]}, traceparent(3))
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
    post(server, "/v2/models/plus/infer", {"inputs": [tensor]}, traceparent(4))
    post(server, "/v1/models/plus/predict", {"data": [1]}, traceparent(5, "00"))
    post(server, "/v1/models/plus/predict", {"data": [1]}, {"traceparent": "junk"})
    post(server, "/v1/models/plus/predict", {"data": [1]}, {})


def test_a_receiver_gets_the_batches_of_sampled_traces_from_every_door(models: Path) -> None:
    with running_receiver() as receiver:
        arguments = ("--models", str(models), "--otlp-endpoint", receiver.url, "--trace-ratio", "0")
        with running_server(*arguments, env={"OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=lab"}) as server:
            ask_at_every_door(server)
            assert server.end() == 0, "what is left is sent at the end"
        assert receiver.linked() == {trace(number) for number in (1, 2, 3, 4)}
        assert {span.name for span in receiver.spans} == {"batch plus"}
        assert all(span.end_time_unix_nano >= span.start_time_unix_nano for span in receiver.spans)
        assert receiver.services == {"waterspout"}
        assert receiver.headers[0]["x-tenant"] == "lab"


def test_spans_come_while_the_server_runs(models: Path) -> None:
    env = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
    with running_receiver() as receiver:
        arguments = ("--models", str(models), "--otlp-endpoint", receiver.url, "--trace-ratio", "1")
        with running_server(*arguments, env=env) as server:
            post(server, "/v1/models/plus/predict", {"data": [1]}, {})
            until(lambda: receiver.spans)
            assert not receiver.linked()


def test_a_gateway_traces_what_it_took_to_a_worker_and_back(models: Path, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with running_receiver() as receiver, running_redis(tmp_path / "redis") as redis:
        traced = ("--otlp-endpoint", receiver.url, "--trace-ratio", "0")
        with (
            running_server(*gateway_of(redis, *traced)) as gateway,
            running_server(*worker_of(redis, models)),
        ):
            has_workers(gateway)
            post(gateway, "/v1/models/plus/predict", {"data": [1]}, traceparent(7))
            assert gateway.end() == 0
        assert receiver.linked() == {trace(7)}


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://192.0.2.1:4318"])
def test_a_receiver_that_is_not_there_delays_nobody(models: Path, url: str) -> None:
    arguments = ("--models", str(models), "--otlp-endpoint", url, "--trace-ratio", "1", "--drain-seconds", "1")
    with running_server(*arguments, env={"OTEL_BSP_SCHEDULE_DELAY": "50"}, allowed="opentelemetry|traces") as server:
        with open_stream(server, "/v1/models/plus/stream") as stream:
            for _ in range(100):
                assert stream.ask({"data": [1]})["outputs"]
        server.terminate()
        assert server.wait(8) == 0


def test_without_it_none_of_its_packages_is_loaded(models: Path, tmp_path: Path) -> None:
    marker = tmp_path / "sitecustomize.py"
    marker.write_text(
        "import atexit, sys, os\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('opentelemetry'): raise ImportError(f'no {name} here')\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    env = {"PYTHONPATH": str(tmp_path)}
    with running_server("--models", str(models), env=env) as server:
        post(server, "/v1/models/plus/predict", {"data": [1]}, traceparent(1))
    refused = run_to_end("--models", str(models), "--port", "0", "--otlp-endpoint", "http://127.0.0.1:4318", env=env)
    assert refused.returncode == 2
    assert "pip install -r requirements-otel.txt" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
