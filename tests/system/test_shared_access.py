"""Credentials where there are several processes: they are good at each of them, and a ticket once in all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.redis_server import RedisServer, running_redis

from .access_parts import EVENT, PREDICT, Keys, ask, closed, keys_command, receive, socket
from .process import Server, running_server, until

MANY = 24  # connections, of which each of two processes gets some


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis", data=False) as server:
        yield server


def is_accepted(server: Server, ticket: str) -> bool:
    try:
        connection = socket(server, f"/v1/models/add/stream?ticket={ticket}")
    except InvalidStatus as error:
        return error.response.status_code != 401
    with connection:
        connection.send(EVENT)
        return "outputs" in receive(connection)


def test_a_ticket_of_one_process_is_good_at_the_other_and_once_in_all(keys: Keys, guarded_models: Path) -> None:
    arguments = ["--models", str(guarded_models), "--api-keys", str(keys.file), "--processes", "2"]
    with running_server(*arguments) as server:
        issued = [ask(server, "POST", "/v1/tickets", keys.bearer("adder")) for _ in range(MANY)]
        tickets = [reply.json["ticket"] for reply in issued]
        assert all(is_accepted(server, ticket) for ticket in tickets)
        assert not any(is_accepted(server, ticket) for ticket in tickets)


def test_keys_and_tickets_in_redis_are_good_at_each_server(redis: RedisServer, guarded_models: Path) -> None:
    in_redis = ["--redis", redis.url]
    key = keys_command("create", "--name", "ada", "--scopes", "predict:add", *in_redis).strip()
    bearer = {"Authorization": f"Bearer {key}"}
    arguments = ["--models", str(guarded_models), "--api-keys-in-redis", *in_redis]
    with running_server(*arguments) as one, running_server(*arguments) as other:
        assert [ask(server, "POST", PREDICT, bearer, EVENT).status for server in (one, other)] == [200, 200]
        ticket, late = (ask(one, "POST", "/v1/tickets", bearer).json["ticket"] for _ in range(2))
        assert [is_accepted(server, ticket) for server in (other, one, other)] == [True, False, False]
        with socket(other, "/v1/models/add/stream", headers=bearer) as connection:
            keys_command("revoke", key[4:16], *in_redis)
            assert closed(connection) == 4500
        for server in (one, other):
            until(lambda server=server: ask(server, "POST", PREDICT, bearer, EVENT).status == 401)  # type: ignore[misc]
        assert not is_accepted(other, late)
        assert all(key[17:] not in server.log and ticket not in server.log for server in (one, other))
