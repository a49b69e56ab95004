"""Events in, predictions out, over both stream doors and in both encodings."""

import asyncio
import struct

import pytest
import tornado.httpclient
import tornado.websocket

from .client import ENCODINGS, TIMEOUT, open_stream, subprotocol
from .process import Server

DOUBLE = "/v1/models/double/stream"

ROW = [1.0, 2.0, 3.0, 4.0]
DOUBLED = [2.0, 4.0, 6.0, 8.0]

each_encoding = pytest.mark.parametrize("encoding", ENCODINGS)


def float32(*values: float) -> bytes:
    """Return little-endian bytes."""
    return struct.pack(f"<{len(values)}f", *values)


@each_encoding
def test_welcome_tells_limits_and_model(zoo: Server, encoding: str) -> None:
    with open_stream(zoo, DOUBLE, encoding, announced=True) as stream:
        assert stream.socket.subprotocol == subprotocol(encoding)
        welcome = stream.receive()
        assert stream.came_as == encoding
        assert welcome.pop("session")
        assert welcome == {
            "op": "welcome",
            "server": "waterspout",
            "limits": {"max_message_bytes": 1 << 20, "max_in_flight": 256},
            "model": {
                "name": "double",
                "version": "1",
                "state": "ready",
                "inputs": [{"name": "x", "dtype": "float32", "shape": [4]}],
                "outputs": [{"name": "y", "dtype": "float32", "shape": [4]}],
                "batching": {"max_batch_size": 256, "max_queue_size": 16384, "max_queue_delay_microseconds": 0},
            },
        }


def test_welcome_of_the_door_for_many_models_describes_all(zoo: Server) -> None:
    with open_stream(zoo, "/v1/stream", announced=True) as stream:
        welcome = stream.receive()
        assert "model" not in welcome
        names = [model["name"] for model in welcome["models"]]
        assert names == sorted(names)
        assert {"double", "sum", "moving", "slow"} <= set(names)


def test_each_socket_has_a_session_of_its_own(zoo: Server) -> None:
    sessions = set()
    for _ in range(3):
        with open_stream(zoo, DOUBLE, announced=True) as stream:
            sessions.add(stream.receive()["session"])
    assert len(sessions) == 3


def test_welcome_describes_the_window_and_labels_of_the_shipped_model(shipped: Server) -> None:
    with open_stream(shipped, "/v1/models/activity/stream", announced=True) as stream:
        model = stream.receive()["model"]
        assert model["window"] == {"length": 100, "hop": 10}
        assert model["labels"] == {"scores": ["badminton", "running", "standing", "walking"]}


@each_encoding
def test_answer_carries_the_id_else_the_number_of_the_event(zoo: Server, encoding: str) -> None:
    with open_stream(zoo, DOUBLE + "?tensors=list", encoding, announced=True) as stream:
        stream.receive()
        assert stream.ask({"data": ROW}) == {"seq": 0, "outputs": {"y": DOUBLED}}
        assert stream.ask({"id": 7, "data": ROW}) == {"id": 7, "outputs": {"y": DOUBLED}}
        assert stream.ask({"id": "seven", "data": ROW}) == {"id": "seven", "outputs": {"y": DOUBLED}}
        assert stream.ask({"data": ROW, "key": "k"}) == {"seq": 3, "key": "k", "outputs": {"y": DOUBLED}}
        assert stream.ask({"id": 0, "data": ROW})["id"] == 0
        assert stream.ask({"id": 2**63 - 1, "data": ROW})["id"] == 2**63 - 1
        assert stream.ask({"id": "", "data": ROW})["id"] == ""


def test_messagepack_takes_and_gives_bytes(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE, "msgpack") as stream:
        assert stream.ask({"data": float32(*ROW)})["outputs"] == {"y": float32(*DOUBLED)}
        assert stream.ask({"data": ROW})["outputs"] == {"y": float32(*DOUBLED)}
        assert stream.ask({"data": {"shape": [4], "data": float32(*ROW)}})["outputs"] == {"y": float32(*DOUBLED)}


@each_encoding
def test_tensors_may_come_as_a_map_by_name(zoo: Server, encoding: str) -> None:
    with open_stream(zoo, "/v1/models/sum/stream?tensors=list", encoding) as stream:
        answer = stream.ask({"id": 1, "data": {"a": [1, 2], "b": [10, 20]}})
        assert answer == {"id": 1, "outputs": {"total": [11.0, 22.0]}}


def test_without_a_subprotocol_each_answer_comes_as_its_event_came(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as stream:
        for encoding, outputs in [("json", DOUBLED), ("msgpack", float32(*DOUBLED)), ("json", DOUBLED)] * 2:
            assert stream.ask({"id": 1, "data": ROW}, encoding) == {"id": 1, "outputs": {"y": outputs}}
            assert stream.came_as == encoding
            assert stream.ask({"id": 1, "data": []}, encoding)["error"]["code"] == "invalid_input"
            assert stream.came_as == encoding


def test_encodings_mixed_in_one_burst_keep_their_answers(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as stream:
        kinds = ["json" if number % 3 else "msgpack" for number in range(60)]
        for number, encoding in enumerate(kinds):
            stream.send({"id": number, "data": ROW}, encoding)
        for number, encoding in enumerate(kinds):
            assert stream.receive()["id"] == number
            assert stream.came_as == encoding


def test_an_unknown_subprotocol_is_not_chosen(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE, "graphql", announced=True) as stream:
        assert stream.socket.subprotocol is None
        assert stream.ask({"data": ROW}, "json") == {"seq": 0, "outputs": {"y": DOUBLED}}


@each_encoding
def test_a_frame_may_hold_a_list_of_messages(zoo: Server, encoding: str) -> None:
    with open_stream(zoo, DOUBLE + "?tensors=list", encoding) as stream:
        stream.send([{"id": 1, "data": ROW}, {"op": "ping", "t": "in between"}, {"id": 2, "data": [0] * 4}])
        came = [stream.receive() for _ in range(3)]
        assert {"op": "pong", "t": "in between"} in came
        came.remove({"op": "pong", "t": "in between"})
        assert came == [{"id": 1, "outputs": {"y": DOUBLED}}, {"id": 2, "outputs": {"y": [0.0] * 4}}]


def test_a_bad_message_in_a_list_does_not_take_its_neighbours_with_it(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as stream:
        stream.send([{"id": 1, "data": ROW}, {"id": 2, "dta": ROW}, 3, {"id": 4, "data": ROW}])
        came = [stream.receive() for _ in range(4)]
        errors = [message for message in came if "error" in message]
        assert [error.get("id", error.get("seq")) for error in errors] == [2, 2]
        assert [message["id"] for message in came if "outputs" in message] == [1, 4]


def test_answers_of_a_socket_come_in_the_order_of_its_events(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as stream:
        for start in range(0, 1000, 200):
            for number in range(start, start + 200):
                stream.send({"id": number, "data": [number, 0, 0, 0]})
            for number in range(start, start + 200):
                assert stream.receive() == {"id": number, "outputs": {"y": [2.0 * number, 0, 0, 0]}}


def test_one_socket_serves_many_models(zoo: Server) -> None:
    with open_stream(zoo, "/v1/stream") as stream:
        assert stream.ask({"id": 1, "model": "double", "data": ROW})["outputs"] == {"y": DOUBLED}
        assert stream.ask({"id": 2, "model": "fragile", "data": 3})["outputs"] == {"value": 30.0}
        assert stream.ask({"id": 3, "model": "double", "version": 1, "data": ROW})["outputs"] == {"y": DOUBLED}
        assert stream.refusal({"id": 4, "data": ROW})["code"] == "invalid_message"
        unknown = stream.refusal({"id": 5, "model": "nowhere", "data": ROW})
        assert unknown["code"] == "unknown_model"
        assert unknown["message"].startswith("model: ")
        assert stream.refusal({"id": 6, "model": "double", "version": 9, "data": ROW})["code"] == "unknown_model"
        assert stream.ask({"id": 7, "model": "double", "data": ROW})["outputs"] == {"y": DOUBLED}


def test_a_socket_for_one_model_takes_its_name_and_no_other(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as stream:
        assert stream.ask({"data": ROW, "model": "double", "version": "1"})["outputs"] == {"y": DOUBLED}
        assert stream.refusal({"data": ROW, "model": "sum"})["message"].startswith("model: ")


def test_timings_are_there_when_asked_for(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE + "?timings=1") as stream:
        timings = stream.ask({"data": ROW})["us"]
        assert set(timings) == {"queue", "run", "batch"}
        assert timings["batch"] == 1
        assert 0 <= timings["queue"] < TIMEOUT * 1e6
        assert 0 <= timings["run"] < TIMEOUT * 1e6


def test_reply_none_keeps_quiet_but_for_errors(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE + "?reply=none") as stream:
        stream.send([{"id": number, "data": ROW} for number in range(50)])
        assert stream.refusal({"id": "bad", "data": [1]})["code"] == "invalid_input"
        assert stream.until_pong("done") == []


@pytest.mark.parametrize("mark", [None, 17, 1.5, "text", [1, [2]], {"a": {"b": None}}])
@each_encoding
def test_pong_brings_back_what_the_ping_carried(zoo: Server, encoding: str, mark: object) -> None:
    with open_stream(zoo, DOUBLE, encoding) as stream:
        assert stream.ask({"op": "ping", "t": mark}) == {"op": "pong", "t": mark}
        assert stream.came_as == encoding


def test_the_served_version_may_be_named(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE + "?version=1") as stream:
        assert stream.ask({"data": ROW})["outputs"] == {"y": DOUBLED}


@each_encoding
def test_the_wrong_kind_of_frame_is_refused_in_the_socket_s_encoding(zoo: Server, encoding: str) -> None:
    other = next(name for name in ENCODINGS if name != encoding)
    with open_stream(zoo, DOUBLE + "?tensors=list", encoding, announced=True) as stream:
        stream.receive()
        answer = stream.ask({"id": 1, "data": ROW}, other)
        assert stream.came_as == encoding
        assert answer["error"]["code"] == "invalid_message"
        assert subprotocol(encoding) in answer["error"]["message"]
        assert stream.ask({"id": 2, "data": ROW}) == {"id": 2, "outputs": {"y": DOUBLED}}


@pytest.mark.parametrize("offered", [[subprotocol("msgpack"), subprotocol("json")], ["mqtt", subprotocol("msgpack")]])
def test_tornado_s_client_gets_the_first_encoding_that_it_offers(zoo: Server, offered: list[str]) -> None:
    async def talk() -> None:
        request = tornado.httpclient.HTTPRequest(zoo.ws + DOUBLE, connect_timeout=TIMEOUT, request_timeout=TIMEOUT)
        client = await tornado.websocket.websocket_connect(request, subprotocols=offered)
        assert client.selected_subprotocol == subprotocol("msgpack")
        assert isinstance(await client.read_message(), bytes)  # the welcome
        client.close()

    asyncio.run(asyncio.wait_for(talk(), TIMEOUT))
