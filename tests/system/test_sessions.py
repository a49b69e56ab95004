"""What a session keeps: windows by key, the number of events in flight, and deadlines."""

import pytest

from .client import Stream, open_stream
from .conftest import StartServer
from .metrics import Metrics
from .process import Server, until

MOVING = "/v1/models/moving/stream"
SLOW = "/v1/models/slow/stream"

ROW = [1.0, 2.0, 3.0, 4.0]
DOUBLED = [2.0, 4.0, 6.0, 8.0]


def test_windows_of_two_models_under_the_same_key_are_apart(zoo: Server) -> None:
    with open_stream(zoo, "/v1/stream?key=k") as stream:
        stream.send([{"model": "moving", "data": [1, 1]}, {"model": "moving", "data": [1, 1]}])
        assert stream.ask({"model": "double", "data": ROW})["outputs"] == {"y": DOUBLED}
        assert stream.ask({"model": "moving", "data": [1, 1]})["outputs"] == {"y": [3.0, 3.0]}


def test_a_window_predicts_each_time_a_hop_completes(zoo: Server) -> None:
    with open_stream(zoo, MOVING) as stream:
        stream.send([{"id": 0, "data": [1, 10]}, {"id": 1, "data": [2, 20]}])
        assert stream.ask({"id": 2, "data": [3, 30]}) == {"id": 2, "outputs": {"y": [6.0, 60.0]}}
        assert stream.ask({"id": 3, "data": [4, 40]}) == {"id": 3, "outputs": {"y": [9.0, 90.0]}}
        stream.send({"id": 4, "data": [[5, 50], [6, 60]]})
        assert stream.receive() == {"id": 4, "outputs": {"y": [12.0, 120.0]}}
        assert stream.receive() == {"id": 4, "outputs": {"y": [15.0, 150.0]}}


def test_each_key_has_a_window_of_its_own(zoo: Server) -> None:
    with open_stream(zoo, MOVING) as stream:
        stream.send([{"key": key, "data": [scale, 0]} for _ in range(2) for key, scale in (("a", 1), ("b", 10))])
        assert stream.ask({"key": "a", "data": [1, 0]}) == {"seq": 4, "key": "a", "outputs": {"y": [3.0, 0.0]}}
        assert stream.ask({"key": "b", "data": [10, 0]}) == {"seq": 5, "key": "b", "outputs": {"y": [30.0, 0.0]}}


def test_windows_are_not_shared_by_sockets(zoo: Server) -> None:
    with open_stream(zoo, MOVING + "?key=k") as one, open_stream(zoo, MOVING + "?key=k") as other:
        for number in (1, 2):
            one.send({"data": [number, 0]})
            other.send({"data": [10 * number, 0]})
        assert one.ask({"data": [3, 0]})["outputs"] == {"y": [6.0, 0.0]}
        assert other.ask({"data": [30, 0]})["outputs"] == {"y": [60.0, 0.0]}


@pytest.mark.parametrize("key", [None, "a"])
def test_reset_forgets_one_window_and_no_other(zoo: Server, key: str | None) -> None:
    named = {} if key is None else {"key": key}
    with open_stream(zoo, MOVING) as stream:
        stream.send([{"data": [1, 1], **named}] * 2 + [{"data": [5, 5], "key": "other"}] * 2)
        stream.send({"op": "reset", **named})
        stream.send([{"data": [2, 2], **named}] * 2)
        assert stream.ask({"id": 1, "data": [2, 2], **named})["outputs"] == {"y": [6.0, 6.0]}
        assert stream.ask({"id": 2, "data": [5, 5], "key": "other"})["outputs"] == {"y": [15.0, 15.0]}


def test_reset_without_a_key_means_the_key_of_the_url(zoo: Server) -> None:
    with open_stream(zoo, MOVING + "?key=watch") as stream:
        stream.send([{"data": [1, 1]}, {"data": [1, 1]}, {"op": "reset"}, {"data": [2, 2]}])
        stream.send({"data": [2, 2], "key": "watch"})
        assert stream.ask({"data": [2, 2]})["outputs"] == {"y": [6.0, 6.0]}


def test_events_beyond_max_in_flight_are_refused_and_may_be_sent_again(zoo: Server) -> None:
    with open_stream(zoo, SLOW) as stream:
        stream.send([{"id": number, "data": 1} for number in range(300)])
        came = [stream.receive() for _ in range(300)]
        refusals = [message for message in came if "error" in message]
        assert sorted(message["id"] for message in refusals) == list(range(256, 300))
        assert {message["error"]["code"] for message in refusals} == {"overloaded"}
        assert all(message["error"]["retryable"] and message["error"]["retry_after_ms"] > 0 for message in refusals)
        assert stream.ask({"id": 300, "data": 1})["outputs"] == {"y": [1.0]}


def dropped_and_answered(stream: Stream, last: int) -> tuple[int, list[int]]:
    """Read up to the answer of the last event; return the count of the gaps and the ids of the answers."""
    dropped, answered = 0, list[int]()
    while last not in answered:
        message = stream.receive()
        if message.get("op") == "gap":
            assert message["why"] == "overflow"
            dropped += message["count"]
        else:
            answered.append(message["id"])
    return dropped, answered


def test_drop_oldest_counts_what_it_drops(zoo: Server) -> None:
    with open_stream(zoo, SLOW + "?overflow=drop_oldest") as stream:
        stream.send([{"id": number, "data": 1} for number in range(300)])
        dropped, answered = dropped_and_answered(stream, 299)
        assert (dropped, answered) == (44, list(range(44, 300)))


def test_latest_keeps_the_newest_event_of_a_key_only(zoo: Server) -> None:
    with open_stream(zoo, SLOW + "?overflow=latest") as stream:
        stream.send([{"id": number, "data": 1} for number in range(10)])
        assert dropped_and_answered(stream, 9) == (9, [9])


def test_an_event_past_its_deadline_fails_without_waiting_for_the_run_before_it(zoo: Server) -> None:
    with open_stream(zoo, SLOW) as stream:
        stream.send({"id": "long", "key": "a", "data": 3000})
        assert stream.until_pong("the first event runs now") == []
        stream.send({"id": "late", "key": "b", "data": 1, "timeout_ms": 1})
        late = stream.receive()
        assert late["id"] == "late"
        assert late["error"]["code"] == "deadline_exceeded"
        assert late["error"]["retryable"]
        assert stream.receive()["id"] == "long"


def test_keys_are_bounded_per_socket_and_per_server_and_come_back(start_server: StartServer) -> None:
    server = start_server("--max-keys-per-socket", "2", "--max-keys", "3")
    with open_stream(server, MOVING) as one:
        with open_stream(server, MOVING) as other:
            other.send([{"key": "a", "data": [1, 1]}, {"key": "b", "data": [1, 1]}])
            assert other.refusal({"key": "c", "data": [1, 1]})["code"] == "overloaded"
            one.send({"key": "a", "data": [1, 1]})
            refusal = one.refusal({"key": "b", "data": [1, 1]})
            assert (refusal["code"], refusal["retryable"], refusal["message"][:5]) == ("overloaded", True, "key: ")
            other.send({"op": "reset", "key": "a"})  # an empty window is worth nothing: its key is free
            other.send({"key": "c", "data": [1, 1]})
            assert other.until_pong("no error") == []
        until(lambda: Metrics(server)("sockets") == 1)
        one.send({"key": "b", "data": [1, 1]})  # the other's keys are free now
        assert one.until_pong("no error") == []


def test_a_key_that_is_silent_for_long_is_forgotten_and_its_client_told(start_server: StartServer) -> None:
    server = start_server("--key-idle-seconds", "0.3")
    with open_stream(server, MOVING) as stream:
        stream.send({"key": "a", "data": [[1, 1], [2, 2]]})
        assert stream.receive() == {"op": "gap", "key": "a", "count": 2, "why": "idle"}
        stream.send({"key": "a", "data": [[1, 1], [2, 2]]})
        assert stream.ask({"key": "a", "data": [3, 3]})["outputs"] == {"y": [6.0, 6.0]}
