"""Which Redis has a key: the only one, or one of the primaries of a Redis Cluster."""

import asyncio
import logging
from math import inf
from time import monotonic
from typing import Final

from pipeline.backbone import BackboneDown
from pipeline.redis_link import TIMEOUT, Counts, RedisLink
from pipeline.redis_records import SLOTS, Keys, is_cluster, key_slot, parse_slots, parse_version
from pipeline.redis_url import at

log = logging.getLogger(__name__)

LOOK_AGAIN: Final = 0.25  # seconds between two looks at a cluster's slots at least


class RedisNodes:
    """Links to all that hold keys of ours.

    Of a cluster the URL names any node. Who gets `BackboneDown`, since a key has moved or its primary is gone, calls
    again and is led to the new one: slots are looked up when it is first used, when one has moved, and after errors.
    """

    def __init__(self, url: str, keys: Keys, timeout: float = TIMEOUT) -> None:
        """Raise `ValueError` for what is no URL of a Redis; nothing is connected yet."""
        self.counts = Counts()
        self.seed = RedisLink(url, keys, self.counts, timeout)
        self.patience = self.seed.patience
        self._url = url
        self.keys = keys
        self._timeout = timeout
        self._primaries: dict[tuple[str, int], RedisLink] = {}
        self._slots: list[RedisLink | None] = [None] * SLOTS
        self._looking = asyncio.Lock()
        self._looked_at = -inf
        self._known = (0, 0)  # strays and errors until then
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<RedisNodes {self.seed.place} primaries={len(self._primaries)} up={self.is_up}>"

    @property
    def is_cluster(self) -> bool:
        """Whether it is a Redis Cluster; known once it was reached."""
        return is_cluster(self.seed.info)

    @property
    def has_sharded_channels(self) -> bool:
        """Whether what is published has to go to the node that has the channel's slot, and to no other."""
        return self.is_cluster and parse_version(self.seed.info.get("redis_version", "")) >= (7,)

    @property
    def links(self) -> list[RedisLink]:
        """Those that have keys."""
        return list(self._primaries.values()) or [self.seed]

    @property
    def is_up(self) -> bool:
        """Whether the last that was tried at each of them succeeded."""
        tried = [link for link in self.links if link.is_tried]
        return all(link.is_up for link in tried or [self.seed])

    @property
    def round_trip_seconds(self) -> float:
        """What the slowest took to answer last."""
        return max(link.round_trip_seconds for link in self.links)

    async def of(self, key: str) -> RedisLink:
        """Return the link to the one that has a key. Raises `BackboneDown` where none can be found."""
        await self._meet()
        if not self.is_cluster:
            return self.seed
        slot = key_slot(key)
        link = self._slots[slot]
        if link is None:
            raise BackboneDown(f"redis: no node of the cluster at {self.seed.place} has slot {slot} now")
        return link

    async def owners(self) -> list[tuple[RedisLink, int]]:
        """Return all links with the first slot of each; 0 for the only one. Raises `BackboneDown`."""
        await self._meet()
        if not self.is_cluster:
            return [(self.seed, 0)]
        return [(link, self._slots.index(link)) for link in self.links]

    async def close(self) -> None:
        """Close all connections; who waits on one gets `BackboneDown`."""
        self._is_closed = True
        for link in [self.seed, *self._primaries.values()]:
            await link.close()

    async def _meet(self) -> None:
        """See whether it is a cluster, and who has what there."""
        if not self.seed.info:
            await self.seed.run(("PING",))
        if self.is_cluster and self._is_stale():
            async with self._looking:
                if self._is_stale():
                    await self._look()

    def _is_stale(self) -> bool:
        strays, errors = self._known
        is_due = monotonic() - self._looked_at >= LOOK_AGAIN
        return not self._primaries or self.counts.strays != strays or (is_due and self.counts.errors != errors)

    async def _look(self) -> None:
        """Ask the nodes, those that answer first, who has which slots; keep what is known where none answers."""
        failure: BackboneDown | None = None
        for link in [*sorted(self._primaries.values(), key=lambda link: not link.is_up), self.seed]:
            try:
                (reply,) = await link.run(("CLUSTER", "SLOTS"))
            except BackboneDown as error:
                failure = error
            else:
                await self._note(parse_slots(reply, link.host))
                break
        else:
            if not self._primaries and failure is not None:
                raise failure
        self._looked_at, self._known = monotonic(), (self.counts.strays, self.counts.errors)

    async def _note(self, ranges: list[tuple[int, int, tuple[str, int]]]) -> None:
        """Take who has the slots from the first to the last of each range."""
        former = self._primaries
        if self._is_closed or not ranges:
            raise BackboneDown(f"redis: the cluster at {self.seed.place} has no slots")
        self._primaries = {
            address: former.get(address) or self._link_to(*address)
            for address in dict.fromkeys(address for _, _, address in ranges)
        }
        self._slots = [None] * SLOTS
        for first, last, address in ranges:
            self._slots[first : last + 1] = [self._primaries[address]] * (last - first + 1)
        if former.keys() != self._primaries.keys():
            log.info("redis: the cluster's primaries are %s", ", ".join(link.place for link in self.links))
        for link in former.values():
            if link not in self._primaries.values():
                await link.close()

    def _link_to(self, host: str, port: int) -> RedisLink:
        return RedisLink(at(self._url, host, port), self.keys, self.counts, self._timeout, is_node=True)
