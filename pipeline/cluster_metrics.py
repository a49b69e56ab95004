"""The numbers of a cluster's members as Prometheus reads them."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.fanout import Fanout
from pipeline.gateway_link import GatewayLink
from pipeline.order_channel import OrderChannel
from pipeline.redis_nodes import RedisNodes
from pipeline.remote_repository import RemoteRepository
from pipeline.worker_link import WorkerLink


class BackboneCollector(Collector):
    """Shows how a process and its backbone get on."""

    def __init__(self, nodes: RedisNodes) -> None:
        self._nodes = nodes

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        nodes, counts = self._nodes, self._nodes.counts
        yield GaugeMetricFamily("waterspout_backbone_up", "Whether Redis can be reached", float(nodes.is_up))
        seconds = nodes.round_trip_seconds
        yield GaugeMetricFamily("waterspout_backbone_round_trip_seconds", "What Redis took to answer last", seconds)
        yield CounterMetricFamily("waterspout_backbone_reconnects", "Connections made anew", counts.reconnects)
        yield CounterMetricFamily("waterspout_backbone_errors", "Commands that Redis did not do", counts.errors)


class GatewayCollector(Collector):
    """Shows what a gateway has sent, and how far workers are behind."""

    def __init__(self, link: GatewayLink, repository: RemoteRepository) -> None:
        self._link = link
        self._repository = repository

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        link = self._link
        yield GaugeMetricFamily("waterspout_workers", "Workers that this gateway knows", self._repository.workers)
        title = "Entries that no worker has yet (waiting), or that one works on (pending)"
        entries = GaugeMetricFamily("waterspout_queue_entries", title, labels=["queue", "state"])
        for queue, depth in sorted(link.depths.items()):
            entries.add_metric([queue, "waiting"], depth.waiting)
            entries.add_metric([queue, "pending"], depth.pending)
        yield entries
        yield CounterMetricFamily("waterspout_entries_sent", "Entries sent to workers", link.sent)
        yield CounterMetricFamily("waterspout_entries_resent", "Entries that were lost and sent again", link.resent)
        yield CounterMetricFamily("waterspout_replies_duplicate", "Replies to what was answered", link.duplicates)
        yield CounterMetricFamily("waterspout_replies_foreign", "Replies that could not be read", link.foreign)


class WorkerCollector(Collector):
    """Shows what a worker has taken."""

    def __init__(self, link: WorkerLink) -> None:
        self._link = link

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        link = self._link
        yield GaugeMetricFamily("waterspout_entries_held", "Entries that are not answered yet", link.held)
        yield CounterMetricFamily("waterspout_entries_taken", "Entries taken from queues", link.entries)
        yield CounterMetricFamily("waterspout_entries_claimed", "Entries taken over from other workers", link.claimed)
        yield CounterMetricFamily("waterspout_dead_letters", "Entries given up", link.dead_letters)
        yield CounterMetricFamily("waterspout_replies_unwanted", "Replies to gateways that are gone", link.unwanted)


class FanoutCollector(Collector):
    """Shows what is told to, and heard from, other processes about what is watched."""

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        fanout = self._fanout
        yield CounterMetricFamily("waterspout_letters_sent", "Updates told to other processes", fanout.outbox.sent)
        yield CounterMetricFamily("waterspout_letters_dropped", "Updates that could not be told", fanout.outbox.dropped)
        yield CounterMetricFamily("waterspout_letters_received", "Updates of others", fanout.incoming.received)
        yield CounterMetricFamily("waterspout_letters_lost", "Updates of others that were lost", fanout.incoming.lost)
        yield CounterMetricFamily("waterspout_letters_foreign", "Updates that could not be read", fanout.foreign)


class OrderCollector(Collector):
    """Shows what came as an operator's order, or as what became of one, and is neither."""

    def __init__(self, orders: OrderChannel) -> None:
        self._orders = orders

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        yield CounterMetricFamily("waterspout_orders_foreign", "Orders that could not be read", self._orders.foreign)
