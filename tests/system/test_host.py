"""This machine as a sensor: its real counters, real load, and the model that tells one from the other."""

import asyncio
import contextlib
import re
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from examples.counters import CHANNELS
from examples.host import HISTORY, Sensor, score_of, stream
from models.host import train
from models.host.loads import KINDS, running
from models.host.record import RECORDINGS

from .client import TIMEOUT, Stream, decode, get, open_stream
from .process import ROOT, Server, running_server, until

MODEL: Final = ROOT / "models" / "host" / "1" / "model.onnx"
SCORES: Final = 6  # three seconds of them
LINE: Final = re.compile(r"(.+): anomaly ([\d.]+) \((\w+)\)\n")
TOPIC: Final = f"host/{socket.gethostname()}"
# What each load must move. Others may be at work on the machine that runs the tests, but hardly on all of these.
MOVED: Final = {"cpu": "busiest", "disk": "disk_write", "network": "net_out"}


@contextlib.contextmanager
def feed(server: Server, within: float) -> Iterator[IO[str]]:
    """Stream this machine to a server as a user would, for so many seconds at most; yield what is printed."""
    command = [sys.executable, "-m", "examples.host", server.ws.replace("ws", "http", 1)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(within, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            yield process.stdout
        finally:
            watchdog.cancel()
            process.kill()


def next_scores(watcher: Stream, count: int) -> list[dict[str, float]]:
    """Return the channels of the next predictions, and their `score`."""
    found: list[dict[str, float]] = []
    while len(found) < count:
        messages = decode(watcher.socket.recv(TIMEOUT))
        for update in messages if isinstance(messages, list) else [messages]:
            if update.get("topic") == TOPIC:
                outputs = update["outputs"]
                found.append(dict(zip(CHANNELS, outputs["channels"], strict=True)) | {"score": outputs["score"]})
    return found


def level(scores: list[dict[str, float]], name: str) -> float:
    """Return the median of the latest."""
    return statistics.median(score[name] for score in scores[-SCORES:])


def alerts(server: Server) -> list[Any]:
    """Return the alerts about this machine."""
    return [alert for alert in get(server, "/v1/alerts").json["alerts"] if alert["topic"] == TOPIC]


def test_real_load_scores_above_quiet_time_and_raises_the_alert(shipped: Server) -> None:
    with feed(shipped, within=75) as printed, open_stream(shipped, "/v1/watch") as watcher:
        assert LINE.fullmatch(printed.readline())
        watcher.send({"op": "subscribe", "topics": [TOPIC], "hz": 10})
        before = next_scores(watcher, SCORES)
        with ExitStack() as loads:
            for kind in MOVED:
                loads.enter_context(running(kind))
            under = next_scores(watcher, SCORES)
            while not any(level(under, name) > max(1.0, 2 * level(before, name)) for name in MOVED.values()):
                under += next_scores(watcher, 1)
            (alert, *_) = until(lambda: alerts(shipped), within=10)
    assert all(score["score"] == max(score[name] for name in CHANNELS) for score in before + under)
    assert alert["rule"] == "unusual"
    assert alert["value"] > alert["above"] == train.ALERT_ABOVE
    assert alert["count"] == train.ALERT_FOR


def test_the_feed_outlives_the_server_and_fills_the_window_at_once() -> None:
    async def scenario() -> tuple[dict[str, Any], dict[str, Any]]:
        answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        sensor = Sensor(samples_per_second=20)
        tasks = [asyncio.create_task(sensor.run())]
        try:
            with running_server() as server:
                port = server.address[1]
                tasks.append(asyncio.create_task(stream(f"http://127.0.0.1:{port}", sensor, answers.put_nowait)))
                last = await asyncio.wait_for(answers.get(), 30)
                while not answers.empty():
                    last = answers.get_nowait()
            with running_server("--port", str(port)):
                return last, await asyncio.wait_for(answers.get(), 30)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    before, after = asyncio.run(scenario())
    assert after["id"] - before["id"] < HISTORY
    assert score_of(after) >= 0


def test_the_server_knows_the_channels_by_name(shipped: Server) -> None:
    info = get(shipped, "/v1/models/host").json
    assert info["labels"] == {"channels": list(CHANNELS)}


def test_injected_load_scores_above_quiet_time_in_recordings_the_model_was_not_fitted_on() -> None:
    recordings, model = train.load(RECORDINGS)[1], onnx.load(MODEL)
    scores = [train.run(model, recording.windows) for recording in recordings]
    quiet = train.report_time("quiet", recordings, scores)
    loaded = {kind: train.report_load(kind, quiet, recordings, scores) for kind in KINDS}
    assert len(quiet) > 400
    assert train.area(quiet, np.concatenate(list(loaded.values()))) > 0.98
    for kind, scores_of_kind in loaded.items():
        assert train.area(quiet, scores_of_kind) > 0.97, kind
    assert train.first_alarm(quiet) is None


def test_training_makes_the_model_that_is_served() -> None:
    trained, served = train.train(train.load(RECORDINGS)[0]).graph, onnx.load(MODEL).graph
    assert trained.node == served.node
    for ours, theirs in zip(trained.initializer, served.initializer, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_allclose(numpy_helper.to_array(ours), numpy_helper.to_array(theirs), rtol=1e-4)


def test_a_recording_tells_what_was_injected_and_when(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.host.record", "--output", str(tmp_path / "recordings.npz")]
    subprocess.run([*command, "quiet:1", "third:2", "quiet:1"], cwd=ROOT, check=True, capture_output=True, timeout=20)
    with np.load(tmp_path / "recordings.npz") as file:
        arrays = {name.partition("/")[2]: file[name] for name in file}
    assert arrays["samples"].shape == (40, len(CHANNELS))
    assert arrays["loads"].tolist() == [0] * 10 + [1 + list(KINDS).index("third")] * 20 + [0] * 10
    assert arrays["others"].shape == (40,)
    assert (arrays["others"] >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_loads_end_by_themselves(kind: str) -> None:
    with running(kind, seconds=0.5) as process:
        assert process.wait(10) == 0
