"""`/v1/watch/sse`: the same updates over plain HTTP, as a client of server-sent events reads them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from .client import TIMEOUT, get, open_stream
from .metrics import Metrics
from .process import Server, until

DOUBLE = "/v1/models/double/stream"
ROW = [1.0, 2.0, 3.0, 4.0]
PATH = "/v1/watch/sse"


class Events:
    """The events of a response that goes on; `last_id` is what a browser would come back with."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_id = ""
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, Any]:
        """Return the name and the message of the next event."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and "data" in fields:
                self.last_id = fields.get("id", self.last_id)
                return fields.get("event", "message"), json.loads(fields["data"])
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        raise EOFError


@contextmanager
def events(server: Server, *topics: str, last_id: str = "", **options: str) -> Iterator[Events]:
    """Listen."""
    query = urlencode([*(("topics", topic) for topic in topics), *options.items()])
    headers = {"Last-Event-ID": last_id} if last_id else {}
    url = f"{server.ws.replace('ws', 'http')}{PATH}?{query}"
    with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT, trust_env=False) as response:
        assert response.status_code == 200
        yield Events(response)


def test_updates_come_as_events(zoo: Server) -> None:
    with events(zoo, "double/sse-1", hz="60", inputs="1") as source, open_stream(zoo, DOUBLE) as sensor:
        assert source.response.headers["content-type"] == "text/event-stream"
        assert source.response.headers["cache-control"] == "no-store"
        sensor.ask({"id": 1, "data": ROW, "key": "sse-1"})
        name, update = source.next()
        assert (name, update["topic"], update["id"]) == ("message", "double/sse-1", 1)
        assert (update["inputs"], update["outputs"]) == ({"x": ROW}, {"y": [2.0, 4.0, 6.0, 8.0]})


def test_a_client_that_comes_back_gets_what_is_new(zoo: Server) -> None:
    with open_stream(zoo, DOUBLE) as sensor:
        with events(zoo, "double/back-*", hz="60") as source:
            for key in ("back-a", "back-b"):
                sensor.ask({"id": key, "data": ROW, "key": key})
            seen = [source.next()[1]["id"], source.next()[1]["id"]]
            assert sorted(seen) == ["back-a", "back-b"]
        with open_stream(zoo, "/v1/watch") as other:
            other.send({"op": "subscribe", "topics": ["double/*"]})
            assert other.receive()["op"] == "subscribed"
            sensor.ask({"id": "new", "data": ROW, "key": "back-b"})
            with events(zoo, "double/back-*", last_id=source.last_id) as source:
                assert source.next()[1]["id"] == "new"
                sensor.ask({"id": "newer", "data": ROW, "key": "back-a"})
                assert source.next()[1]["id"] == "newer"


@pytest.mark.parametrize("last_id", ["0-0", "nonsense", "12345678-99999999999999999999"])
def test_an_id_of_another_server_means_the_whole_snapshot(zoo: Server, last_id: str) -> None:
    with open_stream(zoo, DOUBLE) as sensor:
        sensor.ask({"id": "old", "data": ROW, "key": "other"})
        with events(zoo, "double/other", last_id=last_id) as source:
            assert source.next()[1]["id"] == "old"


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("", "topics: expected array of length >= 1"),
        ("?topics=double", "topics[0]: expected {model}/{key}"),
        ("?topics=a/b&hz=often", "hz: expected a number, got 'often'"),
        ("?topics=a/b&hz=1e9", "hz: expected float <= 60.0"),
        ("?topics=a/b&hz=nan", "hz: expected"),
        ("?topics=a/b&inputs=yes", "inputs: expected bool, got str"),
        ("?topics=a/b&speed=1", "speed: unknown parameter, expected one of hz, inputs, topics"),
        ("?topics=%ff", "topics: expected UTF-8"),
        ("?topics=%ff&topics=a/b", "topics: expected UTF-8"),
        ("?" + "&".join(["topics=a/b"] * 65), "topics: expected array of length <= 64"),
    ],
)
def test_bad_requests_are_refused_by_name(zoo: Server, query: str, complaint: str) -> None:
    reply = get(zoo, PATH + query)
    assert reply.status == 400
    assert reply.error["message"].startswith(complaint)


def test_whoever_hangs_up_is_forgotten(zoo: Server) -> None:
    with events(zoo, "double/gone") as source, open_stream(zoo, DOUBLE) as sensor:
        sensor.ask({"id": 1, "data": ROW, "key": "gone"})
        assert source.next()[1]["id"] == 1
    until(lambda: Metrics(zoo)("sockets") == 0)
