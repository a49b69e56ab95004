"""What is wrong and must not hurt: a Redis that is none, models that nobody runs, foreign bytes in the streams."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgpack
import pytest
from websockets.exceptions import InvalidStatus

from pipeline.redis_records import Keys
from tests.certificates import Certificate
from tests.redis_server import free_port, running_redis
from tests.slow_proxy import SlowProxy

from .client import get, open_stream, post
from .cluster import Cluster, running_cluster, total, whole, write_models
from .cluster_load import running_load
from .process import run_to_end, until

DEAD_LETTERS = "is a dead letter: "


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    models = tmp_path_factory.mktemp("models")
    write_models(models)
    with running_cluster(
        tmp_path_factory.mktemp("redis"), models, gateways=1, workers=1, allowed=DEAD_LETTERS
    ) as cluster:
        yield cluster


def refusal(role: str, url: str) -> str:
    """Return the one line with which a server refuses to start."""
    ended = run_to_end("--port", "0", "--role", role, env={"WATERSPOUT_REDIS": url})
    assert ended.returncode == 2
    assert ended.stdout == ""
    lines = [line for line in ended.stderr.splitlines() if " INFO " not in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("role", ["gateway", "worker"])
def test_without_redis_there_is_no_gateway_and_no_worker(role: str) -> None:
    place = f"127.0.0.1:{free_port()}"
    assert refusal(role, f"redis://{place}") == f"server.py: redis: no Redis answers at {place}: Connection refused"


def test_a_url_that_is_none_is_named() -> None:
    assert refusal("gateway", "http://127.0.0.1").startswith("server.py: redis: ")


def test_a_password_and_rights_that_are_wrong_are_named(tmp_path: Path) -> None:
    with running_redis(tmp_path, "--requirepass", "secret") as redis:
        redis.command("ACL", "SETUSER", "reader", "on", ">pass", "~*", "&*", "+@read", "+@connection", "+info")
        place = f"127.0.0.1:{redis.port}"
        wrong = refusal("gateway", f"redis://:guess@{place}")
        assert wrong.startswith(f"server.py: redis: {place}: the password or user is not accepted")
        rights = refusal("worker", f"redis://reader:pass@{place}")
        assert rights.startswith(f"server.py: redis: {place}: the user may not run XGROUP")


def test_a_certificate_that_nobody_trusts_is_named(tmp_path: Path, certificate: Certificate) -> None:
    with running_redis(tmp_path) as redis, SlowProxy(redis.port, tls=certificate.served()) as proxy:
        place = f"127.0.0.1:{proxy.port}"
        line = refusal("gateway", f"rediss://{place}")
        assert line.startswith(f"server.py: redis: {place}: its TLS certificate is not accepted")


def test_a_model_that_no_worker_runs_is_refused_before_the_upgrade(cluster: Cluster) -> None:
    (gateway,) = cluster.gateways
    with pytest.raises(InvalidStatus) as refused, open_stream(gateway, "/v1/models/nowhere/stream"):
        pass
    assert refused.value.response.status_code == 404
    assert get(gateway, "/v1/models/nowhere").error["code"] == "unknown_model"
    assert post(gateway, "/v1/models/nowhere/predict", {"data": [1]}).status == 404


def entry(*fields: object) -> bytes:
    packed: bytes = msgpack.packb([1, "gateway", 1, *fields])
    return packed


PICKLE = b"cos\nsystem\n(S'true'\ntR."
ROWS = [b"\x00" * 16, b"\x00" * 16]
FOREIGN: Sequence[Sequence[object]] = (
    ("d", b""),
    ("d", b"\xff" * 1000),
    ("d", PICKLE),
    ("payload", b"of another program"),
    ("d", entry()),
    ("d", entry(-1, ROWS)),
    ("d", entry(2, [b"\x00" * 31])),
    ("d", entry(2, [b"\x00" * 32], None, [1.0])),
    ("d", entry(2, [b"\x00" * 32], None, [float("nan"), 1.0])),
    ("d", entry(2, [b"\x00" * 32], None, None, [1])),
    ("d", entry(2, [b"\x00" * 32], None, None, [1, -7])),
    ("d", entry(2, [b"\x00" * 32], [None])),
)


def test_foreign_bytes_are_laid_aside_and_counted(cluster: Cluster) -> None:
    with whole(cluster, gateways=1, workers=1), running_load(cluster.urls) as load:
        (box,) = [key for key in cluster.redis.command("KEYS", "ws:*:replies") if b"check" not in key]
        for fields in FOREIGN:
            cluster.redis.command("XADD", Keys("ws").queue("double/1/0"), "*", *fields)
            cluster.redis.command("XADD", box, "*", *fields)
        cluster.redis.command("HSET", "ws:{worker}:members", "a", "", "b", b"\xff" * 99, "c", PICKLE)
        until(lambda: total(cluster.workers, "dead_letters_total") == len(FOREIGN))
        until(lambda: total(cluster.gateways, "replies_foreign_total") == len(FOREIGN))
        assert cluster.redis.command("XLEN", "ws:dead") == len(FOREIGN)
        load.recover()
    assert not load.errors
