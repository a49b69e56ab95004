"""The accounts of a process with all that goes on behind them: limits shared with others, usage written down."""

import logging
from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from pipeline.accounts import Accounts
from pipeline.allowances import make_allowances
from pipeline.settings import Settings
from pipeline.usage import Usage
from pipeline.usage_keeper import UsageKeeper
from pipeline.usage_metrics import LimitsCollector, UsageCollector
from pipeline.usage_store import SqliteUsage, UsageStore

if TYPE_CHECKING:
    from pipeline.cluster import Cluster

log = logging.getLogger(__name__)


class Bookkeeping:
    """Starts, stops and shows what accounts need."""

    def __init__(self, settings: Settings, cluster: "Cluster | None") -> None:
        """`cluster`: what joins this process to others over Redis, if anything does."""
        allowances = make_allowances(settings)
        usage = Usage()
        self.accounts = Accounts(allowances, usage)
        self.keeper = UsageKeeper(usage, _store(settings, cluster), allowances.identities)
        self.collectors: list[Collector] = [UsageCollector(usage), LimitsCollector(allowances)]
        self._shares = None
        if cluster is not None:
            from pipeline.limit_shares import LimitShares  # needed by those alone that have a Redis

            self._shares = LimitShares(cluster.backbone, cluster.name, allowances)

    def __repr__(self) -> str:
        return f"<Bookkeeping {self.accounts!r} {self.keeper!r} {self._shares!r}>"

    async def start(self) -> None:
        """Load what was spent, and begin to write and share."""
        await self.keeper.start()
        if self._shares is not None:
            await self._shares.start()

    async def stop(self) -> None:
        """Write what there is, and let go."""
        if self._shares is not None:
            await self._shares.stop()
        await self.keeper.stop()


def wants_books(settings: Settings) -> bool:
    """Return whether anything is bounded or anybody known; where not, there is nothing to keep books of.

    A worker is asked for nothing by clients, and would only take a part of what gateways share.
    """
    if settings.role == "worker":
        return False
    bounds = (settings.identity_limits, settings.address_limits, *settings.limits_of.values())
    return settings.has_credentials or any(not limits.are_none for limits in bounds)


def _store(settings: Settings, cluster: "Cluster | None") -> UsageStore:
    if settings.usage_in_redis and cluster is not None:
        from pipeline.redis_usage import RedisUsage

        return RedisUsage(cluster.backbone.nodes, cluster.backbone.keys, cluster.name, settings.usage_days)
    return SqliteUsage(settings.usage_db, settings.usage_days)
