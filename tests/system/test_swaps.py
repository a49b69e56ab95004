"""Versions that come, go and change while a server serves them: no event is lost and none fails."""

import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .client import Http, Message, get, open_stream, post
from .graphs import moving_plus, plus, write_model
from .metrics import Metrics
from .process import Server, run_to_end, running_server, until

SWAPS = 20
IN_FLIGHT = 8
LOADING = 20.0  # seconds within which a swap must have been made, on a busy machine
WINDOW = 3
POLL = ("--model-control", "poll")

CHAIN = """
[[ensemble_scheduling.step]]
model_name = "plain"
input_map = { x = "x" }
output_map = { y = "sum" }
[[ensemble_scheduling.step]]
model_name = "nothing"
input_map = { x = "sum" }
output_map = { y = "y" }
"""


def put(root: Path, version: int, *, length: int = WINDOW) -> None:
    """Drop a version of both models, whose answers tell it."""
    config = f"[window]\nlength = {length}\nhop = 1\n"
    write_model(root, "plain", plus(version), version=str(version))
    write_model(root, "moving", moving_plus(version, length), config, version=str(version))


def put_chain(root: Path) -> None:
    """Drop an ensemble: `plain`, and after it a model that adds nothing."""
    write_model(root, "nothing", plus(0))
    (root / "chain").mkdir()
    (root / "chain" / "config.toml").write_text(CHAIN)


def served(server: Server, version: int, *names: str) -> None:
    """Wait until a version is what is served."""

    def is_served() -> bool:
        seen = [get(server, f"/v1/models/{name}").json for name in names]
        return all((model["steps"][0] if "steps" in model else model)["version"] == str(version) for model in seen)

    until(is_served, LOADING)


def number(event: int) -> int:
    """Return what an event sends: a multiple of more than there are versions."""
    return event % 10 * 100


def version_of(answer: Message, expected: int) -> int:
    """Return the version that answered, which must have answered what was expected of it."""
    y = answer["outputs"]["y"]
    value = struct.unpack("<f", y)[0] if isinstance(y, bytes) else y[0]
    version = int(value - expected)
    assert 1 <= version <= SWAPS + 1, (answer, expected)
    return version


class Load:
    """Clients that send without pause until they are told to stop; each returns the versions that answered it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stop = threading.Event()

    def stream(self, path: str, encoding: str, fields: Message, window: int = 1) -> list[int]:
        """Send events on a socket; each must be answered, in order, by a sum over the window's samples."""
        sent, answers = 0, list[Message]()
        with open_stream(self.server, path, encoding) as stream:
            while not self.stop.is_set():
                stream.send({"id": sent, "data": [number(sent)], **fields})
                sent += 1
                while sent - len(answers) >= IN_FLIGHT + window:
                    answers.append(stream.receive())
            while len(answers) < sent - window + 1:
                answers.append(stream.receive())
            assert stream.until_pong("end") == []
        assert [answer.get("id") for answer in answers] == list(range(window - 1, sent))
        sums = [sum(number(n) for n in range(last - window + 1, last + 1)) for last in range(window - 1, sent)]
        return [version_of(answer, expected) for answer, expected in zip(answers, sums, strict=True)]

    def predict(self, path: str, window: int = 1) -> list[int]:
        """Send requests over HTTP, one at a time."""
        versions = list[int]()
        data = [[number(n)] for n in range(window)] if window > 1 else [0]
        expected = sum(number(n) for n in range(window))
        with Http(self.server) as client:
            while not self.stop.is_set():
                reply = client.request("POST", path, f'{{"data": {data}}}')
                assert reply.status == 200, reply.body
                versions.append(version_of(reply.json, expected))
        return versions


def test_twenty_swaps_under_load_lose_no_event_and_fail_none(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put_chain(tmp_path)
    with running_server("--models", str(tmp_path), *POLL) as server, ThreadPoolExecutor(9) as pool:
        load = Load(server)
        clients = [
            pool.submit(load.stream, "/v1/models/plain/stream", "json", {}),
            pool.submit(load.stream, "/v1/models/plain/stream", "msgpack", {"key": "k"}),
            pool.submit(load.stream, "/v1/stream", "json", {"model": "plain"}),
            pool.submit(load.stream, "/v1/models/moving/stream", "json", {"key": "k"}, WINDOW),
            pool.submit(load.stream, "/v1/stream", "msgpack", {"model": "moving"}, WINDOW),
            pool.submit(load.stream, "/v1/models/chain/stream", "json", {"key": "k"}),
            pool.submit(load.predict, "/v1/models/chain/predict"),
            pool.submit(load.predict, "/v1/models/plain/predict"),
            pool.submit(load.predict, "/v1/models/moving/predict", WINDOW),
        ]
        try:
            for version in range(2, SWAPS + 2):
                put(tmp_path, version)
                served(server, version, "plain", "moving", "chain")
        finally:
            load.stop.set()
        for client in clients:
            versions = client.result(LOADING)
            assert versions == sorted(versions), "an old version answered after a new one"
            assert versions[0] == 1
            assert len(set(versions)) == SWAPS + 1
        metrics = Metrics(server)
        assert metrics.families["waterspout_errors"].samples == []
        counted = [tuple(sample.labels.values()) for sample in metrics.families["waterspout_predictions"].samples]
        newest = str(SWAPS + 1)
        assert sorted(counted) == [("chain", "1"), ("moving", newest), ("nothing", "1"), ("plain", newest)]


def test_a_window_that_does_not_fit_the_new_version_is_dropped_with_a_gap(tmp_path: Path) -> None:
    put(tmp_path, 1)
    with (
        running_server("--models", str(tmp_path), *POLL) as server,
        open_stream(server, "/v1/models/moving/stream?key=k") as stream,
    ):
        stream.send({"data": [[100], [100]]})
        assert stream.until_pong(1) == []
        put(tmp_path, 2, length=2)
        served(server, 2, "moving")
        assert stream.ask({"id": 1, "data": [[300], [300]]}) == {
            "op": "gap",
            "count": 2,
            "why": "model_changed",
            "key": "k",
        }
        assert stream.receive() == {"id": 1, "outputs": {"y": [602.0]}}


def test_a_broken_version_replaces_nothing_and_is_told(tmp_path: Path) -> None:
    put(tmp_path, 1)
    allowed = "version 2 of model plain is not served"
    with (
        running_server("--models", str(tmp_path), *POLL, allowed=allowed) as server,
        open_stream(server, "/v1/models/plain/stream") as stream,
    ):
        broken = tmp_path / "plain" / "2" / "model.onnx"
        broken.parent.mkdir()
        broken.write_bytes(b"no model")
        until(lambda: allowed in server.log, LOADING)
        assert stream.ask({"id": 1, "data": [0]}) == {"id": 1, "outputs": {"y": [1.0]}}
        described = get(server, "/v1/models/plain").json
        assert (described["version"], described["state"]) == ("1", "ready")
        assert [version["state"] for version in described["versions"]] == ["ready", "unavailable"]
        assert "model.onnx" in get(server, "/v1/models/plain/versions/2").json["reason"]
        assert get(server, "/readyz").json["models"] == {"ready": ["moving", "plain"], "broken": []}
        refused = post(server, "/v1/models/plain/predict?version=2", {"data": [0]})
        assert (refused.status, refused.error["code"]) == (503, "model_unavailable")
        broken.write_bytes(plus(2).SerializeToString())
        served(server, 2, "plain")
        assert stream.ask({"id": 1, "data": [0]}) == {"id": 1, "outputs": {"y": [2.0]}}


def test_a_file_that_is_still_copied_is_not_loaded(tmp_path: Path) -> None:
    put(tmp_path, 1)
    whole = plus(2).SerializeToString()
    with running_server("--models", str(tmp_path), *POLL) as server:
        path = tmp_path / "plain" / "2" / "model.onnx"
        path.parent.mkdir()
        with path.open("wb", buffering=0) as file:
            end = time.monotonic() + 1.5
            while time.monotonic() < end:  # as a slow copy: there, but never at rest
                file.seek(0)
                file.write(whole[:-9])
                assert get(server, "/v1/models/plain").json["version"] == "1"
            file.write(whole[-9:])
        served(server, 2, "plain")
        server.check_log()


def test_versions_and_labels_are_named_at_every_door(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        write_model(tmp_path, "plain", plus(version), version=str(version))
    (tmp_path / "plain" / "config.toml").write_text(
        "[version_policy.specific]\nversions = [1, 3]\n[version_labels]\nstable = 1\ncanary = 3\n"
    )
    with running_server("--models", str(tmp_path)) as server:
        asked: list[tuple[Any, float]] = [(None, 3.0), (1, 1.0), ("3", 3.0), ("stable", 1.0), ("canary", 3.0)]
        with open_stream(server, "/v1/stream") as many:
            for version, y in asked:
                query = "" if version is None else f"?version={version}"
                fields = {} if version is None else {"version": version}
                assert post(server, f"/v1/models/plain/predict{query}", {"data": [0]}).json["outputs"] == {"y": [y]}
                assert get(server, f"/v1/models/plain{query}").json["version"] == str(int(y))
                assert many.ask({"model": "plain", "data": [0], **fields})["outputs"] == {"y": [y]}
                with open_stream(server, f"/v1/models/plain/stream{query}") as stream:
                    assert stream.ask({"data": [0], **fields})["outputs"] == {"y": [y]}
        assert get(server, "/v1/models/plain/versions/stable").json["version"] == "1"
        assert get(server, "/v1/models/plain").json["versions"] == [
            {"version": "1", "state": "ready", "labels": ["stable"]},
            {"version": "3", "state": "ready", "labels": ["canary"]},
        ]
        for path in ("/v1/models/plain?version=9", "/v1/models/plain/versions/9", "/v1/models/nobody/versions/1"):
            assert get(server, path).error["code"] == "unknown_model"
        assert post(server, "/v1/models/plain/predict?version=2", {"data": [0]}).status == 404
        assert get(server, "/v1/models/plain?versoin=1").status == 400
        with open_stream(server, "/v1/models/plain/stream?version=stable", announced=True) as stream:
            assert stream.receive()["model"]["version"] == "1"
            assert stream.refusal({"data": [0], "version": "canary"})["code"] == "unknown_model"


def test_with_explicit_control_only_named_models_are_served(tmp_path: Path) -> None:
    put(tmp_path, 1)
    explicit = ("--models", str(tmp_path), "--model-control", "explicit")
    with running_server(*explicit, "--load-model", "plain") as server:
        assert get(server, "/readyz").json["models"] == {"ready": ["plain"], "broken": []}
        assert get(server, "/v1/models/moving").json["reason"] == "not loaded"
        assert post(server, "/v1/models/moving/predict", {"data": [0]}).status == 503
    ended = run_to_end("--port", "0", *explicit, "--load-model", "plain", "--load-model", "nobody")
    assert (ended.returncode, ended.stderr) == (2, "server.py: load_models: there is no model 'nobody'\n")


def test_a_single_file_is_followed_too(tmp_path: Path) -> None:
    path = tmp_path / "single.onnx"
    path.write_bytes(plus(1).SerializeToString())
    with running_server(str(path), *POLL) as server, open_stream(server, "/v1/models/single/stream") as stream:
        assert stream.ask({"data": [0]})["outputs"] == {"y": [1.0]}
        path.write_bytes(plus(2).SerializeToString())
        until(lambda: stream.ask({"data": [0]})["outputs"] == {"y": [2.0]}, LOADING)
