"""Models as files: one alone, folders of versions, broken ones among good ones, and ones that load slowly."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from .client import get, open_stream, post
from .graphs import double, slow, write_model
from .process import ROOT, run_to_end, running_server, until

EVENT = {"id": 1, "data": [1, 2, 3, 4]}
ANSWER = {"id": 1, "outputs": {"y": [2.0, 4.0, 6.0, 8.0]}}

BROKEN = {
    "no graph": ("1/model.onnx", b"not a model", "model.onnx"),
    "no TOML": ("config.toml", b"max_batch_size", "config.toml"),
    "unknown key": ("config.toml", b"max_batch_sise = 1", "max_batch_sise"),
    "window that does not fit": ("config.toml", b"[window]\nlength = 7\nhop = 1", "window"),
    "labels that do not fit": ("config.toml", b'[labels]\ny = ["one"]', "labels"),
}


def test_one_file_is_served_under_its_stem(tmp_path: Path) -> None:
    path = tmp_path / "my-model.v2.onnx"
    path.write_bytes(double().SerializeToString())
    with running_server(str(path)) as server:
        assert [model["name"] for model in get(server, "/v1/models").json["models"]] == ["my-model.v2"]
        with open_stream(server, "/v1/models/my-model.v2/stream") as stream:
            assert stream.ask(EVENT) == ANSWER


@pytest.mark.parametrize("name", ["my model.onnx", "modèle.onnx", "-x.onnx"])
def test_a_stem_that_cannot_be_a_name_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(double().SerializeToString())
    ended = run_to_end("--port", "0", str(path))
    assert ended.returncode == 2
    assert ended.stderr.startswith("server.py: model: ")


def test_the_newest_version_of_a_folder_is_served(tmp_path: Path) -> None:
    for version in ("1", "2", "10"):
        write_model(tmp_path, "double", double(), version=version)
    with running_server("--models", str(tmp_path)) as server:
        assert get(server, "/v1/models/double").json["version"] == "10"
        assert post(server, "/v1/models/double/predict?version=10", EVENT).json == ANSWER
        assert post(server, "/v1/models/double/predict?version=2", EVENT).status == 404


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_model_is_named_and_does_not_stop_the_others(tmp_path: Path, case: str) -> None:
    file, octets, named = BROKEN[case]
    write_model(tmp_path, "double", double())
    write_model(tmp_path, "broken", double())
    (tmp_path / "broken" / file).write_bytes(octets)
    with running_server("--models", str(tmp_path), allowed="model broken is not served") as server:
        assert named in server.log
        ready = get(server, "/readyz")
        assert (ready.status, ready.json["models"]) == (200, {"ready": ["double"], "broken": ["broken"]})

        described = get(server, "/v1/models/broken").json
        assert described["state"] == "unavailable"
        assert named in described["reason"]

        with pytest.raises(InvalidStatus) as raised, open_stream(server, "/v1/models/broken/stream"):
            pass
        response = raised.value.response
        assert (response.status_code, "Retry-After" in response.headers) == (503, True)
        assert json.loads(response.body)["error"]["code"] == "model_unavailable"
        assert post(server, "/v1/models/broken/predict", EVENT).error["code"] == "model_unavailable"

        with open_stream(server, "/v1/stream") as stream:
            assert stream.refusal({"model": "broken", "data": 1})["code"] == "model_unavailable"
            assert stream.ask({"model": "double", **EVENT}) == ANSWER


def test_a_repository_without_models_is_served_as_such(tmp_path: Path) -> None:
    with running_server("--models", str(tmp_path)) as server:
        assert get(server, "/v1/models").json == {"models": []}
        assert get(server, "/readyz").status == 200


def test_events_are_refused_for_now_while_a_model_is_loading(tmp_path: Path) -> None:
    write_model(tmp_path, "double", double())
    write_model(tmp_path, "late", slow(least=1500))  # as do the runs that warm it
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch_start, port)
        with running_server("--models", str(tmp_path), "--port", str(port)):
            seen = watching.result(10)
    first, last = seen[0], seen[-1]
    assert (first["/healthz"][0], first["/readyz"][0], first["/readyz"][1]["status"]) == (200, 503, "starting")
    assert (last["/healthz"][0], last["/readyz"][0], last["/readyz"][1]["status"]) == (200, 200, "ready")
    door = "/v1/models/late/predict"
    assert (first[door][0], first[door][1]["error"]["retryable"]) == (503, True)
    assert last[door][0] == 200


def test_a_server_that_is_told_to_end_while_it_loads_ends_soon_and_never_says_that_it_listens(tmp_path: Path) -> None:
    write_model(tmp_path, "late", slow(least=8000))  # takes seconds to warm
    command = [sys.executable, "server.py", "--port", "0", "--models", str(tmp_path), "--drain-seconds", "0.5"]
    with (
        (tmp_path / "log").open("w+") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            until(lambda: listens(process.pid), within=10)
            process.terminate()
            output, _ = process.communicate(timeout=1.5)
        finally:
            process.kill()
    assert (process.returncode, output) == (0, "")


def listens(pid: int) -> bool:
    """Return whether a process listens on a TCP port."""
    inodes = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            inodes.add(os.readlink(path))
    sockets = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return any(f"socket:[{fields[9]}]" in inodes and fields[3] == "0A" for fields in sockets)


def watch_start(port: int) -> list[dict[str, tuple[int, Any]]]:
    """Ask until the server is ready; return the statuses and bodies seen by path."""
    seen = []
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            seen.append({path: ask(port, path) for path in ("/healthz", "/readyz", "/v1/models/late/predict")})
        except ConnectionRefusedError:
            time.sleep(0.01)
            continue
        if seen[-1]["/readyz"][0] == 200:
            break
    return seen


def ask(port: int, path: str) -> tuple[int, Any]:
    """POST an event to a predict door, GET all else; return status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        if path.endswith("/predict"):
            connection.request("POST", path, b'{"data":0}')
        else:
            connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
