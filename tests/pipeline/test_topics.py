"""Patterns choose topics as a naive search says, and wrong ones are named."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidMessage
from pipeline.topics import ALERTS, STATS, Pattern, read_patterns

TEXT = st.text("ab/*", min_size=1, max_size=8)


def naive(pattern: str, topic: str) -> bool:
    """Return whether a topic fits, by regular expressions."""
    return all(
        re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), given, re.DOTALL) is not None
        for wanted, given in zip(pattern.split("/", 1), topic.split("/", 1), strict=True)
    )


@given(model=st.text("ab*", min_size=1, max_size=6), key=TEXT, name=st.text("ab", max_size=6), of=TEXT)
def test_a_star_stands_for_any_run_of_characters(model: str, key: str, name: str, of: str) -> None:
    assert Pattern(f"{model}/{key}").fits(f"{name}/{of}") == naive(f"{model}/{key}", f"{name}/{of}")


@given(model=st.text("ab*", min_size=1, max_size=6), key=TEXT, name=st.text("ab", max_size=6), of=TEXT)
def test_a_model_of_which_no_topic_fits_is_not_wanted(model: str, key: str, name: str, of: str) -> None:
    pattern = Pattern(f"{model}/{key}")
    if pattern.fits(f"{name}/{of}"):
        assert pattern.fits_model(name)


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("activity/*", ["activity/a", "activity/a/b", "activity/~1-2"], ["activity", "activities/a", STATS]),
        ("*/wrist-*", ["a/wrist-1", "b/wrist-"], ["a/ankle-1", "a/my-wrist-1", "wrist-1"]),
        ("*/*", ["a/b", "a/b/c"], [STATS, ALERTS]),
        ("a/b*c*d", ["a/bcd", "a/b1c2d", "a/bccdd"], ["a/bd", "a/bdc", "a/bc"]),
        ("a/aa*aa", ["a/aaaa"], ["a/aaa"]),
        (STATS, [STATS], ["$stats/a", "a/$stats", ALERTS]),
    ],
)
def test_patterns_fit(pattern: str, fitting: list[str], others: list[str]) -> None:
    chosen = Pattern(pattern)
    assert all(chosen.fits(topic) for topic in fitting)
    assert not any(chosen.fits(topic) for topic in others)


@pytest.mark.parametrize("text", ["", "activity", "/a", "a/", "/", "$status", "$stats/*", "*"])
def test_what_is_no_pattern_is_named_with_its_place(text: str) -> None:
    expected = r"topics\[1\]: expected \{model\}/\{key\}, \$stats or \$alerts, got '" + re.escape(text)
    with pytest.raises(InvalidMessage, match=expected):
        read_patterns(["a/b", text])
