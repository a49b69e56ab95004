"""What a server logs: one form, whom each line is about, and no secrets."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from .client import Http, open_stream
from .graphs import plus, write_model
from .process import Server, copy_server, running_server, until
from .raw import Wire

JSON: Final = ("--log-format", "json")
DEBUG: Final = (*JSON, "--log-level", "debug", "--trusted-proxies", "127.0.0.1")
FORWARDED: Final = {"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "req-7"}
SECRET: Final = "c2VjcmV0c2VjcmV0"  # noqa: S105
FAULT: Final = f'raise RuntimeError("a fault with access_token={SECRET}")\n'

Line = dict[str, Any]


def lines_of(server: Server) -> list[Line]:
    """Return all lines, which must be JSON."""
    return [json.loads(line) for line in server.log.splitlines()]


def found(server: Server, message: str) -> list[Line]:
    return [line for line in lines_of(server) if re.search(message, line["message"])]


def test_every_line_is_an_object_from_the_first_to_the_last(zoo_models: Path) -> None:
    with running_server("--models", str(zoo_models), *JSON) as server:
        assert server.end() == 0
        lines = lines_of(server)
    assert {"time", "level", "logger", "message"} == set.intersection(*(set(line) for line in lines))
    assert [line["message"] for line in lines][-1] == "stopped"
    assert all(line["level"] == "info" for line in lines)


def test_lines_of_several_processes_say_of_which(zoo_models: Path) -> None:
    with running_server("--models", str(zoo_models), *JSON, "--processes", "2") as server:
        assert server.end() == 0
        assert {line.get("process") for line in lines_of(server)} == {None, 1, 2}


def test_a_session_is_followed_by_its_id(zoo_models: Path) -> None:
    with running_server("--models", str(zoo_models), *DEBUG) as server:
        with open_stream(server, "/v1/models/double/stream?key=a", announced=True, headers=FORWARDED) as stream:
            session = stream.receive()["session"]
            stream.ask({"data": [1, 2, 3, 4]})
        (opened,) = found(server, "^opened /v1/models/double/stream$")
        (closed,) = until(lambda: found(server, "^closed after 1 events$"))
    assert opened["session"] == closed["session"] == session
    assert (opened["client"], opened["request"]) == ("203.0.113.9", "req-7")
    assert opened["level"] == "debug"


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Server]:
    """Give a server of which two functions have a fault that nobody foresaw."""
    copy_server(tmp_path)
    write_model(tmp_path / "models", "plus", plus(1))
    for module, line in (("stats", "        self.query(frozenset())\n"), ("access", "    for pattern in patterns:\n")):
        path = tmp_path / "handlers" / f"{module}.py"
        text = path.read_text()
        assert text.count(line) == 1
        indent = line[: -len(line.lstrip())]
        path.write_text(text.replace(line, indent + FAULT + line))
    with running_server(*DEBUG, root=tmp_path, allowed="a fault") as server:
        yield server


def test_a_request_that_failed_is_found_by_what_its_answer_says(faulty: Server) -> None:
    with Http(faulty) as http:
        given = http.request("GET", "/v1/stats", headers=FORWARDED)
        made = http.request("GET", f"/v1/stats?access_token={SECRET}")
    assert given.status == made.status == 500
    assert given.headers["X-Request-Id"] == "req-7"
    assert re.fullmatch("[0-9a-f]{16}", made.headers["X-Request-Id"])
    lines = found(faulty, "^a request could not be answered: GET /v1/stats$")
    assert [line["request"] for line in lines] == ["req-7", made.headers["X-Request-Id"]]
    assert [line["client"] for line in lines] == ["203.0.113.9", "127.0.0.1"]
    assert all("RuntimeError: a fault with access_token=[hidden]" in line["traceback"] for line in lines)
    assert SECRET not in faulty.log


def test_a_message_that_failed_is_found_by_its_session(faulty: Server) -> None:
    with open_stream(faulty, "/v1/watch", announced=True) as stream:
        session = stream.receive()["session"]
        stream.send({"op": "subscribe", "topics": ["*"]})
        assert stream.close_code() == 1011
    (line,) = found(faulty, "^a message could not be handled$")
    assert (line["session"], line["level"]) == (session, "error")
    assert SECRET not in faulty.log


@pytest.mark.parametrize("given", ["x" * 129, "a b", "\xe9", ""])
def test_an_id_that_could_be_anything_is_replaced(faulty: Server, given: str) -> None:
    with Http(faulty) as http:
        reply = http.request("GET", "/v1/stats", headers={"X-Request-Id": given})
    assert re.fullmatch("[0-9a-f]{16}", reply.headers["X-Request-Id"])


def test_nothing_is_told_of_sockets_unless_asked_for(zoo: Server) -> None:
    with Wire(zoo, "/v1/echo"):
        pass
    assert "opened" not in zoo.log
