"""Limits and usage at a live server: who asks for too much is told when to come again, and nobody else feels it."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .access_parts import EVENT, PREDICT, Keys, ask, closed, receive, socket
from .client import TIMEOUT, Message
from .process import Server, running_server, until

INFER = "/v2/models/add/infer"
CONFIG = """
[limits_of.fast]
events_per_second = 5
burst_seconds = 1

[limits_of.crowd]
sockets = 2

[limits_of.opener]
new_sockets_per_second = 1
burst_seconds = 2

[limits_of.keyed]
keys = 3

[limits_of.watcher]
subscriptions = 2

[limits_of.pinger]
control_frames_per_second = 2
burst_seconds = 1

[limits_of.echoer]
events_per_second = 5
burst_seconds = 1

[limits_of.loud]
bytes_per_second = 1000
burst_seconds = 1

[limits_of.caller]
control_frames_per_second = 2
burst_seconds = 1

[limits_of.monthly]
events_per_month = 3
"""


def infer_body(rows: int) -> str:
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1.0] * (4 * rows)}
    return json.dumps({"inputs": [tensor]})


NAMES = [
    *("fast", "crowd", "opener", "keyed", "watcher", "pinger", "monthly"),
    *("free", "flood", "echoer", "loud", "caller"),
]


@pytest.fixture(scope="module")
def limited_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    keys = Keys(tmp_path_factory.mktemp("keys") / "keys.toml", {})
    for name in NAMES:
        keys.add(name, "predict:* watch:*")
    keys.add("root", "admin")
    return keys


@pytest.fixture(scope="module")
def limited(limited_keys: Keys, guarded_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("limits")
    config = folder / "waterspout.toml"
    config.write_text(
        f"models = '{guarded_models}'\napi_keys = '{limited_keys.file}'\nusage_db = '{folder / 'usage.db'}'\n{CONFIG}"
        "\n[limits_of.flood]\nevents_per_second = 1\nburst_seconds = 1\n"
    )
    with running_server("--config", str(config)) as server:
        yield server


def test_events_beyond_the_rate_are_refused_with_when_to_try_again(limited: Server, limited_keys: Keys) -> None:
    with socket(limited, "/v1/models/add/stream", headers=limited_keys.bearer("fast")) as connection:
        for number in range(8):
            connection.send(json.dumps({"id": number, "data": [1, 2, 3, 4]}))
        answers = {answer["id"]: answer for answer in (receive(connection) for _ in range(8))}
        refused = [answer["error"] for answer in answers.values() if "error" in answer]
        assert 1 <= len(refused) <= 3
        assert all(error["code"] == "rate_limited" and error["retryable"] for error in refused)
        assert "events_per_second: this identity may have 5" in refused[0]["message"]
        time.sleep(refused[-1]["retry_after_ms"] / 1000)  # the client does what it was told
        connection.send(json.dumps({"id": 8, "data": [1, 2, 3, 4]}))
        assert "outputs" in receive(connection)


def test_sockets_and_requests_of_an_identity_share_its_rate(limited: Server, limited_keys: Keys) -> None:
    def spent() -> bool:
        reply = ask(limited, "POST", PREDICT, limited_keys.bearer("fast"), EVENT)
        if reply.status == 200 and "error" in reply.json:
            assert reply.json["error"]["code"] == "rate_limited"
            return True
        return reply.status == 429

    until(spent)
    reply = ask(limited, "POST", INFER, limited_keys.bearer("fast"), infer_body(6))
    assert reply.status == 429
    assert int(reply.headers["Retry-After"]) >= 1
    assert ask(limited, "POST", PREDICT, limited_keys.bearer("free"), EVENT).status == 200


def test_sockets_are_counted_and_come_back_when_they_close(limited: Server, limited_keys: Keys) -> None:
    bearer = limited_keys.bearer("crowd")
    with socket(limited, "/v1/stream", headers=bearer), socket(limited, "/v1/watch", headers=bearer):
        with pytest.raises(InvalidStatus) as caught:
            socket(limited, "/v1/stream", headers=bearer)
        assert caught.value.response.status_code == 429
        assert "Retry-After" in caught.value.response.headers
        assert json.loads(caught.value.response.body or b"")["error"]["code"] == "rate_limited"
        assert ask(limited, "GET", "/v1/watch/sse?topics=add/1", bearer).status == 429
        with socket(limited, "/v1/stream") as guest:
            guest.send(json.dumps({"op": "auth", "token": limited_keys.texts["crowd"]}))
            assert receive(guest)["error"]["code"] == "rate_limited"
            assert closed(guest) == 4013

    def opens() -> bool:
        try:
            with socket(limited, "/v1/stream", headers=bearer):
                return True
        except InvalidStatus:
            return False

    until(opens)


def test_new_sockets_come_no_faster_than_allowed(limited: Server, limited_keys: Keys) -> None:
    refused = 0
    for _ in range(6):
        try:
            with socket(limited, "/v1/stream", headers=limited_keys.bearer("opener")):
                pass
        except InvalidStatus as error:
            refused += error.response.status_code == 429
    assert refused >= 2


def test_keys_of_all_sockets_are_bounded(limited: Server, limited_keys: Keys) -> None:
    bearer = limited_keys.bearer("keyed")

    def ask_key(connection: object, key: str) -> str:
        connection.send(json.dumps({"key": key, "data": [1, 2, 3, 4]}))  # type: ignore[attr-defined]
        answer = receive(connection)  # type: ignore[arg-type]
        return str(answer["error"]["code"]) if "error" in answer else "ok"

    with socket(limited, "/v1/models/add/stream", headers=bearer) as other:
        with socket(limited, "/v1/models/add/stream", headers=bearer) as one:
            assert [ask_key(one, "a"), ask_key(one, "b"), ask_key(other, "c")] == ["ok"] * 3
            assert [ask_key(one, "d"), ask_key(other, "d"), ask_key(one, "a")] == ["rate_limited", "rate_limited", "ok"]
        until(lambda: ask_key(other, "d") == "ok")  # the keys of a socket go with it


def test_what_is_watched_is_bounded(limited: Server, limited_keys: Keys) -> None:
    with socket(limited, "/v1/watch", headers=limited_keys.bearer("watcher")) as connection:

        def order(op: str, *topics: str) -> str:
            connection.send(json.dumps({"op": op, "topics": topics}))
            answer = receive(connection)
            return str(answer["op"] if "op" in answer else answer["error"]["code"])

        assert order("subscribe", "add/1", "add/2") == "subscribed"
        assert order("subscribe", "add/1") == "subscribed"  # it has that one
        assert order("subscribe", "add/3") == "rate_limited"
        assert ask(limited, "GET", "/v1/watch/sse?topics=add/3", limited_keys.bearer("watcher")).status == 429
        assert order("unsubscribe", "add/1") == "unsubscribed"
        assert order("subscribe", "add/3") == "subscribed"


def test_what_is_refused_for_another_reason_is_not_counted(limited: Server, limited_keys: Keys) -> None:
    with socket(limited, "/v1/watch", headers=limited_keys.bearer("watcher")) as connection:
        for topics, told in (
            (["bad"], "invalid_message"),
            (["add/1", "bad"], "invalid_message"),
            (["add/1", "add/2"], "subscribed"),
        ):
            connection.send(json.dumps({"op": "subscribe", "topics": topics}))
            answer = receive(connection)
            assert (answer["op"] if "op" in answer else answer["error"]["code"]) == told


def test_a_flood_of_pings_is_closed(limited: Server, limited_keys: Keys) -> None:
    with socket(limited, "/v1/stream", headers=limited_keys.bearer("pinger")) as connection:
        with contextlib.suppress(ConnectionClosed):  # before the last of them has left
            for _ in range(10):
                connection.ping()
        assert closed(connection) == 4013


@pytest.mark.parametrize("operation", [{"op": "ping"}, {"op": "reset"}, {"op": "auth", "token": ""}])
def test_operations_of_a_stream_are_bounded(limited: Server, limited_keys: Keys, operation: Message) -> None:
    token = {"token": limited_keys.texts["caller"]} if "token" in operation else {}
    with socket(limited, "/v1/stream", headers=limited_keys.bearer("caller")) as connection:
        connection.send(json.dumps([{**operation, **token}] * 50))
        connection.send(json.dumps({"id": "last", "data": [1, 2, 3, 4]}))
        codes = []
        while (answer := receive(connection)).get("id") != "last":
            if "error" in answer:
                assert "control_frames_per_second: this identity may have 2" in answer["error"]["message"]
                codes.append(answer["error"]["code"])
        assert codes.count("rate_limited") >= 45


def test_orders_of_a_watcher_are_bounded(limited: Server, limited_keys: Keys) -> None:
    with socket(limited, "/v1/watch", headers=limited_keys.bearer("caller")) as connection:
        for op in ("subscribe", "unsubscribe") * 4:
            connection.send(json.dumps([{"op": op, "topics": ["add/1"]}, {"op": "ping"}]))
        answers = [receive(connection) for _ in range(16)]
        refused = [answer["error"] for answer in answers if "error" in answer]
        assert len(refused) >= 11
        assert all(error["code"] == "rate_limited" and error["retry_after_ms"] > 0 for error in refused)


@pytest.mark.parametrize(("name", "limit"), [("echoer", "events_per_second"), ("loud", "bytes_per_second")])
def test_echoes_are_bounded(limited: Server, limited_keys: Keys, name: str, limit: str) -> None:
    with socket(limited, "/v1/echo", headers=limited_keys.bearer(name)) as connection:
        echoes = 0
        with contextlib.suppress(ConnectionClosed):
            for _ in range(20):
                connection.send(b"?" * 400)
        with contextlib.suppress(ConnectionClosed):
            while connection.recv(TIMEOUT):
                echoes += 1
        assert 1 <= echoes < 12
        assert connection.close_code == 4013
        assert str(connection.close_reason).startswith(limit)


def test_who_does_not_heed_refusals_is_closed(limited: Server, limited_keys: Keys) -> None:
    with socket(limited, "/v1/models/add/stream", headers=limited_keys.bearer("flood")) as connection:

        def is_closed() -> bool:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(20):
                    connection.send(EVENT)
                    receive(connection)
                return False
            return True

        until(is_closed, 30.0)
        assert closed(connection) == 4013


def test_a_month_s_events_are_bounded_and_counted(limited: Server, limited_keys: Keys) -> None:
    bearer, root = limited_keys.bearer("monthly"), limited_keys.bearer("root")
    with socket(limited, "/v1/models/add/stream", headers=bearer) as connection:
        for _ in range(3):
            connection.send(EVENT)
            assert "outputs" in receive(connection)
        connection.send(EVENT)
        error = receive(connection)["error"]
        assert "events_per_month: this identity may have 3" in error["message"]
        assert error["retry_after_ms"] > 1000
    (row,) = ask(limited, "GET", "/v1/usage", bearer).json["usage"]
    assert (row["identity"], row["model"]) == ("monthly", "add")
    assert (row["events"], row["predictions"], row["errors"]) == (3, 3, 0)
    assert row["bytes"] == 3 * len(EVENT)
    assert 0 < row["compute_seconds"] < 60
    assert ask(limited, "GET", "/v1/usage?identity=free", bearer).status == 403
    assert {row["identity"] for row in ask(limited, "GET", "/v1/usage", root).json["usage"]} >= {"monthly", "fast"}
    assert ask(limited, "GET", "/v1/usage?identity=monthly", root).json["usage"] == [row]
    assert ask(limited, "GET", "/v1/usage?until=2026-01-01T00:00:00Z", root).json == {"usage": [], "is_whole": True}
    for wrong in ("since=yesterday", "since=2026-11-21", "until=9999-99-99T00:00:00Z", "since=2999-01-01T00:00:00Z"):
        assert ask(limited, "GET", f"/v1/usage?{wrong}", root).status == 400


def test_usage_and_refusals_are_metrics(limited: Server, limited_keys: Keys) -> None:
    assert ask(limited, "POST", PREDICT, limited_keys.bearer("free"), EVENT).status == 200
    headers = limited_keys.bearer("root")
    ask(limited, "GET", "/v1/usage", headers)  # has them folded
    text = ask(limited, "GET", "/metrics", headers).body.decode()
    assert 'waterspout_usage_predictions_total{identity="free",model="add"}' in text
    assert 'waterspout_rate_limited_total{limit="events_per_second",of="identity"}' in text


def test_usage_outlives_the_server(guarded_models: Path, limited_keys: Keys, tmp_path: Path) -> None:
    options = ("--models", str(guarded_models), "--api-keys", str(limited_keys.file))
    usage = ("--usage-db", str(tmp_path / "usage.db"))
    for total in (1, 2):
        with running_server(*options, *usage) as server:
            assert ask(server, "POST", PREDICT, limited_keys.bearer("free"), EVENT).status == 200
            rows = ask(server, "GET", "/v1/usage", limited_keys.bearer("free")).json["usage"]
            assert sum(row["events"] for row in rows) == total
