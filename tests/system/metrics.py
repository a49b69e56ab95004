"""The server's own numbers, read as Prometheus reads them."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from .client import Reply, get
from .process import Server


class Metrics:
    """One scrape; unknown samples are 0, as those are that nothing has happened to yet."""

    def __init__(self, source: Server | Reply) -> None:
        reply = get(source, "/metrics") if isinstance(source, Server) else source
        assert reply.status == 200
        self.families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: Any) -> float:
        """Return the value of a sample, `waterspout_` left out; `model` means its version 1."""
        if "model" in labels:
            labels = {"version": "1", **labels}
        return self._samples.get((f"waterspout_{name}", frozenset(labels.items())), 0.0)
