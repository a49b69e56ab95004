"""Requests of `/v2` whose client, or whose server, goes while they wait."""

import configparser
import json

from .client import Http, get
from .conftest import StartServer
from .metrics import Metrics
from .process import ROOT, Server, until
from .raw import connection_to
from .test_drain import wait_until_running
from .v2_models import tensor


def body(width: int, data: list[float]) -> bytes:
    """Return a request for rows of `width` floats."""
    return json.dumps({"inputs": [tensor("x", [len(data) // width, width], "FP32", data)]}).encode()


def test_a_client_that_hangs_up_takes_its_rows_out_of_the_queue(tensors: Server) -> None:
    asked = body(3, [0.0] * 12)
    head = f"POST /v2/models/tight/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(asked)}\r\n\r\n"
    with connection_to(tensors) as connection:
        connection.sendall(head.encode() + asked)
        until(lambda: Metrics(tensors)("queue_depth", model="tight") == 4)
    until(lambda: Metrics(tensors)("queue_depth", model="tight") == 0)


def test_a_server_that_ends_answers_what_is_under_way(start_server: StartServer) -> None:
    server = start_server()
    with Http(server) as http:
        http.connection.request("POST", "/v2/models/slow/infer", body(1, [1500.0]))
        wait_until_running(server, 1)
        server.terminate()
        response = http.connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["outputs"][0]["data"] == [1500.0]
    assert server.wait() == 0


def test_the_version_is_that_of_the_package(tensors: Server) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert get(tensors, "/v2").json["version"] == setup["metadata"]["version"]
