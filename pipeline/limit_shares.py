"""Shares the rates of identities and addresses between processes over a backbone, about once a second."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from heapq import nlargest
from typing import Final

from pipeline.allowances import Allowances
from pipeline.backbone import Backbone, BackboneDown, BackboneFull
from pipeline.limits import Allowance
from pipeline.persistence import persist
from pipeline.share_rules import (
    FLOOR,
    FORMAT,
    MOST_TOLD,
    NEGLIGIBLE,
    Card,
    ForeignCard,
    Part,
    closeness,
    decode_card,
    encode_card,
    new_most,
    new_share,
)

log = logging.getLogger(__name__)

KIND: Final = "limits"
LOOK_EVERY: Final = 1.0  # seconds
TTL: Final = 5.0  # seconds after which a process that says nothing is gone
AT_ONCE: Final = 500  # allowances between which the loop has its turn
PARTING: Final = 1.0  # seconds that saying goodbye may take


class LimitShares:
    """One process among those that share limits. Each tells what it is asked for, and takes its part of each limit.

    A process alone has all. While the backbone is down parts stay as they are, and for `ttl` seconds after that those
    who were there before are taken to be there.
    """

    def __init__(
        self,
        backbone: Backbone,
        name: str,
        allowances: Allowances,
        *,
        every: float = LOOK_EVERY,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.foreign = 0  # cards that are none of ours
        self._backbone = backbone
        self._tables = {"identity": allowances.identities, "address": allowances.addresses}
        self._every = every
        self._ttl = ttl
        self._clock = clock
        self._looked_at = clock()
        self._trusts_at = clock()  # who has no card then is gone
        self._peers: dict[str, Card] = {}
        self._demands: dict[Allowance, dict[str, float]] = {}  # per second, by limit; of what is asked for
        self._shown: dict[Allowance, int] = {}  # how many cards in a row have told of it
        self._task: asyncio.Task[None] | None = None
        for table in self._tables.values():
            table.on_new.append(self._begin)

    def __repr__(self) -> str:
        return f"<LimitShares {self.name} peers={len(self._peers)} told={len(self._shown)}>"

    @property
    def processes(self) -> int:
        """How many share, with this one."""
        return len(self._peers) + 1

    async def start(self) -> None:
        """Look at the others once, if they can be reached, and go on by itself."""
        with contextlib.suppress(BackboneDown, BackboneFull):
            await self.look()
        self._task = asyncio.create_task(persist(self._step, "limits"), name="limits")

    async def stop(self) -> None:
        """Share nothing more, and leave its parts to the others."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(BackboneDown, BackboneFull, TimeoutError):
            async with asyncio.timeout(PARTING):
                await self._backbone.withdraw(KIND, self.name)

    async def look(self) -> None:
        """See what the others are asked for, take a part of each limit, and tell of it. Raises as the backbone does."""
        await self._measure()
        try:
            cards = self._read(await self._backbone.members(KIND))
            self._peers = cards if self._clock() >= self._trusts_at else {**self._peers, **cards}
            for table in self._tables.values():
                for number, allowance in enumerate(table.all()):
                    self._divide(allowance)
                    if number % AT_ONCE == AT_ONCE - 1:
                        await asyncio.sleep(0)
            await self._backbone.announce(KIND, self.name, encode_card(self._card()), self._ttl)
        except (BackboneDown, BackboneFull):
            self._trusts_at = self._clock() + self._ttl
            raise

    async def _step(self) -> None:
        await asyncio.sleep(self._every)
        await self.look()

    async def _measure(self) -> None:
        """Note what was asked for since the last time, and choose what is told."""
        now = self._clock()
        seconds = max(now - self._looked_at, 1e-3)
        self._looked_at = now
        former, self._demands = self._demands, {}
        shown, self._shown = self._shown, {}
        for table in self._tables.values():
            close: list[tuple[float, int, Allowance]] = []
            for number, allowance in enumerate(table.all()):
                before = former.get(allowance, {})
                demands = {}
                for limit, bucket in allowance.rates.items():
                    demands[limit] = max(bucket.asked / seconds, 0.0, before.get(limit, 0.0) / 2)
                    bucket.asked = 0.0
                near = closeness(allowance, demands)
                if near >= NEGLIGIBLE:
                    close.append((near, number, allowance))
                    self._demands[allowance] = demands
                if number % AT_ONCE == AT_ONCE - 1:
                    await asyncio.sleep(0)
            for _, _, allowance in nlargest(MOST_TOLD, close):
                self._shown[allowance] = shown.get(allowance, 0) + 1

    def _card(self) -> Card:
        parts: dict[str, dict[str, Part]] = {kind: {} for kind in self._tables}
        for allowance in self._shown:
            demands = self._demands[allowance]
            rates = {limit: (demands[limit], bucket.share) for limit, bucket in allowance.rates.items()}
            rooms = {limit: (room.used, room.most) for limit, room in allowance.rooms.items()}
            parts[allowance.of][allowance.name] = Part(rates, rooms)
        return Card(FORMAT, parts)

    def _read(self, found: dict[str, bytes]) -> dict[str, Card]:
        cards = {}
        for name, payload in found.items():
            if name != self.name:
                try:
                    cards[name] = decode_card(payload)
                except ForeignCard as error:
                    if not self.foreign:
                        log.warning("limits: ignored what is none of ours, and counts it from now on: %s", error)
                    self.foreign += 1
        return cards

    def _divide(self, allowance: Allowance) -> None:
        """Take the part of an allowance that this process has from now on."""
        others = self._others(allowance)
        shown, demands = self._shown.get(allowance, 0), self._demands.get(allowance, {})
        for limit, bucket in allowance.rates.items():
            told = [part.rates[limit] for part in others if limit in part.rates]
            share = new_share(bucket.share, demands.get(limit, 0.0), shown, told, self.processes)
            if share != bucket.share:
                bucket.resize(share, self._clock())
        self._make_rooms(allowance, others, shown)

    def _begin(self, allowance: Allowance) -> None:
        """Give a new allowance what it may have before anybody has heard of it."""
        others = self._others(allowance)
        share = 1 / self.processes if not others else FLOOR / self.processes
        for bucket in allowance.rates.values():
            bucket.resize(share, self._clock())
        self._make_rooms(allowance, others, 0)

    def _make_rooms(self, allowance: Allowance, others: list[Part], shown: int) -> None:
        for limit, room in allowance.rooms.items():
            told = [part.rooms[limit] for part in others if limit in part.rooms]
            room.most = new_most(room.most, room.used, shown, told, room.limit, self.processes)

    def _others(self, allowance: Allowance) -> list[Part]:
        found = (card.parts.get(allowance.of, {}).get(allowance.name) for card in self._peers.values())
        return [part for part in found if part is not None]
