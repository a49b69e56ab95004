"""When what holds is an alert: predictions in a row, cooldowns, one key apart from another."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alert_config import AlertRule
from pipeline.alert_messages import Alert
from pipeline.alerts import AlertRules, Held, RecentAlerts, Verdict
from pipeline.tensors import DTYPES, TensorSpec

OUTPUTS = [TensorSpec("y", DTYPES["float32"], (3,))]


def made(*rules: AlertRule, max_keys: int = 1000) -> AlertRules:
    return AlertRules("m", "7", rules, OUTPUTS, max_keys)


def holds(*numbers: int) -> Verdict:
    return tuple(Held(number, 0.5, None) for number in numbers) or None


@dataclass
class Naive:
    """One rule for one key: it looks back over all that has been."""

    rule: AlertRule
    run: int = 0
    alerts: list[float] = field(default_factory=list)

    def note(self, is_held: bool, now: float) -> int | None:
        """Return the count of the alert that is due."""
        self.run = self.run + 1 if is_held else 0
        if self.run < self.rule.count:
            return None
        if any(now - before < self.rule.cooldown_seconds for before in self.alerts):
            return None
        self.alerts.append(now)
        count, self.run = self.run, 0
        return count


RULES = st.lists(
    st.builds(
        AlertRule,
        above=st.just(0.0),
        count=st.integers(1, 4),
        cooldown_seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    ),
    min_size=1,
    max_size=3,
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.frozensets(st.integers(0, 2)),
        st.sampled_from([0.0, 0.1, 0.5, 1.0, 5.0]),
        st.integers(0, 9).map(lambda number: number == 0),
    ),
    max_size=60,
)


@given(RULES, STEPS)
def test_alerts_come_as_a_naive_reference_has_them(
    rules: list[AlertRule], steps: list[tuple[str, frozenset[int], float, bool]]
) -> None:
    own = made(*rules)
    naive = {(key, number): Naive(rule) for key in "abc" for number, rule in enumerate(rules)}
    now = 100.0
    for event_id, (key, held, pause, is_gone) in enumerate(steps):
        now += pause
        if is_gone:
            own.forget(key)
            for number in range(len(rules)):
                naive[key, number].run = 0
        numbers = [number for number in range(len(rules)) if number in held]
        alerts = own.note(key, holds(*numbers), now, now + 1e9, event_id)
        expected = [
            (f"alert-{number + 1}", count)
            for number in range(len(rules))
            if (count := naive[key, number].note(number in held, now)) is not None
        ]
        assert [(alert.rule, alert.count) for alert in alerts] == expected
        assert all((alert.key, alert.ts, alert.event_id) == (key, now + 1e9, event_id) for alert in alerts)


@given(RULES, STEPS)
def test_a_key_s_alerts_do_not_depend_on_other_keys(
    rules: list[AlertRule], steps: list[tuple[str, frozenset[int], float, bool]]
) -> None:
    def alerts_of(own: AlertRules, keys: str) -> list[Alert]:
        alerts, now = [], 100.0
        for key, held, pause, _ in steps:
            now += pause
            if key in keys:
                alerts += own.note(key, holds(*sorted(held & set(range(len(rules))))), now, now)
        return alerts

    together = alerts_of(made(*rules), "abc")
    for key in "abc":
        assert alerts_of(made(*rules), key) == [alert for alert in together if alert.key == key]


def kept(rules: AlertRules) -> tuple[str, str]:
    counts, quiet = repr(rules).removesuffix(">").split()[-2:]
    return counts, quiet


def test_nothing_is_kept_of_a_key_without_a_count_or_a_cooldown() -> None:
    rules = made(AlertRule(above=0.0, count=2), AlertRule(above=0.0, cooldown_seconds=1.0))
    rules.note("a", None, 0.0, 0.0)
    assert kept(rules) == ("counts=0", "quiet=0")
    rules.note("a", holds(0), 0.0, 0.0)
    assert kept(rules) == ("counts=1", "quiet=0")
    assert rules.note("a", holds(0), 0.0, 0.0)
    assert kept(rules) == ("counts=0", "quiet=0")
    assert rules.note("b", holds(1), 0.0, 0.0)
    assert kept(rules) == ("counts=0", "quiet=1")
    assert rules.note("c", holds(1), 1.0, 1.0)  # that of b is over
    assert kept(rules) == ("counts=0", "quiet=1")


def test_a_cooldown_outlives_the_stream_and_a_count_does_not() -> None:
    rules = made(AlertRule(above=0.0, count=2), AlertRule(above=0.0, cooldown_seconds=10.0))
    assert [alert.rule for alert in rules.note("a", holds(0, 1), 0.0, 0.0)] == ["alert-2"]
    rules.forget("a")
    assert not rules.note("a", holds(0, 1), 1.0, 1.0)
    assert [alert.count for alert in rules.note("a", holds(0, 1), 11.0, 11.0)] == [2, 2]


@given(st.lists(st.integers(0, 50), max_size=200))
def test_what_is_kept_is_bounded(keys: Sequence[int]) -> None:
    rules = made(AlertRule(above=0.0, count=1000), AlertRule(above=0.0, cooldown_seconds=1e6), max_keys=5)
    for key in keys:
        rules.note(str(key), holds(0, 1), 0.0, 0.0)
    known = min(5, len(set(keys)))
    assert kept(rules) == (f"counts={known}", f"quiet={known}")


def test_of_too_many_keys_the_one_that_was_silent_longest_is_forgotten() -> None:
    rules = made(AlertRule(above=0.0, count=2), max_keys=2)
    for key in ("old", "new", "old", "new"):
        rules.note(key, holds(0), 0.0, 0.0)
    rules.note("old", holds(0), 0.0, 0.0)
    rules.note("new", holds(0), 0.0, 0.0)
    rules.note("newest", holds(0), 0.0, 0.0)
    assert not rules.note("old", holds(0), 0.0, 0.0)
    assert rules.note("newest", holds(0), 0.0, 0.0)


def test_an_alert_says_what_was_seen_and_what_was_asked() -> None:
    rules = made(
        AlertRule("fall", above=0.8, below=2.0, count=1, webhook="http://host/x"), AlertRule(label=["a"], output="y")
    )
    first, second = rules.note("k", (Held(0, 0.97, "a"), Held(1, None, "a")), 5.0, 1763683200.25, 7)
    recent = RecentAlerts()
    recent.add(first)
    recent.add(second)
    common = {"model": "m", "version": "7", "key": "k", "topic": "m/k", "ts": 1763683200.25, "output": "y"}
    assert json.loads(msgspec.json.encode(recent.newest())) == [
        {"id": 2, "rule": "alert-2", "label": "a", "count": 1, "event_id": 7, **common},
        {"id": 1, "rule": "fall", "label": "a", "value": 0.97, "above": 0.8, "below": 2.0, "count": 1, "event_id": 7}
        | common,
    ]
    assert [rules.webhook(alert) for alert in (first, second)] == ["http://host/x", None]


def test_rules_without_any_are_falsy() -> None:
    assert not made()
    assert made(AlertRule(above=0.0))


@given(st.integers(0, 20), st.integers(1, 8), st.integers(1, 10))
def test_the_latest_are_kept_newest_first(count: int, limit: int, asked: int) -> None:
    recent = RecentAlerts(limit)
    rules = made(AlertRule(above=0.0))
    for _ in range(count):
        (alert,) = rules.note("k", holds(0), 0.0, 0.0)
        recent.add(alert)
    ids = range(count, 0, -1)
    assert [alert.id for alert in recent.newest()] == [*ids][:limit]
    assert [alert.id for alert in recent.newest(asked)] == [*ids][: min(limit, asked)]
    assert len(recent) == min(count, limit)
