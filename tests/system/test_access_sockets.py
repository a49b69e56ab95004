"""Credentials on the sockets of a live server: how they come, what they allow, and how they end."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.conformance.frames import Opcode, close_frame, frame
from tests.pipeline.jwt_parts import jwk, jwks

from .access_parts import EVENT, PREDICT, Keys, ask, closed, receive, socket
from .client import Http
from .process import Server, running_server, until
from .raw import Wire, connection_to, read_head


def test_a_socket_opens_with_a_header_or_a_subprotocol(server: Server, keys: Keys) -> None:
    text = keys.texts["adder"]
    with socket(server, "/v1/models/add/stream", headers=keys.bearer("adder")) as connection:
        connection.send(EVENT)
        assert "outputs" in receive(connection)
    with socket(server, "/v1/models/add/stream", protocols=["waterspout.v1.json", f"bearer.{text}"]) as connection:
        assert connection.subprotocol == "waterspout.v1.json"
        assert receive(connection)["op"] == "welcome"
        connection.send(EVENT)
        assert "outputs" in receive(connection)


@pytest.mark.parametrize(
    ("name", "path", "status"),
    [
        ("nobody", "/v1/models/add/stream", 403),
        ("adder", "/v1/models/norm/stream", 403),
        ("adder", "/v1/models/absent/stream", 403),
        ("all", "/v1/models/absent/stream", 404),
    ],
)
def test_a_socket_for_another_model_is_refused_before_the_upgrade(
    server: Server, keys: Keys, name: str, path: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        socket(server, path, headers=keys.bearer(name))
    assert caught.value.response.status_code == status


def test_a_socket_may_say_who_it_is_with_its_first_message(server: Server, keys: Keys) -> None:
    with socket(server, "/v1/models/add/stream", protocols=["waterspout.v1.json"]) as connection:
        connection.send(json.dumps({"op": "auth", "token": keys.texts["adder"]}))
        for number in range(3):  # what comes before the credential is checked has to wait
            connection.send(json.dumps({"id": number, "data": [1, 2, 3, 4]}))
        assert receive(connection) == {"op": "authenticated", "name": "adder"}
        assert receive(connection)["op"] == "welcome"
        assert [receive(connection)["id"] for _ in range(3)] == [0, 1, 2]


def test_the_closing_handshake_of_a_guest_who_is_refused_is_finished(server: Server) -> None:
    with Wire(server, "/v1/stream") as guest:
        guest.send(frame(Opcode.TEXT, b'{"op": "auth", "token": "wrong"}'))
        assert guest.close_code() == 4500
        guest.send(close_frame(4500))
        with pytest.raises(EOFError):  # and not a `ConnectionResetError`, of one that was cut with that unread
            guest.receive()


@pytest.mark.parametrize(
    "first",
    [
        '{"op": "auth", "token": "wrong"}',
        '{"op": "auth"}',
        EVENT,
        "nonsense",
        '{"op": "ping"}',
        '[{"op": "auth", "token": "x"}, {"data": 1}]',
        '{"op": "auth", "token": "' + "x" * 20_000 + '"}',
    ],
)
def test_a_guest_who_says_anything_else_is_sent_away(server: Server, first: str) -> None:
    for path in ("/v1/models/add/stream", "/v1/stream", "/v1/watch"):
        with socket(server, path) as connection:
            connection.send(first)
            assert receive(connection)["error"]["code"] == "unauthenticated"
            assert closed(connection) == 4500


def test_a_guest_who_says_nothing_is_sent_away_after_5_seconds(server: Server) -> None:
    with socket(server, "/v1/stream") as silent, socket(server, "/v1/watch", protocols=["waterspout.v1.json"]) as other:
        for connection in (silent, other):
            message = receive(connection)
            assert message["error"]["message"] == "no credential came within 5 s"
            assert closed(connection) == 4500


def test_a_guest_learns_after_the_upgrade_that_a_model_is_not_his(server: Server, keys: Keys) -> None:
    for name, path, code in (
        ("nobody", "/v1/models/add/stream", "forbidden"),
        ("nobody", "/v1/models/absent/stream", "forbidden"),
        ("all", "/v1/models/absent/stream", "unknown_model"),
    ):
        with socket(server, path) as connection:
            connection.send(json.dumps({"op": "auth", "token": keys.texts[name]}))
            assert receive(connection)["op"] == "authenticated"
            assert receive(connection)["error"]["code"] == code
            assert closed(connection) == 4503


def test_each_event_of_a_multiplexed_socket_is_held_to_the_scopes(server: Server, keys: Keys) -> None:
    with socket(server, "/v1/stream", headers=keys.bearer("adder")) as connection:
        for model, key in (("add", None), ("norm", None), ("add", "k"), ("norm", "k"), ("absent", None), ("add", None)):
            connection.send(json.dumps({"model": model, "data": [1, 2, 3, 4], **({"key": key} if key else {})}))
            answer = receive(connection)
            if model == "add":
                assert "outputs" in answer
            else:
                assert answer["error"]["code"] == "forbidden"


def test_topics_are_held_to_the_scopes(server: Server, keys: Keys) -> None:
    with socket(server, "/v1/watch", headers=keys.bearer("adder")) as connection:
        for topics, allowed in (
            (["add/*"], True),
            (["add/k"], True),
            (["*"], False),
            (["*/k"], False),
            (["norm/k"], False),
            (["$stats"], False),
            (["$alerts"], False),
            (["add/1", "norm/1"], False),
        ):
            connection.send(json.dumps({"op": "subscribe", "topics": topics}))
            answer = receive(connection)
            assert (answer.get("op") == "subscribed") == allowed, topics
            assert allowed or answer["error"]["code"] == "forbidden"
    assert ask(server, "GET", "/v1/watch/sse?topics=norm/1", keys.bearer("adder")).status == 403


def test_a_ticket_opens_one_socket(server: Server, keys: Keys) -> None:
    reply = ask(server, "POST", "/v1/tickets", keys.bearer("adder"))
    assert reply.headers["Cache-Control"] == "no-store"
    ticket = reply.json["ticket"]
    with socket(server, f"/v1/models/add/stream?ticket={ticket}") as connection:
        connection.send(EVENT)
        assert "outputs" in receive(connection)
    for path in (f"/v1/stream?ticket={ticket}", "/v1/stream?ticket=wst_" + "A" * 43, "/v1/stream?ticket="):
        with pytest.raises(InvalidStatus) as caught:
            socket(server, path)
        assert caught.value.response.status_code == 401
    again = ask(server, "POST", "/v1/tickets", keys.bearer("adder")).json["ticket"]
    assert ask(server, "POST", f"{PREDICT}?ticket={again}", body=EVENT).status == 401
    with pytest.raises(InvalidStatus) as caught:
        socket(server, f"/v1/models/norm/stream?ticket={again}")
    assert caught.value.response.status_code == 403


def test_a_token_in_the_query_is_refused_unless_switched_on(server: Server, keys: Keys, guarded_models: Path) -> None:
    path = f"/v1/models?access_token={keys.texts['all']}"
    assert ask(server, "GET", path).status == 401
    options = ("--models", str(guarded_models), "--api-keys", str(keys.file), "--query-tokens")
    with running_server(*options) as other:
        assert ask(other, "GET", path).status == 200
        with socket(other, f"/v1/models/add/stream?access_token={keys.texts['adder']}") as connection:
            connection.send(EVENT)
            assert "outputs" in receive(connection)
        assert keys.texts["all"] not in "".join(other.log)


def test_revoking_a_key_closes_its_sockets(server: Server, keys: Keys) -> None:
    text = keys.add("leaver", "predict:* watch:*")
    headers = {"Authorization": f"Bearer {text}"}
    until(lambda: ask(server, "GET", "/v1/models", headers).status == 200)
    ticket = ask(server, "POST", "/v1/tickets", headers).json["ticket"]
    unused = ask(server, "POST", "/v1/tickets", headers).json["ticket"]
    with (
        socket(server, "/v1/stream", headers=headers) as stream,
        socket(server, "/v1/watch", headers=headers) as watch,
        socket(server, f"/v1/stream?ticket={ticket}") as by_ticket,
        socket(server, "/v1/stream", headers=keys.bearer("all")) as other,
        Http(server) as http,
    ):
        http.connection.request("GET", "/v1/watch/sse?topics=add/*", headers=headers)
        events = http.connection.getresponse()
        keys.revoke(text)
        assert [closed(connection) for connection in (stream, watch, by_ticket)] == [4500, 4500, 4500]
        events.read()  # to its end
        other.send(json.dumps({"model": "add", "data": [1, 2, 3, 4]}))
        assert "outputs" in receive(other)
    assert ask(server, "GET", "/v1/models", headers).status == 401
    with pytest.raises(InvalidStatus):
        socket(server, f"/v1/stream?ticket={unused}")


def test_an_expired_key_closes_its_sockets(server: Server, keys: Keys) -> None:
    text = keys.add("brief", "predict:*", "--expires", "4s")
    headers = {"Authorization": f"Bearer {text}"}
    until(lambda: ask(server, "GET", "/v1/models", headers).status == 200)
    with socket(server, "/v1/stream", headers=headers) as connection:
        assert closed(connection) == 4500
    assert ask(server, "GET", "/v1/models", headers).status == 401


def test_a_credential_is_renewed_on_a_live_socket(server: Server, keys: Keys) -> None:
    with socket(server, "/v1/stream", headers=keys.bearer("adder")) as connection:
        event = json.dumps({"model": "norm", "data": [1, 2, 3, 4]})
        connection.send(event)
        assert receive(connection)["error"]["code"] == "forbidden"
        connection.send(json.dumps({"op": "auth", "token": keys.texts["all"]}))
        assert receive(connection) == {"op": "authenticated", "name": "all"}
        connection.send(event)
        assert "outputs" in receive(connection)
        connection.send(json.dumps({"op": "auth", "token": keys.texts["adder"]}))
        assert receive(connection)["op"] == "authenticated"
        assert receive(connection)["error"]["code"] == "forbidden"
        assert closed(connection) == 4503


def test_an_event_stream_that_nobody_reads_ends_with_its_key(zoo_models: Path, keys: Keys) -> None:
    arguments = ("--models", str(zoo_models), "--api-keys", str(keys.file), "--slow-consumer-seconds", "4")
    with running_server(*arguments) as other, connection_to(other, 65536) as stalled:
        text = keys.add_at(other, "stalled", "watch:*")
        request = f"GET /v1/watch/sse?topics=wide/*&hz=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {text}\r\n\r\n"
        stalled.sendall(request.encode())
        assert read_head(stalled).startswith(b"HTTP/1.1 200 ")
        with socket(other, "/v1/models/wide/stream", headers=keys.bearer("all")) as sensor:
            for number in range(60):
                sensor.send(json.dumps({"key": f"k{number}", "data": [0]}))
            for _ in range(60):
                receive(sensor)
        keys.revoke(text)
        path = "/v1/admin/sessions?identity=stalled"
        until(lambda: ask(other, "GET", path, keys.bearer("root")).json["total"] == 0, within=15.0)


@contextmanager
def jwks_that_hangs() -> Iterator[str]:
    """Serve a set of keys once, and then answer nobody."""
    served, over = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if served.is_set():
                over.wait()
                return
            served.set()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jwks(jwk("RS256", "a")))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        finally:
            over.set()
            server.shutdown()


def test_a_guest_is_not_read_while_his_credential_is_checked(zoo_models: Path) -> None:
    with jwks_that_hangs() as url:
        arguments = ("--models", str(zoo_models), "--jwt-jwks", url)
        with running_server(*arguments) as other, Wire(other, "/v1/stream") as guest:
            head = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"unknown"}').decode().rstrip("=")
            auth = json.dumps({"op": "auth", "token": f"{head}.e30.AAAA"})
            more = frame(Opcode.TEXT, bytes(1 << 16))  # which is more than a turn takes, at once
            guest.send(frame(Opcode.TEXT, auth.encode()) + more)
            guest.send_until_stuck(more)
