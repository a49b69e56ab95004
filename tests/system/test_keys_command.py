"""`python server.py keys ...`: a key is shown once, and taken back for good."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer, running_redis

from .process import run_to_end


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), "--requirepass", "geheim", data=False) as server:
        yield server


@pytest.fixture(params=["file", "environment", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> tuple[list[str], dict[str, str]]:
    """Return the flags and variables that name a store."""
    if request.param == "file":
        return ["--file", str(tmp_path / "keys.toml")], {}
    if request.param == "environment":
        return [], {"WATERSPOUT_API_KEYS": str(tmp_path / "keys.toml")}
    redis.command("FLUSHALL")
    url = redis.url.replace("//", "//:geheim@")
    return ["--redis"], {"WATERSPOUT_REDIS": url, "WATERSPOUT_REDIS_PREFIX": "other"}


def test_a_key_is_made_listed_and_revoked(place: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    flags, env = place
    made = run_to_end(
        "keys", "create", "--name", "ada", "--scopes", "predict:* watch:$stats", "--expires", "30d", *flags, env=env
    )
    assert (made.returncode, made.stdout.count("\n")) == (0, 1)
    key = made.stdout.strip()
    key_id, secret = key[4:16], key[17:]
    assert "the only time" in made.stderr
    listed = run_to_end("keys", "list", *flags, env=env).stdout
    (row,) = listed.splitlines()[1:]
    assert row.split()[:2] == [key_id, "valid"]
    assert row.endswith("predict:* watch:$stats")
    revoked = run_to_end("keys", "revoke", key_id, *flags, env=env)
    assert (revoked.returncode, revoked.stderr) == (0, "")
    assert run_to_end("keys", "list", *flags, env=env).stdout.splitlines()[1].split()[:2] == [key_id, "revoked"]
    kept = "".join(path.read_text() for path in tmp_path.glob("*.toml"))
    assert secret not in listed + made.stderr + revoked.stdout + kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--name", "ada", "--scopes", "everything"], "server.py: scope 'everything'"),
        (["create", "--name", "", "--scopes", "admin"], "server.py: name: "),
        (["create", "--name", "ada", "--scopes", "admin", "--expires", "soon"], "expected a number of seconds"),
        (["create", "--scopes", "admin"], "--name"),
        (["list", "--file", "none.toml"], "none.toml: No such file"),
        (["list", "--redis"], "server.py: redis: give its URL"),
        (["list", "--redis", "redis://:geheim@h"], "server.py: redis: other processes see flags"),
        (["list", "--redis", "http://h"], "server.py: redis: no scheme"),
        (["list", "--redis", "redis://127.0.0.1:1"], "server.py: redis: 127.0.0.1:1: "),
        (["revoke", "ABC", "--file", "none.toml"], "none.toml: No such file"),
        ([], "create|list|revoke"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], message: str) -> None:
    ended = run_to_end("keys", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "geheim" not in ended.stderr
