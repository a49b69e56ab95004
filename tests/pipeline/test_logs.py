"""Lines of the log: one each, in both formats, whatever is said in them."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.logs import ConsoleFormatter, JsonFormatter, secrets_of
from pipeline.redaction import HIDDEN, Redactor
from pipeline.settings import read_settings

SECRET = "hunter2-hunter2"  # noqa: S105


def record(message: object, *arguments: object, error: BaseException | None = None, **about: Any) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("waterspout", logging.WARNING, __file__, 1, message, arguments, trace)
    vars(made).update(about)
    return made


def console(made: logging.LogRecord, process: int | None = None) -> str:
    return ConsoleFormatter(Redactor([SECRET]), process).format(made)


def as_json(made: logging.LogRecord, process: int | None = None) -> dict[str, Any]:
    line = JsonFormatter(Redactor([SECRET]), process).format(made)
    assert len(line.splitlines()) == 1
    decoded: dict[str, Any] = json.loads(line)
    return decoded


def raised(text: str) -> ValueError:
    try:
        raise ValueError(text)  # noqa: TRY301
    except ValueError as error:
        return error


def test_a_line_for_people() -> None:
    line = console(record("draining %d sockets", 3), 2)
    assert line.endswith(" WARNING waterspout[2]: draining 3 sockets")
    assert line[:2] == "20"


def test_a_line_for_machines() -> None:
    line = as_json(record("draining %d sockets", 3), 2)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "logger": "waterspout", "process": 2, "message": "draining 3 sockets"}


def test_a_line_has_whom_it_is_about() -> None:
    made = record("opened", session="ab-1", request="r1", client="203.0.113.9", other="no", taskName="no")
    assert console(made).endswith(": opened session=ab-1 request=r1 client=203.0.113.9")
    line = as_json(made)
    assert (line["session"], line["request"], line["client"]) == ("ab-1", "r1", "203.0.113.9")
    assert not {"other", "taskName"} & line.keys()
    assert as_json(record("opened", session="")).keys() == {"time", "level", "logger", "message"}


def test_an_error_has_its_traceback() -> None:
    made = record("it failed", error=raised("wrong"))
    assert console(made).splitlines()[-1] == "ValueError: wrong"
    line = as_json(made)
    assert (line["message"], line["traceback"].splitlines()[-1]) == ("it failed", "ValueError: wrong")


@given(st.text(st.characters()))
@example("\ud800\x85\u2028\n")
def test_nobody_writes_a_line_of_their_own(text: str) -> None:
    made = record("no such model: %s", text, session=text)
    assert len(console(made).splitlines()) == 1
    as_json(made)


@pytest.mark.parametrize("shown", [console, as_json])
def test_secrets_are_in_none_of_its_parts(shown: Any) -> None:
    made = record("%s", SECRET, error=raised(f"{SECRET} and wsk_{SECRET}"), client=SECRET)
    line = str(shown(made))
    assert SECRET not in line
    assert line.count(HIDDEN) >= 4


def test_a_call_with_wrong_arguments_says_what_it_can() -> None:
    assert "%d of %d" in console(record("%d of %d", "x"))
    assert as_json(record("%d", "x"))["message"] == "%d ('x',)"


def test_what_is_configured_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATERSPOUT_REDIS", "redis://me:p%40ssword@cache:6379")
    monkeypatch.setenv("WATERSPOUT_JWT_SECRET", "x" * 40)
    assert {"p%40ssword", "p@ssword", "x" * 40} <= set(secrets_of(read_settings([])))


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_nobody_catches_is_a_line_too(form: str) -> None:
    code = (
        "import sys, warnings\nfrom pipeline.logs import start_logging\nfrom pipeline.settings import read_settings\n"
        f"start_logging(read_settings(['--log-format', '{form}']), None)\nwarnings.warn('careful')\n"
        "raise ValueError('bad')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    if form == "json":
        lines = [json.loads(line) for line in ended.stderr.splitlines()]
        assert [line["level"] for line in lines] == ["warning", "critical"]
        assert "careful" in lines[0]["message"]
        assert lines[1]["traceback"].splitlines()[-1] == "ValueError: bad"
    else:
        assert " WARNING py.warnings: " in ended.stderr
        assert " CRITICAL waterspout: the process ends\n" in ended.stderr
