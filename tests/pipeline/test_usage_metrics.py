"""Usage and refusals through the eyes of a Prometheus server, and what the documentation says of them."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.allowances import Allowances, AllowanceTable
from pipeline.limit_config import Limits
from pipeline.usage import Usage
from pipeline.usage_metrics import LimitsCollector, UsageCollector

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def exposed(usage: Usage, allowances: Allowances) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(UsageCollector(usage))
    registry.register(LimitsCollector(allowances))
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def allowances() -> Allowances:
    limits = Limits(events_per_second=1, burst_seconds=1)
    return Allowances(AllowanceTable("identity", limits, {}, 10), AllowanceTable("address", Limits(sockets=1), {}, 10))


def test_prometheus_reads_what_was_used_and_refused() -> None:
    usage, everyone = Usage(most_labels=1), allowances()
    meter = everyone.open_socket("acme", "10.0.0.1", 0.0)
    refused = [meter.take_event(1, 0.0) > 0 for _ in range(4)]
    assert refused == [False, True, True, True]
    for identity in ("acme", "second", 'third "\n'):
        tally = usage.open(identity, "activity")
        tally.events += 5
        tally.predictions += 4
        tally.errors += 1
        tally.bytes += 500
        tally.compute_seconds += 0.25
    usage.fold(0)
    assert exposed(usage, everyone) == {
        ("waterspout_usage_events_total", "acme", "activity"): 5,
        ("waterspout_usage_events_total", "other", "activity"): 10,
        ("waterspout_usage_predictions_total", "acme", "activity"): 4,
        ("waterspout_usage_predictions_total", "other", "activity"): 8,
        ("waterspout_usage_errors_total", "acme", "activity"): 1,
        ("waterspout_usage_errors_total", "other", "activity"): 2,
        ("waterspout_usage_bytes_total", "acme", "activity"): 500,
        ("waterspout_usage_bytes_total", "other", "activity"): 1000,
        ("waterspout_usage_compute_seconds_total", "acme", "activity"): 0.25,
        ("waterspout_usage_compute_seconds_total", "other", "activity"): 0.5,
        ("waterspout_allowances", "identity"): 1,
        ("waterspout_allowances", "address"): 1,
        ("waterspout_rate_limited_total", "events_per_second", "identity"): 3,
    }


def test_labels_are_bounded_however_many_identities_there_are() -> None:
    usage = Usage(most_labels=10)
    for number in range(500):
        usage.open(f"id{number}", "m").events += 1
        usage.fold(0)
    shown = [key for key in exposed(usage, allowances()) if key[0] == "waterspout_usage_events_total"]
    assert len(shown) == 11


def test_every_metric_is_documented_and_there() -> None:
    usage, everyone = Usage(), allowances()
    usage.open("acme", "m").events += 1
    usage.fold(0)
    everyone.identities.refusals["keys"] = 1
    section = OPERATIONS.partition("### Metrics of usage")[2].partition("\n##")[0]
    assert set(re.findall(r"\b(waterspout_[a-z_]+)\b", section)) == {name for name, *_ in exposed(usage, everyone)}
