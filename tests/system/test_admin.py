"""What operators see and do at a live server."""

import json

from .access_parts import EVENT, PREDICT, Keys, ask, closed, receive, socket
from .process import Server, until

SESSIONS = "/v1/admin/sessions"


def test_open_sockets_are_listed_with_whose_they_are(server: Server, keys: Keys) -> None:
    root = keys.bearer("root")
    with (
        socket(server, "/v1/stream", headers=keys.bearer("adder")) as stream,
        socket(server, "/v1/watch", headers=keys.bearer("all")) as watch,
        socket(server, "/v1/stream"),
    ):
        stream.send(json.dumps({"model": "add", "key": "k", "data": [1, 2, 3, 4]}))
        receive(stream)
        watch.send(json.dumps({"op": "subscribe", "topics": ["add/*"]}))
        receive(watch)
        listed = ask(server, "GET", SESSIONS, root).json
        first, second, guest = listed["sessions"]
        assert listed["total"] == 3
        assert first | {"session": "", "seconds": 0} == {
            "session": "",
            "kind": "stream",
            "identity": "adder",
            "address": "127.0.0.1",
            "seconds": 0,
            "events": 1,
            "keys": 1,
        }
        assert (second["kind"], second["identity"], second["topics"]) == ("watch", "all", ["add/*"])
        assert guest["identity"] is None
        assert 0 < first["seconds"] < 60
        one = ask(server, "GET", f"{SESSIONS}?identity=adder&limit=1", root).json
        assert ([info["identity"] for info in one["sessions"]], one["total"]) == (["adder"], 1)
    until(lambda: ask(server, "GET", SESSIONS, root).json == {"sessions": [], "total": 0})
    huge = (f"limit=000000001{'0' * 20}", f"limit={'1' * 5000}")
    for wrong in ("limit=0", "limit=1001", "limit=x", "limit=-1", "speed=1", *huge):
        assert ask(server, "GET", f"{SESSIONS}?{wrong}", root).status == 400


def test_a_session_is_closed_by_its_name(server: Server, keys: Keys) -> None:
    root = keys.bearer("root")
    with socket(server, "/v1/stream", headers=keys.bearer("adder")) as stream:
        (info,) = ask(server, "GET", SESSIONS, root).json["sessions"]
        assert ask(server, "DELETE", f"{SESSIONS}/{info['session']}", root).json == {"done": True}
        assert closed(stream) == 4010
    gone = ask(server, "DELETE", f"{SESSIONS}/{info['session']}", root)
    assert (gone.status, gone.error["code"]) == (404, "unknown_session")


def test_a_drained_model_takes_nothing_until_it_is_resumed(server: Server, keys: Keys) -> None:
    root, user = keys.bearer("root"), keys.bearer("all")
    event = json.dumps({"model": "add", "data": [1, 2, 3, 4]})
    with socket(server, "/v1/stream", headers=user) as stream:
        stream.send(event)
        assert "outputs" in receive(stream)
        assert ask(server, "POST", "/v1/admin/models/add/drain", root).json == {"done": True}
        stream.send(event)
        error = receive(stream)["error"]
        assert (error["code"], error["retryable"]) == ("model_unavailable", True)
        assert "drained by an operator" in error["message"]
        assert ask(server, "POST", PREDICT, user, EVENT).status == 503
        told = ask(server, "GET", "/v1/models/add", user).json
        assert (told["state"], told["reason"]) == ("unavailable", "drained by an operator")
        assert ask(server, "POST", PREDICT.replace("add", "norm"), user, EVENT).status == 200
        assert ask(server, "POST", "/v1/admin/models/add/resume", root).json == {"done": True}
        stream.send(event)
        assert "outputs" in receive(stream)
    assert ask(server, "POST", "/v1/admin/models/absent/drain", root).status == 404


def test_the_log_level_is_changed_while_the_server_runs(server: Server, keys: Keys) -> None:
    root, path = keys.bearer("root"), "/v1/admin/log-level"
    before = ask(server, "GET", path, root).json
    assert before == {"level": "info"}
    assert ask(server, "PUT", path, root, '{"level": "debug"}').json == {"level": "debug"}
    assert ask(server, "GET", path, root).json == {"level": "debug"}
    for wrong in ('{"level": "loud"}', "{}", "[]", "nonsense", '{"level": "info", "more": 1}', '{"level": "\\ud800"}'):
        assert ask(server, "PUT", path, root, wrong).status == 400
    assert ask(server, "PUT", path, root, '{"level": "info"}').status == 200
