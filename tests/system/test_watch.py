"""Watchers of a live server: what they see of the predictions of others."""

import struct
from typing import Any

import pytest

from .client import ENCODINGS, TIMEOUT, Message, Stream, decode, open_stream, post, subprotocol
from .process import Server

WATCH = "/v1/watch"
DOUBLE = "/v1/models/double/stream"
ROW = [1.0, 2.0, 3.0, 4.0]
DOUBLED = [2.0, 4.0, 6.0, 8.0]

each_encoding = pytest.mark.parametrize("encoding", ENCODINGS)


def subscribe(watcher: Stream, *topics: str, **options: Any) -> None:
    """Subscribe, and check that it was understood."""
    watcher.send({"op": "subscribe", "topics": list(topics), **options})
    told = watcher.receive()
    assert (told["op"], told["topics"]) == ("subscribed", list(topics))


def receive_each(watcher: Stream) -> list[Message]:
    """Return the messages of the next frame."""
    message = decode(watcher.socket.recv(TIMEOUT))
    return message if isinstance(message, list) else [message]


def receive_of(watcher: Stream, topic: str) -> Message:
    """Return the next update of a topic."""
    while True:
        for update in receive_each(watcher):
            if update["topic"] == topic:
                return update


@each_encoding
def test_welcome_tells_limits_and_models(zoo: Server, encoding: str) -> None:
    with open_stream(zoo, WATCH, encoding, announced=True) as watcher:
        assert watcher.socket.subprotocol == subprotocol(encoding)
        welcome = watcher.receive()
        assert welcome["op"] == "welcome"
        assert welcome["limits"] == {"max_message_bytes": 1 << 20, "max_topics": 64}
        assert "double" in {model["name"] for model in welcome["models"]}


@each_encoding
def test_a_prediction_reaches_those_who_watch_it(zoo: Server, encoding: str) -> None:
    with open_stream(zoo, WATCH, encoding) as watcher, open_stream(zoo, DOUBLE) as sensor:
        subscribe(watcher, f"double/{encoding}/*", hz=60)
        sensor.ask({"data": ROW, "key": "ankle/1"})
        sensor.ask({"id": "x7", "data": ROW, "key": f"{encoding}/1"})
        update = watcher.receive()
        outputs = DOUBLED if encoding == "json" else struct.pack("<4f", *DOUBLED)
        timings = update.pop("us")
        assert set(timings) == {"queue", "run", "total", "batch"}
        assert timings["total"] >= timings["run"] > 0
        assert timings["batch"] == 1
        assert update.pop("ts") > 1.7e9
        assert update == {
            "topic": f"double/{encoding}/1",
            "n": 1,
            "version": "1",
            "id": "x7",
            "outputs": {"y": outputs},
        }


def test_a_watcher_may_have_lists_in_messagepack(zoo: Server) -> None:
    with open_stream(zoo, f"{WATCH}?tensors=list", "msgpack") as watcher, open_stream(zoo, DOUBLE) as sensor:
        subscribe(watcher, "double/lists")
        sensor.ask({"data": ROW, "key": "lists"})
        assert watcher.receive()["outputs"] == {"y": DOUBLED}


@each_encoding
@pytest.mark.parametrize("sent_as", ENCODINGS)
def test_inputs_come_where_they_are_asked_for(zoo: Server, encoding: str, sent_as: str) -> None:
    data = ROW if sent_as == "json" else struct.pack("<4f", *ROW)
    with open_stream(zoo, WATCH, encoding) as watcher, open_stream(zoo, DOUBLE, sent_as) as sensor:
        subscribe(watcher, "double/inputs", inputs=True)
        sensor.ask({"data": data, "key": "inputs"})
        update = watcher.receive()
        if encoding == "json":
            assert (update["inputs"], update["outputs"]) == ({"x": ROW}, {"y": DOUBLED})
        else:
            assert update["inputs"] == {"x": struct.pack("<4f", *ROW)}
            assert update["outputs"] == {"y": struct.pack("<4f", *DOUBLED)}


def test_a_window_is_shown_whole(zoo: Server) -> None:
    with open_stream(zoo, WATCH) as watcher, open_stream(zoo, "/v1/models/moving/stream?key=w") as sensor:
        subscribe(watcher, "moving/w", inputs=True)
        samples = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
        sensor.ask({"data": samples})
        update = watcher.receive()
        assert (update["inputs"], update["outputs"]) == ({"x": samples}, {"y": [9.0, 12.0]})


def test_what_streams_answered_before_anybody_watched_is_the_snapshot(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as sensor:
        for key in ("snap-a", "snap-b"):
            sensor.ask({"data": ROW, "key": key})
        sensor.ask({"id": 5, "data": [0, 0, 0, 0], "key": "snap-b"})
        with open_stream(zoo, WATCH) as watcher:
            subscribe(watcher, "*/snap-*")
            seen = {update["topic"]: update for update in receive_each(watcher)}
        assert {topic: update["outputs"]["y"] for topic, update in seen.items()} == {
            "double/snap-a": DOUBLED,
            "double/snap-b": [0, 0, 0, 0],
        }
        assert seen["double/snap-b"]["id"] == 5
        assert all(update["n"] == 0 and "us" not in update for update in seen.values())


def test_a_socket_without_keys_is_known_by_its_session(zoo: Server) -> None:
    with open_stream(zoo, WATCH) as watcher:
        subscribe(watcher, "double/~*")
        with open_stream(zoo, DOUBLE, announced=True) as sensor:
            session = sensor.receive()["session"]
            sensor.ask({"data": ROW})
            assert watcher.receive()["topic"] == f"double/~{session}"
        ended = watcher.receive()
        assert (ended["topic"], ended["ended"]) == (f"double/~{session}", True)


def test_clients_that_want_no_answers_are_seen_all_the_same(zoo: Server) -> None:
    with open_stream(zoo, WATCH) as watcher, open_stream(zoo, f"{DOUBLE}?reply=none&key=quiet") as sensor:
        subscribe(watcher, "double/quiet")
        sensor.send({"data": ROW})
        assert watcher.receive()["outputs"] == {"y": DOUBLED}


def test_predictions_over_http_are_seen(zoo: Server) -> None:
    with open_stream(zoo, WATCH) as watcher:
        subscribe(watcher, "double/*")
        post(zoo, "/v1/models/double/predict", {"data": ROW, "key": "http-1"})
        assert receive_of(watcher, "double/http-1")["outputs"] == {"y": DOUBLED}
        post(zoo, "/v1/models/double/predict", {"data": ROW})
        assert receive_of(watcher, "double/~http")["outputs"] == {"y": DOUBLED}


def test_updates_are_the_latest_of_each_topic_and_count_what_they_skip(zoo: Server) -> None:
    with open_stream(zoo, WATCH) as watcher, open_stream(zoo, f"{DOUBLE}?key=fast") as sensor:
        subscribe(watcher, "double/fast", hz=2)
        for number in range(200):
            sensor.send({"id": number, "data": [number] * 4})
        updates = [watcher.receive()]
        while updates[-1]["id"] != 199:
            updates.append(watcher.receive())
        assert len(updates) <= 3
        assert all(update["n"] == update["id"] + 1 for update in updates)
        assert updates[-1]["outputs"] == {"y": [398.0] * 4}


def test_a_watcher_unsubscribes(zoo: Server) -> None:
    with open_stream(zoo, WATCH) as watcher, open_stream(zoo, DOUBLE) as sensor:
        subscribe(watcher, "double/un-a", "double/un-b", hz=60)
        watcher.send({"op": "unsubscribe", "topics": ["double/un-a"]})
        assert watcher.receive() == {"op": "unsubscribed", "topics": ["double/un-a"]}
        for key in ("un-a", "un-b"):
            sensor.ask({"data": ROW, "key": key})
        assert watcher.receive()["topic"] == "double/un-b"


def test_a_subscription_in_a_list_and_a_ping_are_answered_in_order(zoo: Server) -> None:
    with open_stream(zoo, WATCH) as watcher:
        watcher.send([{"op": "subscribe", "topics": ["a/b"]}, {"op": "ping", "t": 7}, {"op": "auth", "token": "x"}])
        assert watcher.receive()["op"] == "subscribed"
        assert watcher.receive() == {"op": "pong", "t": 7}


@each_encoding
@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (
            {"op": "subscribe", "topics": ["double"]},
            "topics[0]: expected {model}/{key}, $stats or $alerts, got 'double'",
        ),
        ({"op": "subscribe", "topics": ["a/b", "$x"]}, "topics[1]: expected {model}/{key}"),
        ({"op": "subscribe", "topics": []}, "topics: expected array of length >= 1"),
        ({"op": "subscribe", "topics": ["a/b"] * 65}, "topics: expected array of length <= 64"),
        ({"op": "subscribe", "topics": ["a/" + "b" * 511]}, "topics[0]: expected str of length <= 512"),
        ({"op": "subscribe", "topics": [3]}, "topics[0]: expected str, got int"),
        ({"op": "subscribe", "topics": "a/b"}, "topics: expected array, got str"),
        ({"op": "subscribe"}, "topics: missing"),
        ({"op": "subscribe", "topics": ["a/b"], "hz": 1e9}, "hz: expected float <= 60.0"),
        ({"op": "subscribe", "topics": ["a/b"], "hz": 0}, "hz: expected float >= 0.1"),
        ({"op": "subscribe", "topics": ["a/b"], "hz": "often"}, "hz: expected float, got str"),
        ({"op": "subscribe", "topics": ["a/b"], "inputs": 1}, "inputs: expected bool, got int"),
        ({"op": "subscribe", "topics": ["a/b"], "speed": 1}, "speed: unknown field"),
        ({"op": "unsubscribe", "topics": ["a/b"]}, "topics[0]: 'a/b' is not subscribed"),
        ({"op": "publish", "topics": ["a/b"]}, "op: expected one of subscribe, unsubscribe, auth, ping"),
        ({"data": ROW}, "op: missing"),
        ("subscribe", "expected object, got str"),
    ],
)
def test_bad_orders_are_refused_by_name(zoo: Server, encoding: str, message: Any, complaint: str) -> None:
    with open_stream(zoo, WATCH, encoding) as watcher:
        watcher.send(message)
        error = watcher.receive()["error"]
        assert error["message"].startswith(complaint)
        assert (error["code"], error["retryable"]) == ("invalid_message", False)
        subscribe(watcher, "double/still-here")


def test_many_watchers_have_as_many_patterns_as_are_allowed_and_no_more(zoo: Server) -> None:
    with open_stream(zoo, WATCH) as watcher:
        subscribe(watcher, *(f"double/{n}" for n in range(64)))
        watcher.send({"op": "subscribe", "topics": ["double/64"]})
        assert watcher.receive()["error"]["message"] == "topics: a watcher may have 64 patterns, it has 64 already"
