"""Predictions over HTTP: one event or a list, whole or as a stream of answers."""

import json
import struct
from typing import Any

import msgpack
import pytest

from .client import Http, Message, Reply, post
from .process import Server

PREDICT = "/v1/models/double/predict"
MOVING = "/v1/models/moving/predict"
ROW = [1, 2, 3, 4]
DOUBLED = [2.0, 4.0, 6.0, 8.0]
MSGPACK = {"Content-Type": "application/msgpack"}
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"


def lines(reply: Reply) -> list[Message]:
    """Return the messages of an ndjson or SSE body, which must be whole."""
    kind = reply.headers.get_content_type()
    text = reply.body.decode()
    if kind == NDJSON:
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]
    assert kind == SSE
    assert text.endswith("\n\n")
    blocks = text.removesuffix("\n\n").split("\n\n")
    assert all(block.startswith("data: ") for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_one_event_gets_one_answer_and_a_list_a_list(zoo: Server) -> None:
    assert post(zoo, PREDICT, {"id": 1, "data": ROW}).json == {"id": 1, "outputs": {"y": DOUBLED}}
    assert post(zoo, PREDICT, {"data": ROW, "key": "k"}).json == {"seq": 0, "key": "k", "outputs": {"y": DOUBLED}}
    answers = post(zoo, PREDICT, [{"id": 1, "data": ROW}, {"data": ROW}]).json
    assert answers == [{"id": 1, "outputs": {"y": DOUBLED}}, {"seq": 1, "outputs": {"y": DOUBLED}}]
    assert post(zoo, PREDICT, [{"id": 1, "data": ROW}]).json == [{"id": 1, "outputs": {"y": DOUBLED}}]


def test_a_list_may_have_errors_among_its_answers(zoo: Server) -> None:
    reply = post(zoo, PREDICT, [{"id": 1, "data": ROW}, {"id": 2, "data": [1]}, 3, {"id": 4, "data": ROW}])
    assert reply.status == 200
    assert ["outputs" in answer for answer in reply.json] == [True, False, False, True]
    assert [answer["error"]["code"] for answer in reply.json[1:3]] == ["invalid_input", "invalid_message"]


@pytest.mark.parametrize("size", [256, 257, 1024, 1025, 5000])
def test_a_long_list_is_predicted_whole_or_refused_whole(zoo: Server, size: int) -> None:
    reply = post(zoo, PREDICT, [{"id": number, "data": [number, 0, 0, 0]} for number in range(size)])
    if reply.status == 200:
        assert [answer.get("outputs") for answer in reply.json] == [{"y": [2.0 * n, 0, 0, 0]} for n in range(size)]
    else:
        assert (reply.status, reply.error["code"]) == (413, "too_large")


def test_every_message_of_a_request_is_answered_however_many_are_malformed(zoo: Server) -> None:
    reply = post(zoo, PREDICT, [{"dta": ROW}] * 150 + [{"id": "good", "data": ROW}])
    assert reply.status == 400 or len(reply.json) == 151


@pytest.mark.parametrize("policy", ["drop_oldest", "latest"])
def test_no_event_of_a_request_is_dropped_in_silence(zoo: Server, policy: str) -> None:
    events = [{"id": number, "data": 1} for number in range(300)]
    reply = post(zoo, f"/v1/models/slow/predict?overflow={policy}", events)
    assert reply.status == 400 or len(reply.json) == 300


def test_a_request_is_answered_in_its_own_encoding(zoo: Server) -> None:
    packed = struct.pack("<4f", *ROW)
    with Http(zoo) as http:
        for data in (packed, ROW):
            reply = http.request("POST", PREDICT, msgpack.packb({"id": 1, "data": data}), MSGPACK)
            assert (reply.status, reply.msgpack) == (200, {"id": 1, "outputs": {"y": struct.pack("<4f", *DOUBLED)}})
        reply = http.request("POST", PREDICT + "?tensors=list", msgpack.packb([{"data": packed}]), MSGPACK)
        assert reply.msgpack == [{"seq": 0, "outputs": {"y": DOUBLED}}]
        refused = http.request("POST", PREDICT, msgpack.packb({"id": 1, "data": [1]}), MSGPACK)
        assert (refused.status, refused.msgpack["error"]["code"]) == (400, "invalid_input")


@pytest.mark.parametrize("accept", [NDJSON, SSE])
def test_answers_are_streamed_on_request(zoo: Server, accept: str) -> None:
    events: list[Any] = [{"id": number, "data": ROW} for number in range(20)] + [{"id": "bad", "data": []}]
    reply = post(zoo, PREDICT, events, accept)
    assert reply.status == 200
    answers = {answer["id"]: answer for answer in lines(reply)}
    assert len(answers) == 21
    assert all(answers[number] == {"id": number, "outputs": {"y": DOUBLED}} for number in range(20))
    assert answers["bad"]["error"]["code"] == "invalid_input"


def test_each_streamed_answer_comes_as_soon_as_it_is_there(zoo: Server) -> None:
    events = [{"id": "quick", "data": 1}] * 8 + [{"id": "long", "data": 3000}]  # two batches
    body = json.dumps(events)
    with Http(zoo) as http:
        http.connection.request("POST", "/v1/models/slow/predict", body, {"Accept": NDJSON})
        response = http.connection.getresponse()
        assert {json.loads(response.readline())["id"] for _ in range(8)} == {"quick"}
        with Http(zoo) as other:
            metrics = other.request("GET", "/metrics").body.decode()
        assert 'waterspout_queue_depth{model="slow",version="1"} 0.0' in metrics
        assert json.loads(response.readline())["id"] == "long"
        assert response.read() == b""


def test_a_windowed_model_takes_a_chunk_that_fills_its_window(zoo: Server) -> None:
    assert post(zoo, MOVING, {"id": 1, "data": [[1, 10], [2, 20], [3, 30]]}).json == {
        "id": 1,
        "outputs": {"y": [6.0, 60.0]},
    }
    answers = post(zoo, MOVING, [{"id": number, "data": [number, 0]} for number in range(5)]).json
    assert answers == [{"id": last, "outputs": {"y": [3.0 * last - 3, 0.0]}} for last in (2, 3, 4)]


def test_windows_do_not_outlive_the_request(zoo: Server) -> None:
    for _ in range(3):
        reply = post(zoo, MOVING, {"data": [1, 1], "key": "k"})
        assert (reply.status, reply.error["code"]) == (400, "invalid_input")
        assert reply.error["message"].startswith("data: ")
