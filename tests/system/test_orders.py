"""Operators' orders to several processes on one port: whichever answers, all of them obey."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import psutil
import pytest

from .client import TIMEOUT, Http, Reply, Stream, get, open_stream, post
from .conftest import StartServer
from .metrics import Metrics
from .process import Server, until
from .test_drain import LONG, SLOW, STUCK
from .test_processes import DOUBLE, MANY, PREDICT, ROW, WITHIN, all_ready, processes_of, streams_to_each

SESSIONS: Final = "/v1/admin/sessions"
LEVEL: Final = "/v1/admin/log-level"
TURNS: Final = 12  # requests, of which each of two processes gets some
UNAVAILABLE: Final = 503
PATIENCE: Final = 20.0  # seconds; a drain takes up to `drain_seconds`


@pytest.fixture
def two(start_server: StartServer) -> Server:
    """Give two processes."""
    return start_server("--processes", "2")


def order(server: Server, method: str, path: str, body: Any = None) -> Reply:
    with Http(server) as http:
        http.connection.timeout = PATIENCE
        return http.request(method, path, None if body is None else json.dumps(body))


@contextmanager
def named_streams(server: Server, count: int) -> Iterator[dict[str, Stream]]:
    """Open streams until each of two processes has several; give all by the names of their sessions."""
    with ExitStack() as stack:
        streams: dict[str, Stream] = {}
        prefixes: list[str] = []
        for _ in range(MANY):
            stream = stack.enter_context(open_stream(server, DOUBLE, announced=True))
            session = stream.receive()["session"]
            streams[session] = stream
            prefixes.append(session.partition("-")[0])
            if len(set(prefixes)) == 2 and min(map(prefixes.count, prefixes)) >= count:
                break
        assert min(map(prefixes.count, prefixes)) >= count
        yield streams


def sessions_of(server: Server) -> dict[str, str]:
    """Return the processes of all sockets by their sessions."""
    told = get(server, SESSIONS).json
    assert told["total"] == len(told["sessions"])
    assert "silent" not in told
    return {info["session"]: info["process"] for info in told["sessions"]}


def test_whichever_answers_tells_of_the_sockets_of_all(two: Server) -> None:
    with named_streams(two, 2) as streams:
        for _ in range(TURNS):
            told = get(two, SESSIONS).json
            ages = [info["seconds"] for info in told["sessions"]]
            assert ages == sorted(ages, reverse=True), "the oldest first"
            assert {info["session"] for info in told["sessions"]} == streams.keys()
            assert told["total"] == len(streams)
        by_process: dict[str, set[str]] = {}
        for session, process in sessions_of(two).items():
            by_process.setdefault(process, set()).add(session.partition("-")[0])
        assert by_process.keys() == {"1", "2"}
        assert all(len(prefixes) == 1 for prefixes in by_process.values())
        few = get(two, f"{SESSIONS}?limit=3&identity=anonymous").json
        assert (len(few["sessions"]), few["total"]) == (3, len(streams))
        assert get(two, f"{SESSIONS}?identity=nobody").json == {"sessions": [], "total": 0}
    until(lambda: sessions_of(two) == {})


def test_whichever_answers_closes_a_socket_of_any(two: Server) -> None:
    with named_streams(two, 4) as streams:
        for session, stream in streams.items():
            assert order(two, "DELETE", f"{SESSIONS}/{session}").json == {"done": True}
            assert stream.close_code() == 4010
            gone = order(two, "DELETE", f"{SESSIONS}/nobody-1")
            assert (gone.status, gone.json["error"]["code"]) == (404, "unknown_session")


def test_a_drained_model_is_drained_everywhere(two: Server) -> None:
    with streams_to_each(two, DOUBLE + "?tensors=list") as streams:
        for _ in range(3):
            assert order(two, "POST", "/v1/admin/models/double/drain").json == {"done": True}
            for stream in streams.values():
                assert stream.refusal({"data": ROW})["code"] == "model_unavailable"
            assert {post(two, PREDICT, {"data": ROW}).status for _ in range(TURNS)} == {UNAVAILABLE}
            assert order(two, "POST", "/v1/admin/models/double/resume").json == {"done": True}
            for stream in streams.values():
                assert stream.ask({"data": ROW})["outputs"] == {"y": [2.0, 4.0, 6.0, 8.0]}
            assert {post(two, PREDICT, {"data": ROW}).status for _ in range(TURNS)} == {200}
    for verb in ("drain", "resume"):
        absent = order(two, "POST", f"/v1/admin/models/absent/{verb}")
        assert (absent.status, absent.json["error"]["code"]) == (404, "unknown_model")


def test_a_drain_is_answered_when_all_processes_have_answered_what_they_took(two: Server) -> None:
    with streams_to_each(two, SLOW + "?tensors=list") as streams:
        for stream in streams.values():
            stream.send([{"id": number, "data": LONG} for number in range(4)])
        until(lambda: Metrics(two)("events_total") == 8)
        assert order(two, "POST", "/v1/admin/models/slow/drain").json == {"done": True}
        assert sum(info.get("in_flight", 0) for info in get(two, SESSIONS).json["sessions"]) == 0
        for stream in streams.values():
            assert {stream.receive()["id"] for _ in range(4)} == {0, 1, 2, 3}


def test_a_drain_that_takes_too_long_says_so(start_server: StartServer) -> None:
    two = start_server("--processes", "2", "--drain-seconds", "1", exit_code=1)
    with open_stream(two, SLOW) as stream:
        stream.send({"id": 1, "data": STUCK})
        until(lambda: Metrics(two)("events_total") == 1)
        for _ in range(4):
            began = time.monotonic()
            assert order(two, "POST", "/v1/admin/models/slow/drain").json == {"done": True, "silent": 1}
            assert time.monotonic() - began < TIMEOUT


def test_a_process_that_comes_back_knows_what_is_drained(start_server: StartServer) -> None:
    two = start_server("--processes", "2", allowed=r"was ended by signal 9")
    assert order(two, "POST", "/v1/admin/models/double/drain").json == {"done": True}
    victim = processes_of(two)[0]
    victim.kill()
    psutil.wait_procs([victim], TIMEOUT)
    until(lambda: Metrics(two)("process_restarts_total") == 1 and all_ready(two), WITHIN)
    assert {post(two, PREDICT, {"data": ROW}).status for _ in range(TURNS)} == {UNAVAILABLE}
    assert order(two, "POST", "/v1/admin/models/double/resume").json == {"done": True}
    assert {post(two, PREDICT, {"data": ROW}).status for _ in range(TURNS)} == {200}


def test_the_log_level_is_set_everywhere(two: Server) -> None:
    for level in ("debug", "warning", "info"):
        assert order(two, "PUT", LEVEL, {"level": level}).json == {"level": level}
        assert {get(two, LEVEL).json["level"] for _ in range(TURNS)} == {level}
        for number in (1, 2):
            assert two.log.count(f"orders[{number}]: anonymous sets the log level to {level}") == 1


def test_a_process_that_hangs_is_told_and_the_rest_obeys_in_bounded_time(two: Server) -> None:
    with named_streams(two, 2) as streams, ExitStack() as stack:
        stopped, asked = processes_of(two)
        client = connection_to(two, asked, stack)
        stopped.suspend()
        try:
            began = time.monotonic()
            told = client.request("GET", SESSIONS).json
            mine = {info["session"] for info in told["sessions"]}
            assert (told["silent"], told["total"]) == (1, len(mine))
            assert 0 < len(mine) < len(streams)
            assert client.request("PUT", LEVEL, '{"level": "debug"}').json == {"level": "debug", "silent": 1}
            assert client.request("DELETE", f"{SESSIONS}/{min(mine)}").json == {"done": True, "silent": 1}
            theirs = min(streams.keys() - mine)
            refused = client.request("DELETE", f"{SESSIONS}/{theirs}")
            assert (refused.status, refused.error["code"]) == (UNAVAILABLE, "overloaded")
            assert "1 of the processes" in refused.error["message"]
            assert time.monotonic() - began < 4 * TIMEOUT
        finally:
            stopped.resume()
        assert streams[min(mine)].close_code() == 4010
        assert streams[theirs].close_code() == 4010, "it does what it was told as soon as it can"
        until(lambda: len(sessions_of(two)) == len(streams) - 2)
        assert {get(two, LEVEL).json["level"] for _ in range(TURNS)} == {"debug"}


def connection_to(server: Server, process: psutil.Process, stack: ExitStack) -> Http:
    """Return a kept-alive connection to one of the processes."""
    for _ in range(MANY):
        client = stack.enter_context(Http(server))
        client.request("GET", "/healthz")
        port = client.connection.sock.getsockname()[1]
        ends = psutil.net_connections("tcp")
        if any(end.pid == process.pid and end.raddr and end.raddr.port == port for end in ends):
            return client
    raise AssertionError("no connection has reached it")
