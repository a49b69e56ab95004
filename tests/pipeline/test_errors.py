"""Errors and close codes are what the documentation of the protocol says they are."""

import re
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.errors import CloseCode, ConfigError, Overloaded, RateLimited, WaterspoutError

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
TOLD_TO_CLIENTS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, WaterspoutError) and kind not in (WaterspoutError, ConfigError)
]


def section(title: str) -> str:
    return PROTOCOL.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("kind", TOLD_TO_CLIENTS, ids=lambda kind: kind.__name__)
def test_every_error_is_documented_with_whether_to_try_again(kind: type[WaterspoutError]) -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| (yes|no) \|", section("Error codes"), re.MULTILINE))
    assert documented.get(kind.code) == ("yes" if kind.retryable else "no")


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in TOLD_TO_CLIENTS]
    assert len(set(codes)) == len(codes) == 13


def test_every_close_code_is_documented() -> None:
    documented = {
        int(code)
        for row in re.findall(r"^\| ([\d, ]+) \|", section("Close codes"), re.MULTILINE)
        for code in row.split(",")
    }
    assert documented == set(CloseCode) - {CloseCode.NORMAL}


def test_overload_says_when_to_try_again() -> None:
    assert Overloaded("full").retry_after_ms == 100
    assert (str(Overloaded("full", 1000)), Overloaded("full", 1000).retry_after_ms) == ("full", 1000)


def test_a_rate_that_is_passed_says_when_to_try_again() -> None:
    assert RateLimited("too many").retry_after_ms == 1000
    assert RateLimited("too many", 50).retry_after_ms == 50
