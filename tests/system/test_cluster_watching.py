"""Whoever watches at one gateway sees what sensors of another are told, and hears its alerts."""

from collections.abc import Iterator
from typing import Final

import pytest

from .client import get, open_stream
from .cluster import Cluster, running_cluster, write_models
from .metrics import Metrics
from .process import until
from .test_watch import DOUBLE, DOUBLED, ROW, receive_of, subscribe

RULE: Final = '[[alert]]\nname = "high"\noutput = "y"\nabove = 100.0\n'
HIGH: Final = [100.0, 0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    models, data = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("redis")
    write_models(models)
    (models / "double" / "config.toml").write_text(RULE)
    with running_cluster(data, models, workers=1) as cluster:
        yield cluster


def test_a_watcher_sees_the_keys_of_another_gateway(cluster: Cluster) -> None:
    here, there = cluster.gateways
    with open_stream(here, "/v1/watch") as watcher, open_stream(there, DOUBLE) as sensor:
        sensor.ask({"data": ROW, "key": "far/1"})
        subscribe(watcher, "double/far/*", hz=60)
        snapshot = receive_of(watcher, "double/far/1")
        assert snapshot["outputs"] == {"y": DOUBLED}
        sensor.ask({"id": "next", "data": [0.0, 0.0, 0.0, 1.0], "key": "far/1"})
        update = receive_of(watcher, "double/far/1")
        assert (update["id"], update["outputs"]) == ("next", {"y": [0.0, 0.0, 0.0, 2.0]})
        assert Metrics(there)("letters_sent_total") > 0
        assert Metrics(here)("letters_lost_total") == 0


def test_nothing_is_told_of_what_nobody_elsewhere_watches(cluster: Cluster) -> None:
    here, there = cluster.gateways
    with open_stream(here, "/v1/watch") as watcher, open_stream(there, DOUBLE) as sensor:
        subscribe(watcher, "double/seen/*", hz=60)
        sensor.ask({"data": ROW, "key": "seen/1"})
        receive_of(watcher, "double/seen/1")
        before = Metrics(there)("letters_sent_total")
        for _ in range(50):
            sensor.ask({"data": ROW, "key": "unseen/1"})
        sensor.ask({"id": "last", "data": ROW, "key": "seen/1"})
        while receive_of(watcher, "double/seen/1").get("id") != "last":
            pass
        assert Metrics(there)("letters_sent_total") - before <= 3


def test_an_alert_is_heard_and_listed_at_every_gateway(cluster: Cluster) -> None:
    here, there = cluster.gateways
    with open_stream(here, "/v1/watch") as watcher, open_stream(there, DOUBLE) as sensor:
        subscribe(watcher, "$alerts")
        subscribe(watcher, "double/met/*")
        sensor.ask({"data": ROW, "key": "met/1"})
        receive_of(watcher, "double/met/1")  # who knows of no other process tells nobody of alerts
        sensor.ask({"data": HIGH, "key": "hot"})
        alert = receive_of(watcher, "$alerts")["alert"]
        assert (alert["rule"], alert["key"], alert["value"]) == ("high", "hot", 200.0)
    until(lambda: [one["key"] for one in get(here, "/v1/alerts").json["alerts"]] == ["hot"])
    assert [one["key"] for one in get(there, "/v1/alerts").json["alerts"]] == ["hot"]
