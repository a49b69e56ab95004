"""`$stats` over real watch sockets: what was sent shows in it, and nothing is measured while nobody watches."""

import http.client
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .client import ENCODINGS, Message, Stream, get, open_stream, post
from .conftest import StartServer
from .process import Server

ROW = [1, 2, 3, 4]
BEAT = 0.25
SUBSCRIBE = {"op": "subscribe", "topics": ["$stats"]}


@contextmanager
def watching(server: Server, encoding: str = "json") -> Iterator[Stream]:
    """Give a socket that has subscribed to `$stats`."""
    with open_stream(server, "/v1/watch", encoding) as stream:
        assert stream.ask(SUBSCRIBE)["op"] == "subscribed"
        yield stream


def beat(stream: Stream) -> Message:
    message = stream.receive()
    assert set(message) == {"topic", "ts", "stats"}, message
    assert message["topic"] == "$stats"
    stats = message["stats"]
    assert isinstance(stats, dict)
    return {**stats, "ts": message["ts"]}


def model_in(stats: Message, name: str) -> Message:
    (found,) = [model for model in stats["models"] if model["name"] == name]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_beats_come_four_times_a_second(zoo: Server, encoding: str) -> None:
    with watching(zoo, encoding) as stream:
        before = time.time()
        beats = [beat(stream) for _ in range(5)]
        assert 3.5 * BEAT <= time.time() - before <= 10 * BEAT
        assert stream.came_as == encoding
    for one, other in itertools.pairwise(beats):
        assert other["ts"] - one["ts"] == pytest.approx(other["uptime_seconds"] - one["uptime_seconds"], abs=0.02)
    assert before <= beats[0]["ts"] <= beats[-1]["ts"] <= time.time()
    assert all(stats["watchers"] == 1 for stats in beats)
    assert all(stats["loop_lag_ms"] >= 0 and stats["cpu"] >= 0 for stats in beats)


def test_what_was_sent_is_in_the_beats_that_follow(start_server: StartServer) -> None:
    server = start_server()
    with watching(server) as stream, open_stream(server, "/v1/models/gathering/stream") as events:
        first = beat(stream)
        assert (first["events"], first["predictions"], first["events_per_second"]) == (0, 0, 0.0)
        began = first["uptime_seconds"] - BEAT
        for _ in range(3):
            events.send([{"data": 1, "key": "k"}] * 4)
            for _ in range(4):
                events.receive()
        for _ in range(5):
            events.ask({"data": "wrong"})
        last = first
        while last["events"] < 17 or not last["predictions_per_second"]:
            last = beat(stream)
        assert (last["events"], last["predictions"], last["errors"]) == (17, 12, {"invalid_input": 5})
        seconds = last["uptime_seconds"] - began
        assert last["events_per_second"] * seconds == pytest.approx(17, rel=0.15)
        assert last["predictions_per_second"] * seconds == pytest.approx(12, rel=0.15)
        assert (last["sockets"], last["watchers"], last["keys"]) == (2, 1, 1)
        model = model_in(last, "gathering")
        assert (model["predictions"], model["predictions_per_second"]) == (12, last["predictions_per_second"])
        assert {bound: count for bound, count in model["batch_rows"].items() if count} == {"4": 3}
        assert 0 < model["run_ms"]["p50"] <= model["total_ms"]["p99"]
        assert model["queue_ms"]["p50"] <= model["total_ms"]["p50"]
        for other in last["models"]:
            if other["name"] != "gathering":
                assert (other["predictions_per_second"], other["total_ms"]) == (0.0, None)


def test_nothing_is_measured_while_nobody_watches(start_server: StartServer) -> None:
    server = start_server()
    with watching(server) as stream, open_stream(server, "/v1/models/double/stream") as events:
        events.ask({"data": ROW})
        seen = beat(stream)
        while not seen["predictions_per_second"]:
            seen = beat(stream)
        stream.ask({"op": "unsubscribe", "topics": ["$stats"]})
        events.ask({"data": ROW})
        subscribed_at = time.time()
        assert stream.ask(SUBSCRIBE)["op"] == "subscribed"
        seen = beat(stream)
        assert seen["ts"] >= subscribed_at, "the last beat of an earlier time is no news"
        assert seen["predictions"] == 2
        assert seen["predictions_per_second"] == 0.0, "it began anew, and knows nothing of what was a moment ago"
        assert set(model_in(seen, "double")["batch_rows"].values()) == {0}


def test_the_second_watcher_is_told_at_once_and_the_first_to_leave_stops_nothing(start_server: StartServer) -> None:
    server = start_server()
    with watching(server) as first:
        latest = beat(first)
        with watching(server) as second:
            assert beat(second)["uptime_seconds"] <= latest["uptime_seconds"] + 2 * BEAT
            while beat(first)["watchers"] != 2:
                pass
        while (latest := beat(first))["watchers"] != 1:
            pass
        assert beat(first)["uptime_seconds"] > latest["uptime_seconds"]


def test_the_door_for_those_without_a_websocket_tells_the_same(start_server: StartServer) -> None:
    server = start_server()
    with watching(server) as stream:
        told = beat(stream)
        same = get(server, "/v1/stats").json
        assert same.keys() == told.keys() - {"ts"}
        assert 0 <= same["uptime_seconds"] - told["uptime_seconds"] < 3 * BEAT


def test_a_model_that_is_unloaded_leaves_and_one_that_is_loaded_comes(start_server: StartServer) -> None:
    server = start_server("--model-control", "explicit", "--load-models", '["double"]')
    with watching(server) as stream:
        states = {model["name"]: model["state"] for model in beat(stream)["models"]}
        assert states["double"] == "ready"
        assert states.get("sum") != "ready"
        for order, expected in (("load", "ready"), ("unload", "unavailable")):
            assert post(server, f"/v2/repository/models/sum/{order}", {}).status == 200
            while {model["name"]: model["state"] for model in beat(stream)["models"]}.get("sum") != expected:
                pass


def test_server_sent_events_carry_it_too(zoo: Server) -> None:
    connection = http.client.HTTPConnection(*zoo.address, timeout=5)
    connection.request("GET", "/v1/watch/sse?topics=$stats")
    reply = connection.getresponse()
    data = (line[6:] for line in iter(reply.readline, b"") if line.startswith(b"data: "))
    messages = [json.loads(next(data)) for _ in range(2)]
    connection.close()
    assert [message["topic"] for message in messages] == ["$stats", "$stats"]
    assert messages[1]["stats"]["uptime_seconds"] > messages[0]["stats"]["uptime_seconds"]
