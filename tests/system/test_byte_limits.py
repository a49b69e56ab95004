"""Bytes at a live server: who sends too many is told when to come again, whatever is in them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from .access_parts import Keys, ask, closed, receive, socket
from .client import Http
from .process import Server, running_server, until

INFER = "/v2/models/add/infer"
CONFIG = """
[limits_of.wide]
bytes_per_second = 1000
burst_seconds = 1

[limits_of.large]
bytes_per_second = 1000

[limits_of.garbled]
bytes_per_second = 1000
burst_seconds = 1
"""

ONE_ROW = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0] * 4}]})
LONG = 50_000  # bytes, 25 s of what those may have who send them
BODIES = {
    "whole": (ONE_ROW + " " * LONG, {}, 200),
    "torn": ("[" * LONG, {}, 400),
    "packed": ("x" * LONG, {"Content-Encoding": "gzip"}, 400),
    "raw": ("x" * (LONG + 1), {"Inference-Header-Content-Length": "0"}, 400),
}


@pytest.fixture(scope="module")
def limited_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    keys = Keys(tmp_path_factory.mktemp("keys") / "keys.toml", {})
    for name in ("wide", "large", "garbled", *BODIES):
        keys.add(name, "predict:*")
    return keys


@pytest.fixture(scope="module")
def limited(limited_keys: Keys, guarded_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("limits")
    config = folder / "waterspout.toml"
    config.write_text(
        f"models = '{guarded_models}'\napi_keys = '{limited_keys.file}'\nusage_db = '{folder / 'usage.db'}'\n{CONFIG}"
        + "".join(f"[limits_of.{name}]\nbytes_per_second = 2000\n" for name in BODIES)
    )
    with running_server("--config", str(config)) as server:
        yield server


def test_bytes_are_bounded_too(limited: Server, limited_keys: Keys) -> None:
    with socket(limited, "/v1/models/add/stream", headers=limited_keys.bearer("wide")) as connection:
        event = json.dumps({"data": [1, 2, 3, 4]}) + " " * 700
        connection.send(event)
        assert "outputs" in receive(connection)
        connection.send(event)
        assert "bytes_per_second" in receive(connection)["error"]["message"]


@pytest.mark.parametrize("name", BODIES)
def test_a_request_for_inference_pays_for_its_bytes_whatever_is_in_them(
    limited: Server, limited_keys: Keys, name: str
) -> None:
    body, headers, status = BODIES[name]
    with Http(limited) as http:
        replies = [http.request("POST", INFER, body, {**limited_keys.bearer(name), **headers}) for _ in range(2)]
    assert [reply.status for reply in replies] == [status, 429]
    assert "bytes_per_second: this identity may have 2000" in replies[1].json["error"]
    rows = ask(limited, "GET", "/v1/usage", limited_keys.bearer(name)).json["usage"]
    assert [row["bytes"] for row in rows] == ([len(body)] if status == 200 else [])


def test_large_messages_beyond_the_rate_are_not_read(limited: Server, limited_keys: Keys) -> None:
    large = json.dumps({"id": 1, "data": [1, 2, 3, 4]}) + " " * 10_000
    with socket(limited, "/v1/models/add/stream", headers=limited_keys.bearer("large")) as connection:
        connection.send(large)
        assert "outputs" in receive(connection), "a full bucket"
        for seq, text in enumerate((large, "?" * 10_000), 1):
            connection.send(text)
            answer = receive(connection)
            assert (answer["seq"], answer["error"]["code"]) == (seq, "rate_limited")
            assert "bytes_per_second" in answer["error"]["message"]


def test_messages_that_cannot_be_read_are_paid_for(limited: Server, limited_keys: Keys) -> None:
    with socket(limited, "/v1/models/add/stream", headers=limited_keys.bearer("garbled")) as connection:
        connection.send("?" * 1000)
        assert receive(connection)["error"]["code"] == "invalid_message"
        connection.send(json.dumps({"data": [1, 2, 3, 4]}) + " " * 700)
        assert receive(connection)["error"]["code"] == "rate_limited"


def test_who_sends_large_messages_after_refusals_is_closed(limited: Server, limited_keys: Keys) -> None:
    with socket(limited, "/v1/models/add/stream", headers=limited_keys.bearer("large")) as connection:

        def is_closed() -> bool:
            with contextlib.suppress(ConnectionClosed):
                connection.send("?" * 1_000_000)
                receive(connection)
                return False
            return True

        until(is_closed, 30.0)
        assert closed(connection) == 4013
