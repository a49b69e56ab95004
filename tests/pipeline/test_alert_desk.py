"""Where alerts go, and what happens to a prediction that cannot be judged."""

import logging
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.alert_config import AlertRule
from pipeline.alert_desk import AlertDesk, Alerting
from pipeline.alert_messages import Alert
from pipeline.alerts import AlertRules
from pipeline.hub import Hub
from pipeline.results import BatchResult
from pipeline.stats import ServerStats
from pipeline.tensors import DTYPES, TensorSpec
from pipeline.topics import ALERTS

from .hub_parts import Lines, RecordingWatcher, flush

SPEC = TensorSpec("y", DTYPES["float32"], (2,))


def watched_hub() -> tuple[Hub, RecordingWatcher]:
    """Return a hub, and who watches its alerts."""
    hub, watcher = Hub(), RecordingWatcher(Lines())
    hub.subscribe(watcher, [ALERTS], 1.0)
    flush(hub, 0.0)
    return hub, watcher


class CountingRules(AlertRules):
    """Counts how often it is asked."""

    judged = 0

    def judge(self, result: BatchResult) -> Any:
        """Count."""
        self.judged += 1
        return super().judge(result)


def result(*rows: tuple[float, float]) -> BatchResult:
    return BatchResult([SPEC], [np.array(rows, np.float32)], {})


def test_an_alert_is_numbered_kept_counted_announced_and_sent() -> None:
    stats = ServerStats()
    hub, watcher = watched_hub()
    desk = AlertDesk(stats, hub)
    called: list[tuple[str, Alert]] = []
    rules = [AlertRule("hook", above=1.0, webhook="http://host/x"), AlertRule(below=-1.0)]
    alerting = Alerting(AlertRules("m", "2", rules, [SPEC]), desk)
    run = result((2, 0), (0, 0), (0, -2))
    alerting.note("k", alerting.verdict(run, 2), None)  # goes nowhere besides, before a sender is there
    desk.call_webhook = lambda url, alert: called.append((url, alert))
    for row in range(2):
        alerting.note("k", alerting.verdict(run, row), row)
    second, first = desk.recent.newest()
    assert [(alert.id, alert.rule, alert.event_id) for alert in (first, second)] == [
        (1, "alert-2", None),
        (2, "hook", 0),
    ]
    assert called == [("http://host/x", second)]
    assert stats.alerts == {("m", "2", "hook"): 1, ("m", "2", "alert-2"): 1}
    assert watcher.messages == [{"topic": ALERTS, "alert": msgspec.to_builtins(alert)} for alert in (first, second)]


def test_a_run_is_judged_once() -> None:
    rules = CountingRules("m", "1", [AlertRule(above=1.0)], [SPEC])
    alerting = Alerting(rules, AlertDesk(ServerStats(), Hub()))
    for run in (result((2, 0), (0, 0)), result((0, 0))):
        for row in range(run.size):
            alerting.verdict(run, row)
    assert rules.judged == 2


def test_what_cannot_be_judged_holds_for_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    alerting = Alerting(AlertRules("m", "1", [AlertRule(above=1.0)], [SPEC]), AlertDesk(ServerStats(), Hub()))
    run = result((2, 0), (2, 0))
    run.arrays = []  # as no engine would have it
    assert [alerting.verdict(run, row) for row in range(2)] == [None, None]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "<AlertRules m/1 rules=1 counts=0 quiet=0> could not be judged"


def test_a_key_that_will_not_come_back_is_forgotten() -> None:
    desk = AlertDesk(ServerStats(), Hub())
    alerting = Alerting(AlertRules("m", "1", [AlertRule(above=1.0, count=2)], [SPEC]), desk)
    run = result((2, 0))
    for _ in range(3):
        alerting.note("~1", alerting.verdict(run, 0), None)
        alerting.forget("~1")
    assert not len(desk.recent)
