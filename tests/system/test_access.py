"""Credentials at the HTTP doors of a live server: who gets in, and what for."""

import re
from pathlib import Path
from typing import Any

import pytest

from handlers.access import Needs
from handlers.app import DOORS

from .access_parts import EVENT, PREDICT, Keys, ask
from .process import Server, running_server


def paths(door: Any) -> str:
    return re.sub(r"\{\w+\}", lambda found: {"{model}": "add", "{version}": "1"}.get(found[0], "x"), door.path)


GUARDED = [door for door in DOORS if door.needs is not Needs.NOTHING]


@pytest.mark.parametrize("door", GUARDED, ids=lambda door: door.path)
def test_no_door_opens_to_nobody_or_to_a_wrong_key(server: Server, keys: Keys, door: Any) -> None:
    text = keys.texts["all"]
    wrong = [
        f"Bearer {text[:-1]}{'A' if text[-1] != 'A' else 'B'}",
        "Bearer ",
        "Basic dTpw",
        f"Token {text}",
        "Bearer x.y.z",
    ]
    for method in door.operations or ["GET"]:
        for value in (None, *wrong):
            upgrade = not door.operations
            reply = ask(server, method, paths(door), {"Authorization": value} if value is not None else {})
            if upgrade and value is None and reply.status == 426:
                continue  # a guest of a WebSocket, which this is not
            assert reply.status == 401, (method, value, reply.status)
            assert reply.headers["WWW-Authenticate"] == "Bearer"
            assert text not in reply.body.decode()


@pytest.mark.parametrize("door", [door for door in DOORS if door.needs is Needs.NOTHING], ids=lambda door: door.path)
def test_doors_for_all_need_nothing(server: Server, door: Any) -> None:
    if "{" not in door.path:
        assert ask(server, "GET", door.path).status == 200


@pytest.mark.parametrize("door", [door for door in DOORS if door.needs is Needs.ADMIN], ids=lambda door: door.path)
def test_doors_of_operators_open_to_them_alone(server: Server, keys: Keys, door: Any) -> None:
    for method in door.operations:
        assert ask(server, method, paths(door), keys.bearer("all")).status == 403
        assert ask(server, method, paths(door), keys.bearer("root")).status not in (401,)


def test_models_are_for_those_whose_scopes_name_them(server: Server, keys: Keys) -> None:
    for name, add, norm in (("adder", 200, 403), ("all", 200, 200), ("nobody", 403, 403), ("root", 200, 200)):
        for path, body in ((PREDICT, EVENT), ("/v2/models/add/infer", None)):
            for model, status in (("add", add), ("norm", norm)):
                reply = ask(server, "POST", path.replace("add", model), keys.bearer(name), body or "{}")
                assert (reply.status == 403) == (status == 403), (name, path, model, reply.body)
                assert reply.status != 401


def test_what_is_not_allowed_is_not_told_to_be_there(server: Server, keys: Keys) -> None:
    for path in ("/v1/models/add", "/v1/models/absent", "/v2/models/add", "/v2/models/absent/ready"):
        assert ask(server, "GET", path, keys.bearer("nobody")).status == 403
    listed = ask(server, "GET", "/v1/models", keys.bearer("adder")).json["models"]
    assert [model["name"] for model in listed] == ["add"]
    assert ask(server, "GET", "/v1/models", keys.bearer("nobody")).json["models"] == []
    assert ask(server, "GET", "/readyz").json["models"] == {"ready": [], "broken": []}
    assert len(ask(server, "GET", "/v1/models", keys.bearer("all")).json["models"]) > 1


@pytest.mark.parametrize("path", ["/metrics", "/v1/stats", "/v1/alerts"])
def test_figures_are_for_those_who_may_watch_them(server: Server, keys: Keys, path: str) -> None:
    assert ask(server, "GET", path, keys.bearer("adder")).status == 403
    assert ask(server, "GET", path, keys.bearer("all")).status == 200


def test_two_credentials_are_one_too_many(server: Server, keys: Keys) -> None:
    headers = keys.bearer("all") | {"Sec-WebSocket-Protocol": f"bearer.{keys.texts['adder']}"}
    assert ask(server, "GET", "/v1/models", headers).status == 401


def test_cookies_are_no_credential(server: Server, keys: Keys) -> None:
    cookie = {"Cookie": f"Authorization=Bearer {keys.texts['all']}; access_token={keys.texts['all']}"}
    assert ask(server, "GET", "/v1/models", cookie).status == 401


def test_who_asks_is_told_who_he_is(server: Server, keys: Keys) -> None:
    told = ask(server, "GET", "/v1/me", keys.bearer("adder")).json
    assert told == {"name": "adder", "kind": "key", "scopes": ["predict:add", "watch:add/*"], "expires_at": None}


def test_pages_of_other_sites_may_not_post(server: Server, keys: Keys) -> None:
    headers = keys.bearer("all") | {"Origin": "https://evil.example"}
    assert ask(server, "POST", PREDICT, headers, EVENT).status == 403
    assert ask(server, "POST", "/v2/models/add/infer", headers, "{}").status == 403
    own = keys.bearer("all") | {"Origin": server.ws.replace("ws", "http", 1)}
    assert ask(server, "POST", PREDICT, own, EVENT).status == 200


def test_an_insecure_server_answers_to_the_names_it_was_given(zoo_models: Path) -> None:
    arguments = ("--models", str(zoo_models), "--insecure", "--address", "0.0.0.0", "--allowed-hosts", "good.example")
    with running_server(*arguments) as other:
        for host, status in (("good.example", 200), ("localhost", 200), ("evil.example", 403)):
            headers = {"Host": host, "Origin": f"http://{host}"}
            assert ask(other, "POST", "/v1/admin/models/double/resume", headers).status == status
        other.check_log("--insecure")
