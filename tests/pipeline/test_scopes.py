"""Scopes: what each allows, what it does not, and which texts are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidMessage
from pipeline.scopes import EVERYTHING, MAX_LENGTH, MAX_SCOPES, Scopes
from pipeline.topics import Pattern

PREDICT = [
    ("predict:*", "activity", True),
    ("predict:activity", "activity", True),
    ("predict:activity", "activity2", False),
    ("predict:activity*", "activity-v2", True),
    ("predict:a*z", "abcz", True),
    ("predict:a*z", "az", True),
    ("predict:a*a", "a", False),
    ("predict:a.c", "abc", False),
    ("predict:[ab]", "a", False),
    ("predict:A", "a", False),
    ("watch:*", "activity", False),
    ("admin", "activity", True),
]
WATCH = [
    ("watch:*", "a/1", True),
    ("watch:*", "*/*", True),
    ("watch:*", "$stats", True),
    ("watch:*/*", "*/*", True),
    ("watch:*/*", "$stats", False),
    ("watch:$stats", "$stats", True),
    ("watch:$stats", "$alerts", False),
    ("watch:$stats", "$stats/1", False),
    ("watch:a/*", "a/1", True),
    ("watch:a/*", "a/*", True),
    ("watch:a/*", "a/b/*", True),
    ("watch:a/*", "a*/1", False),
    ("watch:a/*", "*/*", False),
    ("watch:a/*", "*", False),
    ("watch:a/*", "ab/1", False),
    ("watch:a*/1", "a*/1", True),
    ("watch:a*/1", "ab*/1", True),
    ("watch:a*/1", "a*/*", False),
    ("watch:*/sensor-*", "m/sensor-1", True),
    ("watch:*/sensor-*", "m/x/sensor-1", False),
    ("watch:*/sensor-*", "*/sensor-*", True),
    ("watch:*/sensor-*", "*/sensor*", False),
    ("watch:a/x*x", "a/x*", False),
    ("predict:*", "a/1", False),
    ("admin", "*/*", True),
    ("admin", "$stats", True),
]


@pytest.mark.parametrize(("scope", "model", "may"), PREDICT)
def test_a_scope_lets_predict(scope: str, model: str, may: bool) -> None:
    assert Scopes.parse([scope]).may_predict(model) is may


@pytest.mark.parametrize(("scope", "pattern", "may"), WATCH)
def test_a_scope_lets_watch(scope: str, pattern: str, may: bool) -> None:
    assert Scopes.parse([scope]).may_watch(pattern) is may


def test_without_scopes_nothing_is_allowed() -> None:
    none = Scopes.parse([])
    assert not none.is_admin
    assert not none.may_predict("a")
    assert not any(none.may_watch(pattern) for pattern in ("a/1", "$stats"))
    assert repr(none) == "<Scopes none>"


@pytest.mark.parametrize(
    ("scope", "may"),
    [
        ("predict:a*", True),
        ("watch:ab/1", True),
        ("watch:a*/x*", True),
        ("watch:*", True),
        ("admin", True),
        ("watch:$stats", False),
        ("watch:b/*", False),
        ("predict:b", False),
    ],
)
def test_a_model_is_seen_by_who_may_predict_or_watch_any_of_its_keys(scope: str, may: bool) -> None:
    assert Scopes.parse([scope]).may_see("ab") is may


def test_several_add_up_and_keep_their_texts() -> None:
    scopes = Scopes.parse(["predict:a", "watch:a/*", "predict:b", "predict:a"])
    assert scopes.texts == ("predict:a", "watch:a/*", "predict:b")
    assert scopes.may_predict("b")
    assert scopes.may_watch("a/1")
    assert not scopes.may_predict("c")
    assert scopes == Scopes.parse(reversed(scopes.texts))
    assert hash(scopes) == hash(Scopes.parse(reversed(scopes.texts)))
    assert scopes != EVERYTHING


@pytest.mark.parametrize(
    "text",
    [
        "",
        "predict",
        "predict:",
        "watch:",
        "watch:activity",
        "watch:/1",
        "watch:a/",
        "watch:$sta*",
        "watch:$stats/1",
        "admin:all",
        "Admin",
        "write:a",
        " admin",
        "predict:a\n",
        "predict:\0",
        "predict:" + "x" * MAX_LENGTH,
    ],
)
def test_what_is_no_scope_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="scope ") as caught:
        Scopes.parse(["predict:a", text])
    assert repr(text[:20])[:-1] in str(caught.value)


def test_scopes_are_bounded() -> None:
    with pytest.raises(ValueError, match="more than"):
        Scopes.parse(f"predict:{n}" for n in range(MAX_SCOPES + 1))


PIECES = st.text("ab*", min_size=1, max_size=6)
GLOBS = st.builds("{}/{}".format, PIECES, st.text("ab*/", min_size=1, max_size=6))


@given(granted=GLOBS, asked=GLOBS, topic=st.builds("{}/{}".format, st.text("ab", min_size=1), st.text("ab/")))
def test_whoever_may_watch_a_pattern_is_shown_nothing_that_was_not_granted(
    granted: str, asked: str, topic: str
) -> None:
    if Scopes.parse([f"watch:{granted}"]).may_watch(asked) and Pattern(asked).fits(topic):
        assert Pattern(granted).fits(topic)


@given(granted=GLOBS, asked=GLOBS)
def test_a_pattern_that_is_refused_could_show_what_was_not_granted(granted: str, asked: str) -> None:
    if not Scopes.parse([f"watch:{granted}"]).may_watch(asked):
        topic = asked.replace("*", "c")
        assert not Pattern(granted).fits(topic)


@given(st.text())
def test_what_is_granted_can_be_asked_for_again(text: str) -> None:
    try:
        scopes = Scopes.parse([f"watch:{text}"])
        Pattern(text)
    except (ValueError, InvalidMessage):
        return
    assert scopes.may_watch(text)
