"""SIGTERM: what is in flight is answered, what is new is refused, and the process ends in time."""

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack
from typing import Final

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.conformance.frames import Opcode, frame

from .client import ENCODINGS, Http, open_stream, post
from .conftest import StartServer
from .metrics import Metrics
from .process import Server, until
from .raw import Wire, connection_to, read_head, read_to_end

SLOW: Final = "/v1/models/slow/stream"
PREDICT: Final = "/v1/models/slow/predict"
GOING_AWAY: Final = 1001
LONG: Final = 4000
"""Rounds of the slow model that take long enough for some messages to pass in the meantime."""

STUCK: Final = 200_000
"""Rounds that take far longer than any drain time here."""


def wait_until_running(server: Server, events: int) -> None:
    """Wait until so many events came and the first of them runs, so that fewer wait."""

    def is_running() -> bool:
        metrics = Metrics(server)
        return metrics("events_total") == events and metrics("queue_depth", model="slow") < events

    until(is_running)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_events_in_flight_are_answered_and_new_ones_are_refused(start_server: StartServer, encoding: str) -> None:
    server = start_server()
    with open_stream(server, SLOW + "?tensors=list", encoding, announced=True) as stream:
        stream.receive()
        stream.send([{"id": number, "data": LONG} for number in range(12)])
        wait_until_running(server, 12)
        server.terminate()
        goaway = stream.receive()
        assert (goaway["op"], set(goaway)) == ("goaway", {"op", "reason", "reconnect_in_ms"})
        assert stream.came_as == encoding
        refusal = stream.refusal({"id": "new", "data": 1})
        assert (refusal["code"], refusal["retryable"]) == ("shutting_down", True)
        assert [stream.receive() for _ in range(12)] == [
            {"id": number, "outputs": {"y": [float(LONG)]}} for number in range(12)
        ]
        assert stream.close_code() == GOING_AWAY
    assert server.wait() == 0


def test_idle_sockets_are_told_and_closed_at_once(start_server: StartServer) -> None:
    server = start_server("--drain-seconds", "60")
    with open_stream(server, SLOW) as stream, Wire(server, "/v1/echo") as echo:
        server.terminate()
        assert stream.receive()["op"] == "goaway"
        assert stream.close_code() == GOING_AWAY
        assert echo.close_code() == GOING_AWAY
        echo.send(frame(Opcode.CLOSE, GOING_AWAY.to_bytes(2)))
    assert server.wait() == 0


def test_a_draining_server_says_that_it_is_not_ready(start_server: StartServer) -> None:
    server = start_server()
    with Http(server) as http, open_stream(server, SLOW) as stream:
        assert http.request("GET", "/readyz").status == 200
        stream.send({"id": 1, "data": LONG})
        wait_until_running(server, 1)
        server.terminate()
        assert stream.receive()["op"] == "goaway"
        ready = http.request("GET", "/readyz")
        assert (ready.status, ready.json["ready"], ready.json["status"]) == (503, False, "draining")
        assert http.request("GET", "/healthz").status == 200
        refused = http.request("POST", PREDICT, '{"data": 1}')
        assert (refused.status, refused.error["code"], refused.error["retryable"]) == (503, "shutting_down", True)
        assert int(refused.headers["Retry-After"]) >= 1
        assert stream.receive()["id"] == 1
    assert server.wait() == 0


def test_a_draining_server_upgrades_no_more(start_server: StartServer) -> None:
    server = start_server()
    with Http(server) as http, open_stream(server, SLOW) as stream:
        http.request("GET", "/healthz")
        stream.send({"id": 1, "data": LONG})
        wait_until_running(server, 1)
        server.terminate()
        assert stream.receive()["op"] == "goaway"
        with pytest.raises((InvalidStatus, ConnectionError)), open_stream(server, SLOW):
            pass
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        refused = http.request("GET", SLOW, headers={**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        assert (refused.status, refused.error["code"]) == (503, "shutting_down")
        assert stream.receive()["id"] == 1


def test_many_sockets_are_not_sent_away_all_at_once(start_server: StartServer) -> None:
    sockets = 400  # which take 0.8 s
    server = start_server("--drain-seconds", "30")
    told, closed = asyncio.run(leave(server, sockets))
    assert server.wait() == 0
    assert len(told) == len(closed) == sockets
    for moments in (told, closed):
        assert max(moments) - min(moments) > 0.5
        assert max(sum(start <= at < start + 0.1 for at in moments) for start in moments) < sockets / 3
    assert all(at < end for at, end in zip(told, closed, strict=True))


async def leave(server: Server, sockets: int) -> tuple[list[float], list[float]]:
    """Open sockets, end the server, and return when each of them was told, and when it was closed."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(connect(server.ws + SLOW, compression=None, proxy=None))
            for _ in range(sockets)
        ]

        async def follow(socket: ClientConnection) -> tuple[float, float]:
            assert json.loads(await socket.recv())["op"] == "goaway"
            told = loop.time()
            await socket.wait_closed()
            assert socket.close_code == GOING_AWAY
            return told, loop.time()

        followers = [asyncio.create_task(follow(socket)) for socket in opened]
        server.terminate()
        moments = await asyncio.gather(*followers)
    return [told for told, _ in moments], [closed for _, closed in moments]


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/event-stream"])
def test_requests_in_flight_are_answered(start_server: StartServer, accept: str) -> None:
    server = start_server()
    body = json.dumps([{"id": number, "data": LONG} for number in range(12)])
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n"
    with open_stream(server, SLOW) as witness, connection_to(server) as connection:
        connection.sendall(head.encode() + body.encode())
        until(lambda: Metrics(server)("queue_depth", model="slow") == 4)  # eight of twelve run
        server.terminate()
        assert witness.receive()["op"] == "goaway"
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")
        assert read_to_end(connection).count(b'"outputs"') == 12
    assert server.wait() == 0


def test_a_client_that_neither_reads_nor_finishes_its_close_is_cut(start_server: StartServer) -> None:
    server = start_server()
    with Wire(server, "/v1/echo", 65536) as client:
        client.send_until_stuck(frame(Opcode.BINARY, bytes(60_000)))
        server.terminate()
        assert server.wait(5) == 0


def test_a_run_that_is_stuck_is_not_waited_for(start_server: StartServer) -> None:
    server = start_server("--drain-seconds", "0.5", exit_code=1)  # for an event went unanswered
    with open_stream(server, SLOW) as stream:
        stream.send({"id": 1, "data": STUCK})
        wait_until_running(server, 1)
        server.terminate()
        started = time.monotonic()
        assert server.wait() == 1
        assert time.monotonic() - started < 3


def test_a_second_signal_ends_the_process_at_once(start_server: StartServer) -> None:
    server = start_server("--drain-seconds", "60", exit_code=1)
    with open_stream(server, SLOW) as stream:
        stream.send({"id": 1, "data": STUCK})
        wait_until_running(server, 1)
        server.terminate()
        assert stream.receive()["op"] == "goaway"
        server.process.send_signal(signal.SIGINT)
        assert server.wait(3) == 1


def test_ctrl_c_ends_the_server_as_sigterm_does(start_server: StartServer) -> None:
    server = start_server()
    assert post(server, PREDICT, {"data": 1}).status == 200
    server.process.send_signal(signal.SIGINT)
    assert server.wait() == 0
