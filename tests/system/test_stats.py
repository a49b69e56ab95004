"""`GET /v1/stats` tells what was sent, and measures only for those who ask."""

import pytest

from .client import Message, get, open_stream, post
from .process import Server, until

ROW = [1, 2, 3, 4]


def stats_of(server: Server) -> Message:
    reply = get(server, "/v1/stats")
    assert (reply.status, reply.headers["Cache-Control"]) == (200, "no-store")
    told = reply.json
    assert isinstance(told, dict)
    return told


def model_in(stats: Message, name: str) -> Message:
    (found,) = [model for model in stats["models"] if model["name"] == name]
    assert isinstance(found, dict)
    return found


def test_a_server_at_rest_tells_of_itself(zoo: Server) -> None:
    told = stats_of(zoo)
    again = until(lambda: later if (later := stats_of(zoo))["uptime_seconds"] > told["uptime_seconds"] else {})
    assert 0 < told["uptime_seconds"] < again["uptime_seconds"] < told["uptime_seconds"] + 5
    assert told["memory_bytes"] == pytest.approx(zoo.rss_bytes, rel=0.2)
    assert 0 <= told["cpu"] < 4
    assert told["loop_lag_ms"] >= 0
    assert told["watchers"] == 0
    assert {(model["name"], model["version"], model["state"]) for model in told["models"]} == {
        (model["name"], model["version"], model["state"]) for model in get(zoo, "/v1/models").json["models"]
    }


def test_what_was_sent_is_in_the_numbers(zoo: Server) -> None:
    before = stats_of(zoo)
    with open_stream(zoo, "/v1/models/gathering/stream") as stream:
        for _ in range(2):
            stream.send([{"data": 1}] * 4)
            for _ in range(4):
                stream.receive()
        for _ in range(3):
            stream.ask({"data": "wrong"})
        sent = 2 * 4 + 3

        def after() -> Message:
            told = stats_of(zoo)
            return told if told["events"] - before["events"] == sent else {}

        told = until(after)
        assert told["sockets"] >= 1
    assert told["predictions"] - before["predictions"] == 8
    assert told["errors"]["invalid_input"] - before["errors"].get("invalid_input", 0) == 3
    assert told["events_per_second"] > 0
    model = model_in(told, "gathering")
    assert model["predictions"] - model_in(before, "gathering")["predictions"] == 8
    assert {bound: count for bound, count in model["batch_rows"].items() if count} == {"4": 2}
    assert model["queue_depth"] == 0
    for name in ("queue_ms", "run_ms", "total_ms"):
        assert 0 < model[name]["p50"] <= model[name]["p90"] <= model[name]["p99"] <= 10_000
    assert model["run_ms"]["p50"] <= model["total_ms"]["p99"]


def test_a_slow_run_shows_in_the_quantiles_and_what_waits_in_the_depth(zoo: Server) -> None:
    with open_stream(zoo, "/v1/models/slow/stream") as stream:
        stream.send([{"data": 2000}] * 20)
        told = until(lambda: told if model_in(told := stats_of(zoo), "slow")["queue_depth"] else {})
        assert model_in(told, "slow")["queue_depth"] in (4, 12)  # of twenty, eight at a time
        for _ in range(20):
            stream.receive()
    model = until(lambda: m if sum((m := model_in(stats_of(zoo), "slow"))["batch_rows"].values()) == 3 else {})
    assert (model["batch_rows"]["8"], model["batch_rows"]["4"]) == (2, 1)
    assert model["total_ms"]["p99"] > model["run_ms"]["p50"] > 20


def test_a_request_counts_as_events_do(zoo: Server) -> None:
    before = stats_of(zoo)
    post(zoo, "/v1/models/double/predict", [{"data": ROW}] * 5)
    until(lambda: stats_of(zoo)["events"] == before["events"] + 5)


def test_unknown_parameters_are_refused(zoo: Server) -> None:
    reply = get(zoo, "/v1/stats?seconds=1")
    assert (reply.status, reply.error["code"]) == (400, "invalid_message")
