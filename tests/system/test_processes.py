"""Several server processes on one port, as an operator meets them: one dies, all end, their numbers add up."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

import psutil
import pytest

from tests.certificates import Certificate

from .client import Http, Reply, Stream, get, open_stream, post
from .conftest import StartServer
from .metrics import Metrics
from .process import Server, run_to_end, until
from .test_drain import GOING_AWAY, LONG, SLOW, STUCK

DOUBLE: Final = "/v1/models/double/stream"
PREDICT: Final = "/v1/models/double/predict"
ROW: Final = [1, 2, 3, 4]
MANY: Final = 64
"""Sockets that are opened at most to reach each process; that all of them reach the same one is a matter of luck."""

WITHIN: Final = 20.0  # seconds for a process to come back: it starts like any server


def processes_of(server: Server) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(server.process.pid).children()
    return children


def all_ready(server: Server, count: int = 2) -> bool:
    return Metrics(server)("processes", state="ready") == count


def process_behind(stream: Stream) -> str:
    """Return what the sessions of one process have in common."""
    prefix: str = stream.receive()["session"].partition("-")[0]
    return prefix


@contextmanager
def streams_to_each(server: Server, path: str, count: int = 2) -> Iterator[dict[str, Stream]]:
    """Open streams until each process has one; give one of each."""
    with ExitStack() as stack:
        found: dict[str, Stream] = {}
        for _ in range(MANY):
            stream = stack.enter_context(open_stream(server, path, announced=True))
            found.setdefault(process_behind(stream), stream)
            if len(found) == count:
                break
        assert len(found) == count
        yield found


@pytest.fixture
def two(start_server: StartServer) -> Server:
    """Give two processes."""
    return start_server("--processes", "2")


def test_two_processes_answer_on_one_port(two: Server) -> None:
    assert len(processes_of(two)) == 2
    with streams_to_each(two, DOUBLE + "?tensors=list") as streams:
        for stream in streams.values():
            assert stream.ask({"id": 1, "data": ROW})["outputs"] == {"y": [2.0, 4.0, 6.0, 8.0]}
    assert get(two, "/readyz").json["ready"]


def test_one_process_has_no_parent(start_server: StartServer) -> None:
    server = start_server("--processes", "1")
    assert processes_of(server) == []
    assert "waterspout_processes" not in Metrics(server).families


def test_they_share_the_cores_and_their_log_tells_them_apart(start_server: StartServer) -> None:
    cores = len(os.sched_getaffinity(0))
    server = start_server("--processes", "3", env={"WATERSPOUT_MAX_KEY": "1"})
    for number in (1, 2, 3):
        threads = f"local_models[{number}]: {cores} cores, {max(1, cores // 3)} inference threads"
        assert server.log.count(threads) == 1
        assert server.log.count(f"process {number} is ready") == 1
    assert server.log.count("WATERSPOUT_MAX_KEY: no such setting") == 1
    assert "SEAT" not in server.log


def test_they_serve_tls_on_the_port_that_was_asked_for(start_server: StartServer, certificate: Certificate) -> None:
    server = start_server("--processes", "2", *certificate.arguments, tls=certificate.trusted())
    assert server.scheme == "https"
    assert post(server, PREDICT, {"data": ROW}).status == 200


def test_their_metrics_add_up_to_all_that_was_sent(two: Server) -> None:
    with streams_to_each(two, DOUBLE) as streams:
        opened = Metrics(two)("sockets_opened_total")
        for count, stream in zip((30, 12), streams.values(), strict=True):
            for _ in range(count):
                stream.ask({"data": ROW})
            stream.ask({"data": [1]})
        for _ in range(8):
            post(two, PREDICT, [{"data": ROW}] * 5)
        for accept in ("", "application/openmetrics-text; version=1.0.0"):
            for _ in range(8):  # whoever is asked
                reply = get(two, "/metrics", {"Accept": accept})
                assert reply.status == 200
                assert b'predictions_total{model="double",version="1"} 82.0' in reply.body
                assert reply.headers.get_content_type() == (accept.partition(";")[0] or "text/plain")
        metrics = Metrics(two)
        assert metrics("sockets") == metrics("sockets_opened_total") == opened
        assert metrics("events_total") == 84
        assert metrics("errors_total", code="invalid_input") == 2
        assert metrics("end_to_end_seconds_count", model="double") == 82
        assert metrics("batch_rows_sum", model="double") == 82
        assert metrics("processes", state="ready") == 2
        assert metrics("process_restarts_total") == 0
    until(lambda: Metrics(two)("sockets") == 0)
    assert Metrics(two)("events_total") == 84


def test_one_that_is_killed_comes_back_and_the_port_serves_throughout(start_server: StartServer) -> None:
    server = start_server("--processes", "2", allowed=r"was ended by signal 9")
    for _ in range(10):
        post(server, PREDICT, {"data": ROW})
    assert Metrics(server)("events_total") == 10
    victim, other = processes_of(server)
    victim.kill()
    psutil.wait_procs([victim], 5)

    served = 10

    def serves_and_is_whole() -> bool:
        nonlocal served
        assert post(server, PREDICT, {"data": ROW}).status == 200
        served += 1
        assert Metrics(server)("events_total") == served  # what the dead one told is not forgotten
        return all_ready(server)

    until(serves_and_is_whole, WITHIN)
    assert Metrics(server)("process_restarts_total") == 1
    before, after = {victim, other}, set(processes_of(server))
    assert len(after) == 2
    assert after & before == {other}
    with streams_to_each(server, DOUBLE):
        pass


def test_one_that_is_ended_alone_loses_no_count_and_comes_back(start_server: StartServer) -> None:
    server = start_server("--processes", "2", allowed="exited with code 0")
    with streams_to_each(server, DOUBLE) as streams:
        for stream in streams.values():
            stream.ask({"data": ROW})
        victim = processes_of(server)[0]
        victim.terminate()
        until(lambda: "exited with code 0" in server.log)
        assert Metrics(server)("predictions_total", model="double") == 2
    until(lambda: all_ready(server), WITHIN)


def test_one_that_hangs_is_told_and_its_counts_stay(two: Server) -> None:
    with streams_to_each(two, DOUBLE) as streams, ExitStack() as stack:
        clients = [stack.enter_context(Http(two)) for _ in range(MANY)]
        for client in clients:
            client.request("GET", "/healthz")
        for stream in streams.values():
            stream.ask({"data": ROW})
        before = Metrics(two)
        stopped = processes_of(two)[0]
        stopped.suspend()
        try:
            metrics = Metrics(first_answer(clients, "/metrics"))
            assert metrics("processes", state="ready") == metrics("processes", state="silent") == 1
            assert metrics("events_total") == metrics("predictions_total", model="double") == 2
            assert metrics("sockets_opened_total") == before("sockets_opened_total")
            assert 0 < metrics("sockets") < before("sockets")
        finally:
            stopped.resume()
        until(lambda: all_ready(two))
        assert Metrics(two)("sockets") == before("sockets")


def first_answer(clients: list[Http], path: str) -> Reply:
    """Return the answer of a process that is not stopped; the others do not answer."""
    for client in clients:
        client.connection.sock.settimeout(2.0)
        with suppress(TimeoutError):
            return client.request("GET", path)
    raise AssertionError("all are silent")


def test_sigterm_drains_all(two: Server) -> None:
    with streams_to_each(two, SLOW + "?tensors=list") as streams:
        for stream in streams.values():
            stream.send([{"id": number, "data": LONG} for number in range(4)])
        until(lambda: Metrics(two)("events_total") == 8)
        two.terminate()
        for stream in streams.values():
            answers = {stream.receive().get("id", "goaway") for _ in range(5)}
            assert answers == {0, 1, 2, 3, "goaway"}
            assert stream.close_code() == GOING_AWAY
    assert two.wait() == 0


def test_sigterm_to_the_whole_group_drains_too(two: Server) -> None:
    with streams_to_each(two, DOUBLE) as streams:
        for process in (*processes_of(two), psutil.Process(two.process.pid)):  # as systemd does it
            process.terminate()
        for stream in streams.values():
            assert stream.receive()["op"] == "goaway"
            assert stream.close_code() == GOING_AWAY
    assert two.wait() == 0


def test_a_second_signal_ends_all_at_once(start_server: StartServer) -> None:
    server = start_server("--processes", "2", "--drain-seconds", "60", exit_code=1)
    processes = processes_of(server)
    with streams_to_each(server, SLOW) as streams:
        for stream in streams.values():
            stream.send({"id": 1, "data": STUCK})
        until(lambda: Metrics(server)("events_total") == 2)
        server.terminate()
        for stream in streams.values():
            assert stream.receive()["op"] == "goaway"
        server.process.send_signal(signal.SIGINT)
        assert server.wait(3) == 1
    assert not any(process.is_running() for process in processes)


def test_a_parent_that_is_killed_leaves_no_process(start_server: StartServer) -> None:
    server = start_server("--processes", "2", exit_code=-signal.SIGKILL)
    processes = processes_of(server)
    with streams_to_each(server, SLOW + "?tensors=list") as streams:
        for stream in streams.values():
            stream.send({"id": 1, "data": LONG})
        until(lambda: Metrics(server)("events_total") == 2)
        server.process.kill()
        for stream in streams.values():  # which drain as ever
            assert {stream.receive().get("id", "goaway") for _ in range(2)} == {1, "goaway"}
            assert stream.close_code() == GOING_AWAY
    psutil.wait_procs(processes, 10)
    assert not any(process.is_running() for process in processes)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_is_wrong_is_told_once(processes: str) -> None:
    ended = run_to_end("--port", "0", "--processes", processes, "nowhere.onnx")
    assert (ended.returncode, ended.stdout) == (2, "")
    told = [line for line in ended.stderr.splitlines() if "nowhere.onnx" in line]
    assert told == ["server.py: model: nowhere.onnx is not a file"]


def test_a_port_in_use_is_refused(two: Server) -> None:
    port = str(two.address[1])
    for processes in ("1", "2"):
        ended = run_to_end("--port", port, "--processes", processes)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == f"server.py: cannot listen on 127.0.0.1:{port}: Address already in use\n"
