"""Read a number that a server tells of itself at `/metrics`."""

from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


def metric(url: str, name: str) -> float:
    """Return the sum of a metric's samples; `url` is that of the server."""
    with urlopen(f"{url}/metrics") as answer:  # noqa: S310
        families = text_string_to_metric_families(answer.read().decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)
