"""The numbers at /metrics move as what they count does."""

import json
from contextlib import ExitStack

import pytest

from .client import Http, get, open_stream, post
from .metrics import Metrics
from .process import Server, until

DOUBLE = "/v1/models/double/stream"
ROW = [1, 2, 3, 4]


def test_all_that_is_promised_is_there(zoo: Server) -> None:
    families = Metrics(zoo).families
    assert {name: families[f"waterspout_{name}"].type for name in PROMISED} == PROMISED


PROMISED = {
    "sockets": "gauge",
    "sockets_opened": "counter",
    "events": "counter",
    "predictions": "counter",
    "errors": "counter",
    "alerts": "counter",
    "webhooks": "counter",
    "queue_depth": "gauge",
    "queue_bytes": "gauge",
    "events_shed": "counter",
    "batch_rows": "histogram",
    "queue_seconds": "histogram",
    "run_seconds": "histogram",
    "end_to_end_seconds": "histogram",
}


def test_versions_have_their_state(tensors: Server) -> None:
    metrics = Metrics(tensors)
    assert metrics("model_versions", model="broken", version="3", state="unavailable") == 1
    assert metrics("model_versions", model="int8", state="ready") == 1


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0"])
def test_the_format_is_the_scraper_s_choice(zoo: Server, accept: str) -> None:
    reply = get(zoo, "/metrics", {"Accept": accept} if accept else {})
    assert reply.status == 200
    expected = "application/openmetrics-text" if "openmetrics" in accept else "text/plain"
    assert reply.headers.get_content_type() == expected


def test_sockets_are_counted_while_they_are_open(zoo: Server) -> None:
    until(lambda: Metrics(zoo)("sockets") == 0)  # those of tests before
    opened = Metrics(zoo)("sockets_opened_total")
    with ExitStack() as stack:
        for path in (DOUBLE, "/v1/stream", "/v1/echo"):
            stack.enter_context(open_stream(zoo, path))
        until(lambda: Metrics(zoo)("sockets") == 3)
    until(lambda: Metrics(zoo)("sockets") == 0)
    assert Metrics(zoo)("sockets_opened_total") == opened + 3


def test_events_predictions_and_errors_are_counted(zoo: Server) -> None:
    before = Metrics(zoo)
    with open_stream(zoo, DOUBLE) as stream:
        for _ in range(5):
            stream.ask({"data": ROW})
        for _ in range(3):
            stream.ask({"data": [1]})
        for _ in range(2):
            stream.ask({"dta": ROW})
        stream.until_pong("no event")
        open_yet = Metrics(zoo)
    until(lambda: Metrics(zoo)("sockets") == 0)
    closed = Metrics(zoo)
    for after in (open_yet, closed):
        assert after("events_total") - before("events_total") == 10
        assert after("predictions_total", model="double") - before("predictions_total", model="double") == 5
        for code, count in (("invalid_input", 3), ("invalid_message", 2)):
            assert after("errors_total", code=code) - before("errors_total", code=code) == count


@pytest.mark.parametrize("accept", [None, "application/x-ndjson"])
def test_requests_count_like_sockets(zoo: Server, accept: str | None) -> None:
    before = Metrics(zoo)
    post(zoo, "/v1/models/double/predict", [{"data": ROW}, {"data": ROW}, {"data": []}], accept)
    until(lambda: Metrics(zoo)("events_total") > before("events_total"))
    after = Metrics(zoo)
    assert after("events_total") - before("events_total") == 3
    assert after("predictions_total", model="double") - before("predictions_total", model="double") == 2
    assert after("errors_total", code="invalid_input") - before("errors_total", code="invalid_input") == 1


def test_refused_requests_are_counted_by_their_code(zoo: Server) -> None:
    before = Metrics(zoo)
    post(zoo, "/v1/models/nowhere/predict", {"data": ROW})
    get(zoo, "/v1/models/nowhere")
    after = Metrics(zoo)
    assert after("errors_total", code="unknown_model") - before("errors_total", code="unknown_model") == 2


def test_batches_and_times_are_observed(zoo: Server) -> None:
    before = Metrics(zoo)
    with open_stream(zoo, "/v1/models/gathering/stream") as stream:
        stream.send([{"data": 1}] * 4)
        for _ in range(4):
            stream.receive()
    after = Metrics(zoo)

    def grown(name: str, **labels: str) -> float:
        return after(name, model="gathering", **labels) - before(name, model="gathering", **labels)

    assert grown("batch_rows_count") == 1
    assert grown("batch_rows_sum") == 4
    assert grown("batch_rows_bucket", le="2.0") == 0
    assert grown("batch_rows_bucket", le="4.0") == 1
    assert grown("run_seconds_count") == 1
    for name in ("queue_seconds", "end_to_end_seconds"):
        assert grown(f"{name}_count") == 4
        assert grown(f"{name}_bucket", le="+Inf") == 4
    assert 0 < grown("queue_seconds_sum") + 4 * grown("run_seconds_sum") <= grown("end_to_end_seconds_sum") + 1e-9


def test_the_depth_is_the_number_of_rows_that_wait(zoo: Server) -> None:
    with open_stream(zoo, "/v1/models/slow/stream") as stream:
        stream.send([{"data": 2000}] * 20)
        until(lambda: Metrics(zoo)("queue_depth", model="slow") == 12)  # eight of twenty run
        for _ in range(20):
            stream.receive()
        assert Metrics(zoo)("queue_depth", model="slow") == 0


def test_a_scrape_between_requests_of_a_connection_is_a_request_like_another(zoo: Server) -> None:
    with Http(zoo) as http:
        for _ in range(3):
            assert http.request("GET", "/metrics").status == 200
            assert http.request("POST", "/v1/models/double/predict", json.dumps({"data": ROW})).status == 200
