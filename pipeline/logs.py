"""Lines of the log: for people or for machines, with whom they are about, and without secrets."""

import datetime
import json
import logging
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from pipeline.redaction import Redactor
from pipeline.settings import Settings

#: What a line may be about; given as `extra` of a call.
SUBJECTS: Final = ("session", "request", "client")
MOST_SAID: Final = 4096  # characters: strangers have headers of 16 KiB logged, whole

#: Characters that end a line, or that a terminal obeys: nobody writes lines of their own by what they send.
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\t",
}

Redact = Callable[[str], str]


class ConsoleFormatter(logging.Formatter):
    """Time, level, logger and what is said; then whom it is about, and the traceback if there is one."""

    def __init__(self, redact: Redact, process: int | None) -> None:
        super().__init__()
        self._redact = redact
        self._process = "" if process is None else f"[{process}]"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said = shortened(self._redact(message_of(record))).translate(_CONTROLS)
        subjects = subjects_of(record).items()
        about = "".join(f" {name}={self._redact(text).translate(_CONTROLS)}" for name, text in subjects)
        line = f"{self.formatTime(record)} {record.levelname:<7} {record.name}{self._process}: {said}{about}"
        trace = traceback_of(self, record)
        return f"{line}\n{self._redact(trace)}" if trace else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII."""

    def __init__(self, redact: Redact, process: int | None) -> None:
        super().__init__()
        self._redact = redact
        self._process = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._process,
            "message": shortened(self._redact(message_of(record))),
        }
        line |= {name: self._redact(text) for name, text in subjects_of(record).items()}
        if trace := traceback_of(self, record):
            line["traceback"] = self._redact(trace)
        return json.dumps(line, separators=(",", ":"))


def message_of(record: logging.LogRecord) -> str:
    """Return what a line says; a call with the wrong arguments says what it can."""
    try:
        return record.getMessage()
    except Exception:  # whatever an argument's __str__ raises: the line is worth more
        return f"{record.msg} {record.args!r}"


def shortened(text: str) -> str:
    """Return no more of a text than belongs into a line."""
    return text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}... ({len(text)} characters)"


def subjects_of(record: logging.LogRecord) -> dict[str, str]:
    """Return whom a line is about."""
    given: Mapping[str, object] = record.__dict__
    return {name: str(given[name]) for name in SUBJECTS if given.get(name)}


def traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the traceback that belongs to a line, empty if there is none."""
    trace = formatter.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
    stack = formatter.formatStack(record.stack_info) if record.stack_info else ""
    return "\n".join(part for part in (trace, stack) if part)


def secrets_of(settings: Settings) -> list[str]:
    """Return the secrets that are configured, and the passwords in those that are URLs."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
    passwords = [urlsplit(text).password or "" for text in secrets if "://" in text]
    return [*secrets, *passwords, *map(unquote, passwords)]


def start_logging(settings: Settings, process: int | None) -> None:
    """Have all lines written to stderr as the settings say; `process` is the number of one of several."""
    make = JsonFormatter if settings.log_format == "json" else ConsoleFormatter
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(make(Redactor(secrets_of(settings)), process))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_end


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell what nobody caught, as any other error."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("waterspout").critical("the process ends", exc_info=(kind, error, trace))
