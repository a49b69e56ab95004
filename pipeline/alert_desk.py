"""Where alerts go: kept, counted, told to those who watch, and handed to webhooks."""

import logging
import time
from collections.abc import Callable
from typing import Final

from pipeline.alert_messages import Alert
from pipeline.alerts import AlertRules, RecentAlerts, Verdict
from pipeline.hub import Hub
from pipeline.results import BatchResult
from pipeline.stats import ServerStats
from pipeline.topics import Topic
from pipeline.watch_messages import AlertUpdate

log = logging.getLogger(__name__)

_monotonic: Final = time.monotonic
_unix: Final = time.time


class AlertDesk:
    """What all models' alerts pass."""

    def __init__(self, stats: ServerStats, hub: Hub) -> None:
        self.recent = RecentAlerts()
        #: Sends an alert to a URL.
        self.call_webhook: Callable[[str, Alert], None] = _send_nothing
        #: Told of each alert that was raised here.
        self.on_alert: Callable[[Alert], None] = _tell_nobody
        self._stats = stats
        self._hub = hub

    def take(self, alert: Alert, webhook: str | None) -> None:
        """Tell everybody of an alert, with the URL in `webhook` to call."""
        self.note(alert)
        self._stats.alerts[alert.model, alert.version, alert.rule] += 1
        self.on_alert(alert)
        if webhook is not None:
            self.call_webhook(webhook, alert)

    def note(self, alert: Alert) -> None:
        """Keep an alert and tell those who watch, wherever it was raised."""
        self.recent.add(alert)
        self._hub.announce(_Notice(alert))


class Alerting:
    """The rules of one model version at work: what holds is judged once per run, and noted row by row."""

    def __init__(self, rules: AlertRules, desk: AlertDesk) -> None:
        self._rules = rules
        self._desk = desk

    def verdict(self, result: BatchResult, row: int) -> Verdict:
        """Return what holds for a row of a run."""
        if result.verdicts is None:
            try:
                result.verdicts = self._rules.judge(result)
            except Exception:  # a fault in it must not cost anybody an answer
                log.exception("%r could not be judged", self._rules)
                result.verdicts = [None] * result.size
        verdict: Verdict = result.verdicts[row]
        return verdict

    def note(self, key: str, verdict: Verdict, event_id: int | str | None) -> None:
        """Count a prediction, in the order of its key's answers."""
        for alert in self._rules.note(key, verdict, _monotonic(), round(_unix(), 6), event_id):
            self._desk.take(alert, self._rules.webhook(alert))

    def forget(self, key: str) -> None:
        """Break the counts of a key that will not come back."""
        self._rules.forget(key)


class _Notice:
    """An alert as watchers see it (a `topics.Value`)."""

    def __init__(self, alert: Alert) -> None:
        self._alert = alert
        self.ts = alert.ts

    def message(self, topic: Topic, *, lists: bool, inputs: bool) -> AlertUpdate:
        """Return the message that tells it."""
        del lists, inputs
        return AlertUpdate(topic.name, self._alert)

    def relayed(self, topic: Topic, *, inputs: bool) -> None:
        """Return nothing: who raises an alert tells others of it."""
        del topic, inputs


def _tell_nobody(alert: Alert) -> None:
    del alert


def _send_nothing(url: str, alert: Alert) -> None:
    del url, alert
