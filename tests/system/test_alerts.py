"""A rule of a model, from an event that trips it to those who are told: watchers, `/v1/alerts`, a webhook, metrics."""

import base64
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from standardwebhooks import Webhook

from .client import ENCODINGS, Stream, get, open_stream, post
from .graphs import double, write_model
from .metrics import Metrics
from .process import Server, running_server, until

SECRET: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()
RULES: Final = """
[labels]
y = ["calm", "walking", "falling", "lying"]

[[alert]]
name = "fall"
label = ["falling"]
above = 0.8
for = 3
cooldown_seconds = 1000
{webhook}

[[alert]]
name = "low"
index = 0
below = -5
"""
QUIET: Final = [0.5, 0.1, 0.0, 0.0]
FALLING: Final = [0.0, 0.1, 0.45, 0.0]  # twice that is above 0.8
LOW: Final = [-3.0, 0.0, 0.0, 1.0]


class Hooks:
    """A receiver of webhooks; it answers 500 to the first call."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()


@contextmanager
def hooks() -> Iterator[Hooks]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204 if seen.is_set() else 500)
            self.end_headers()
            made.calls.put((dict(self.headers), body))
            seen.set()

        def log_message(self, *arguments: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made, seen = Hooks(f"http://127.0.0.1:{server.server_address[1]}/fall?token=geheim"), threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@contextmanager
def alerting(root: Path, webhook: str = "", **options: Any) -> Iterator[Server]:
    write_model(root, "motion", double(), RULES.format(webhook=webhook))
    with running_server("--models", str(root), **options) as server:
        yield server


@contextmanager
def watching(server: Server, encoding: str = "json") -> Iterator[Stream]:
    with open_stream(server, "/v1/watch", encoding) as watch:
        watch.ask({"op": "subscribe", "topics": ["$alerts"]})
        yield watch


def fall(*, alert_id: int, event_id: int | None = None, key: str = "wrist-7") -> dict[str, Any]:
    """Return what is told, but for the time."""
    return {
        "id": alert_id, "rule": "fall", "model": "motion", "version": "1", "key": key, "topic": f"motion/{key}",
        "label": "falling", "output": "y", "value": pytest.approx(0.9), "above": 0.8, "count": 3,
    } | ({} if event_id is None else {"event_id": event_id})  # fmt: skip


def without_ts(alert: dict[str, Any]) -> dict[str, Any]:
    assert alert["ts"] > 1.7e9
    return {name: value for name, value in alert.items() if name != "ts"}


def test_an_alert_reaches_everybody(tmp_path: Path) -> None:
    with (
        hooks() as there,
        alerting(tmp_path, f"webhook = '{there.url}'", env={"WATERSPOUT_WEBHOOK_SECRET": SECRET}) as server,
        watching(server) as watch,
        watching(server, "msgpack") as packed,
        open_stream(server, "/v1/models/motion/stream?key=wrist-7") as stream,
    ):
        for number, row in enumerate([FALLING, FALLING, QUIET, FALLING, FALLING]):
            stream.ask({"id": number, "data": row})
        assert get(server, "/v1/alerts").json == {"alerts": []}
        stream.ask({"id": 7, "data": FALLING})
        told = watch.receive()
        assert told["topic"] == "$alerts"
        assert without_ts(told["alert"]) == fall(alert_id=1, event_id=7)
        assert packed.receive() == told
        assert get(server, "/v1/alerts").json == {"alerts": [told["alert"]]}
        first, again = there.calls.get(timeout=10), there.calls.get(timeout=10)
        body = Webhook(SECRET).verify(again[1], again[0])
        assert body["type"] == "alert"
        assert body["data"] == told["alert"]
        assert first[1] == again[1]
        assert first[0]["Webhook-Id"] == again[0]["Webhook-Id"]
        until(lambda: Metrics(server)("webhooks_total", outcome="delivered") == 1)
        assert Metrics(server)("alerts_total", model="motion", rule="fall") == 1
        for _ in range(4):
            stream.ask({"data": FALLING})  # the cooldown runs
        stream.ask({"data": LOW})
        assert watch.receive()["alert"]["rule"] == "low"
        log = server.log
    assert "geheim" not in log
    assert SECRET not in log


def test_keys_are_counted_over_sockets_and_requests_and_apart(tmp_path: Path) -> None:
    with alerting(tmp_path) as server, watching(server) as watch:
        for _ in range(2):
            with open_stream(server, "/v1/models/motion/stream") as stream:
                stream.ask({"key": "a", "data": FALLING})
                stream.ask({"data": FALLING})  # of no key: these end with their socket
                stream.ask({"key": "b", "data": FALLING})
        post(server, "/v1/models/motion/predict", [{"key": "b", "data": QUIET}, {"data": FALLING}])
        post(server, "/v1/models/motion/predict", {"key": "b", "data": FALLING})
        post(server, "/v1/models/motion/predict", {"key": "a", "id": 9, "data": FALLING})
        assert without_ts(watch.receive()["alert"]) == fall(alert_id=1, event_id=9, key="a")
        with open_stream(server, "/v1/models/motion/stream") as stream:
            for _ in range(3):
                stream.ask({"data": FALLING})
            told = watch.receive()["alert"]
            assert told["key"].startswith("~")
            assert without_ts(told) == fall(alert_id=2, key=told["key"])
        assert [alert["id"] for alert in get(server, "/v1/alerts").json["alerts"]] == [2, 1]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rules_need_nobody_who_watches_and_no_answers(tmp_path: Path, encoding: str) -> None:
    with alerting(tmp_path) as server:
        with open_stream(server, "/v1/models/motion/stream?reply=none&key=k", encoding) as stream:
            stream.send([{"data": LOW}, {"data": QUIET}, {"data": LOW}])
            stream.until_pong("sent")
            until(lambda: len(get(server, "/v1/alerts").json["alerts"]) == 2)
        with watching(server) as watch:  # tells what comes, not what was
            post(server, "/v1/models/motion/predict", {"key": "k", "data": LOW})
            assert watch.receive()["alert"]["id"] == 3


def test_the_latest_are_listed_newest_first_and_bounded(tmp_path: Path) -> None:
    with alerting(tmp_path) as server:
        post(server, "/v1/models/motion/predict", [{"key": "k", "id": at, "data": LOW} for at in range(300)])
        alerts = get(server, "/v1/alerts").json["alerts"]
        assert [alert["id"] for alert in alerts] == [*range(300, 44, -1)]
        assert [alert["event_id"] for alert in alerts] == [*range(299, 43, -1)]
        assert {alert["value"] for alert in alerts} == {-6.0}
        assert get(server, "/v1/alerts?limit=2").json["alerts"] == alerts[:2]


@pytest.mark.parametrize(
    "wrong", ["limit=0", "limit=257", "limit=-1", "limit=x", "limit=", "limit=1.5", "limit=%D9%A3"]
)
def test_a_wrong_limit_is_named(zoo: Server, wrong: str) -> None:
    reply = get(zoo, f"/v1/alerts?{wrong}")
    assert reply.status == 400
    assert reply.json["error"]["message"].startswith("limit: expected an integer from 1 to 256, got ")


def test_other_parameters_are_refused(zoo: Server) -> None:
    assert get(zoo, "/v1/alerts?count=2").json["error"]["message"].startswith("count: unknown parameter")


def test_a_receiver_that_is_dead_does_not_keep_a_server_from_stopping(tmp_path: Path) -> None:
    with alerting(tmp_path, "webhook = 'http://127.0.0.1:9/'") as server:
        with open_stream(server, "/v1/models/motion/stream") as stream:
            for _ in range(3):
                stream.ask({"data": FALLING})
        assert server.end() == 0
        assert "an alert was not delivered: ConnectionRefusedError" in server.log


def test_an_ensemble_has_rules_of_its_own(tmp_path: Path) -> None:
    write_model(tmp_path, "double", double(), "[[alert]]\nabove = 100\n")
    (tmp_path / "twice").mkdir()
    (tmp_path / "twice" / "config.toml").write_text(
        "[[alert]]\nname = 'high'\nindex = 1\nabove = 30\n"
        "[[ensemble_scheduling.step]]\nmodel_name = 'double'\ninput_map = {x = 'a'}\noutput_map = {y = 'b'}\n"
        "[[ensemble_scheduling.step]]\nmodel_name = 'double'\ninput_map = {x = 'b'}\noutput_map = {y = 'c'}\n"
    )
    with running_server("--models", str(tmp_path)) as server:
        post(server, "/v1/models/twice/predict", [{"key": "k", "data": [1000, n, 0, 0]} for n in (7, 8)])
        (alert,) = get(server, "/v1/alerts").json["alerts"]
        assert (alert["rule"], alert["model"], alert["output"], alert["value"]) == ("high", "twice", "c", 32.0)
