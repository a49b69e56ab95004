"""The numbers of several processes, added up: exact, and never sinking."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pipeline.merged_metrics import Family, Key, Ledger, expose, process_metrics, snapshot
from pipeline.metrics import make_registry
from pipeline.stats import ModelStats, ServerStats

from .test_metrics import jobs

A1 = (("model", "a"), ("version", "1"))
A2 = (("model", "a"), ("version", "2"))


def counter(*samples: tuple[tuple[tuple[str, str], ...], float]) -> Family:
    return Family("c", "Counted", "counter", [("c_total", labels, value) for labels, value in samples])


def gauge(value: float, name: str = "g") -> Family:
    return Family(name, "Measured", "gauge", [(name, (), value)])


def shown(ledger: Ledger, *present: int) -> dict[Key, float]:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for metric in ledger.metrics(present)
        for sample in metric.samples
    }


def test_an_empty_ledger_shows_nothing() -> None:
    assert Ledger().metrics([]) == []


def test_counts_and_gauges_add_up() -> None:
    ledger = Ledger()
    ledger.tell(1, [counter(((), 5)), gauge(2)])
    ledger.tell(2, [counter(((), 7)), gauge(3)])
    assert shown(ledger, 1, 2) == {("c_total", ()): 12, ("g", ()): 5}
    ledger.tell(2, [counter(((), 8)), gauge(0)])
    assert shown(ledger, 1, 2) == {("c_total", ()): 13, ("g", ()): 2}
    assert repr(ledger) == "<Ledger processes=2 past=0>"


def test_of_what_all_see_alike_the_largest_is_shown() -> None:
    ledger = Ledger(largest={"lag"})
    for process, value in enumerate((3.0, 9.0, 4.0)):
        ledger.tell(process, [gauge(value, "lag"), gauge(value)])
    assert shown(ledger, 0, 1, 2) == {("lag", ()): 9, ("g", ()): 16}
    assert shown(ledger, 0, 2) == {("lag", ()): 4, ("g", ()): 7}


def test_a_process_that_does_not_answer_keeps_its_counts_and_loses_its_gauges() -> None:
    ledger = Ledger()
    for process in (1, 2):
        ledger.tell(process, [counter(((), 5)), gauge(2)])
    assert shown(ledger, 1) == {("c_total", ()): 10, ("g", ()): 2}


def test_what_a_dead_process_counted_stays() -> None:
    ledger = Ledger()
    ledger.tell(1, [counter((A1, 5), ((("code", "x"),), 3)), gauge(2)])
    ledger.tell(2, [counter((A1, 1)), gauge(2)])
    ledger.forget(1)
    assert shown(ledger, 1, 2) == {("c_total", A1): 6, ("c_total", (("code", "x"),)): 3, ("g", ()): 2}
    ledger.tell(1, [counter((A1, 10)), gauge(2)])
    assert shown(ledger, 1, 2)["c_total", A1] == 16
    ledger.forget(1)
    ledger.forget(2)
    ledger.forget(3)
    assert shown(ledger) == {("c_total", (("code", "x"),)): 3}


def test_a_version_ends_when_the_last_process_retires_it() -> None:
    ledger = Ledger()
    for process in (1, 2):
        ledger.tell(process, [counter((A1, 5), (A2, 1))])
    ledger.tell(1, [counter((A2, 2))])
    assert shown(ledger, 1, 2) == {("c_total", A1): 10, ("c_total", A2): 3}
    ledger.tell(2, [counter((A2, 2))])
    assert shown(ledger, 1, 2) == {("c_total", A2): 4}
    ledger.tell(1, [counter((A1, 7), (A2, 2))])
    assert shown(ledger, 1, 2) == {("c_total", A1): 7, ("c_total", A2): 4}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("count"), st.integers(1, 3), st.integers(0, 9)),
            st.tuples(st.just("tell"), st.integers(1, 3), st.just(0)),
            st.tuples(st.just("die"), st.integers(1, 3), st.just(0)),
        )
    )
)
def test_the_sum_is_all_that_was_ever_told(steps: list[tuple[str, int, int]]) -> None:
    ledger, counts, told, past = Ledger(), dict.fromkeys((1, 2, 3), 0), dict.fromkeys((1, 2, 3), 0), 0
    for step, process, number in steps:
        if step == "count":
            counts[process] += number
        elif step == "tell":
            told[process] = counts[process]
            ledger.tell(process, [counter(((), counts[process]))])
        else:
            past += told[process]
            counts[process] = told[process] = 0
            ledger.forget(process)
        assert shown(ledger).get(("c_total", ()), 0) == past + sum(told.values())


def busy(rows: int, name: str) -> ServerStats:
    stats = ServerStats()
    stats.sockets = lambda: rows
    stats.errors["overloaded"] += rows
    stats.models[name, "1"] = stats.models["both", "1"] = model = ModelStats(lambda: 1)
    model.observe(jobs(*[0.0] * rows), started_at=0.5, done_at=1.0, run_seconds=0.004)
    return stats


@pytest.mark.parametrize(
    ("accept", "media_type", "parse"),
    [
        ("", "text/plain", text_string_to_metric_families),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", parse_openmetrics),
    ],
)
def test_prometheus_reads_the_sums_of_two_servers(
    accept: str, media_type: str, parse: Callable[[str], Iterable[Metric]]
) -> None:
    ledger = Ledger()
    ledger.tell(1, snapshot(make_registry(busy(3, "one"))))
    ledger.tell(2, snapshot(make_registry(busy(4, "two"))))
    content_type, body = expose([*process_metrics({"ready": 2, "down": 0}, 7), *ledger.metrics([1, 2])], accept)
    assert content_type.startswith(media_type)
    families = list(parse(body.decode()))
    alone = {family.name: family.type for family in make_registry(busy(1, "one")).collect()}
    assert {family.name: family.type for family in families if family.name in alone} == alone
    values = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    expected = {
        ("waterspout_processes", "ready"): 2,
        ("waterspout_processes", "down"): 0,
        ("waterspout_process_restarts_total",): 7,
        ("waterspout_sockets",): 7,
        ("waterspout_errors_total", "overloaded"): 7,
        ("waterspout_predictions_total", "one", "1"): 3,
        ("waterspout_predictions_total", "two", "1"): 4,
        ("waterspout_predictions_total", "both", "1"): 7,
        ("waterspout_queue_depth", "both", "1"): 2,
        ("waterspout_batch_rows_bucket", "2.0", "both", "1"): 0,
        ("waterspout_batch_rows_bucket", "4.0", "both", "1"): 2,
        ("waterspout_batch_rows_count", "both", "1"): 2,
        ("waterspout_batch_rows_sum", "both", "1"): 7,
        ("waterspout_end_to_end_seconds_count", "both", "1"): 7,
        ("waterspout_end_to_end_seconds_sum", "both", "1"): 7,
    }
    assert {key: values.get(key) for key in expected} == expected
