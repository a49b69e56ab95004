"""Alerts: which predictions a model's rules hold for, when that is an alert, and the latest of them."""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from pipeline.alert_config import AlertRule, output_of, rule_names
from pipeline.alert_messages import Alert
from pipeline.results import BatchResult
from pipeline.rule_conditions import Condition, Number
from pipeline.tensors import TensorSpec

MAX_KEYS: Final = 100_000  # whose predictions a rule counts, or of which it keeps quiet
MAX_RECENT: Final = 256


class Held(NamedTuple):
    """A rule that holds for a prediction: its number, the number that was compared, and the predicted label."""

    rule: int
    value: Number | None
    label: str | None


Verdict = tuple[Held, ...] | None  # what holds for one prediction; None: nothing does


class AlertRules:
    """The rules of one model version, and how far they are for each key.

    A rule becomes an alert once it has held for `for` predictions of a key in a row; then it counts anew. In the
    `cooldown_seconds` after an alert it counts on, and the key gets none from it. What is kept of a key is gone
    once its count is broken and its cooldown over; of more than `MAX_KEYS` the oldest is forgotten.
    """

    def __init__(
        self,
        model: str,
        version: str,
        rules: Sequence[AlertRule],
        outputs: Sequence[TensorSpec],
        max_keys: int = MAX_KEYS,
    ) -> None:
        """Take rules that have been checked against the model's outputs."""
        self._model = model
        self._version = version
        self._rules = tuple(rules)
        self._names = rule_names(rules)
        places = [output_of(rule, outputs) for rule in rules]
        self._outputs = [outputs[at].name for at in places]
        self._conditions = [Condition(rule, at, outputs[at]) for rule, at in zip(rules, places, strict=True)]
        self._max_keys = max_keys
        self._counts: dict[str, dict[int, int]] = {}  # by key and rule: predictions in a row
        self._quiet: list[dict[str, float]] = [{} for _ in rules]  # by rule and key: its last alert, oldest first

    def __repr__(self) -> str:
        quiet = sum(map(len, self._quiet))
        return (
            f"<AlertRules {self._model}/{self._version} rules={len(self._rules)} counts={len(self._counts)} {quiet=}>"
        )

    def __bool__(self) -> bool:
        return bool(self._rules)

    def judge(self, result: BatchResult) -> Sequence[Verdict]:
        """Return for each row of a run what holds."""
        verdicts: list[Verdict] = [None] * result.size
        with np.errstate(invalid="ignore"):  # signalling NaNs
            for number, condition in enumerate(self._conditions):
                labels = condition.labels(result)
                for row, value in condition.held(result.arrays[condition.output], labels):
                    held = Held(number, value, None if labels is None else labels[row])
                    verdicts[row] = (*(verdicts[row] or ()), held)
        return verdicts

    def note(self, key: str, verdict: Verdict, now: float, ts: float, event_id: int | str | None = None) -> list[Alert]:
        """Count a prediction and return the alerts that are due; call it in the order of the key's answers.

        `now` is in monotonic seconds, `ts` in unix seconds.
        """
        former = self._counts.pop(key, None)
        if not verdict:
            return []
        alerts = []
        counts = {}
        for held in verdict:
            number = held.rule
            count = 1 if former is None else former.get(number, 0) + 1
            if count >= self._rules[number].count and self._may_alert(number, key, now):
                alerts.append(self._alert(held, key, count, ts, event_id))
            else:
                counts[number] = count
        if counts:
            _put(self._counts, key, counts, self._max_keys)
        return alerts

    def forget(self, key: str) -> None:
        """Break the key's counts: its stream is gone. A cooldown outlives that, so that coming back does not end it."""
        self._counts.pop(key, None)

    def webhook(self, alert: Alert) -> str | None:
        """Return the URL that is to be told of an alert."""
        return self._rules[self._names.index(alert.rule)].webhook

    def _may_alert(self, number: int, key: str, now: float) -> bool:
        """Return whether no cooldown runs; if so, one begins now."""
        cooldown = self._rules[number].cooldown_seconds
        if not cooldown:
            return True
        quiet = self._quiet[number]
        while quiet and now - next(iter(quiet.values())) >= cooldown:
            del quiet[next(iter(quiet))]
        if key in quiet:
            return False
        _put(quiet, key, now, self._max_keys)
        return True

    def _alert(self, held: Held, key: str, count: int, ts: float, event_id: int | str | None) -> Alert:
        rule = self._rules[held.rule]
        return Alert(
            ts=ts,
            rule=self._names[held.rule],
            model=self._model,
            version=self._version,
            key=key,
            topic=f"{self._model}/{key}",
            label=held.label,
            output=self._outputs[held.rule],
            value=held.value,
            above=rule.above,
            below=rule.below,
            count=count,
            event_id=event_id,
        )


class RecentAlerts:
    """The latest alerts of all models, each with an id."""

    def __init__(self, limit: int = MAX_RECENT) -> None:
        self._alerts: deque[Alert] = deque(maxlen=limit)
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._alerts)

    def add(self, alert: Alert) -> None:
        """Keep an alert and number it; the oldest makes room for it."""
        self._last_id += 1
        alert.id = self._last_id
        self._alerts.appendleft(alert)

    def newest(self, limit: int = MAX_RECENT) -> list[Alert]:
        """Return up to `limit` alerts, newest first."""
        return list(self._alerts)[:limit]


def _put(known: dict[str, Any], key: str, value: Any, limit: int) -> None:
    """Add what is not there at the end; of more than `limit` the first is dropped."""
    known[key] = value
    if len(known) > limit:
        del known[next(iter(known))]
