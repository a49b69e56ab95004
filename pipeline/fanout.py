"""Lets those who watch in one process see the predictions and alerts of all, over a backbone."""

import asyncio
import contextlib
import logging
import os
import time
from typing import Final

from pipeline.alert_desk import AlertDesk
from pipeline.backbone import Backbone, BackboneDown, BackboneFull
from pipeline.fanout_messages import (
    FORMAT,
    UNNUMBERED,
    Bye,
    Card,
    ForeignLetter,
    Look,
    decode_card,
    decode_letter,
    encode,
    seal,
)
from pipeline.hub import Hub
from pipeline.incoming import Incoming
from pipeline.outbox import Outbox
from pipeline.outgoing import Outgoing
from pipeline.peers import TTL, Peers
from pipeline.persistence import persist
from pipeline.wants import Wants

log = logging.getLogger(__name__)

_monotonic: Final = time.monotonic

CHANNEL: Final = "watch"
KIND: Final = "watcher"
LOOK_EVERY: Final = 1.0  # seconds
REST: Final = 0.02  # seconds between two looks at least
PARTING: Final = 1.0  # seconds that saying goodbye may take


class Fanout:
    """One process among those that share what is watched.

    Each shows a card with what its own watchers want. Who predicts sends that, and only that, to all: one letter per
    topic and flush. Letters are numbered, so that whoever misses one notices, tells its watchers and asks again.
    """

    def __init__(
        self, backbone: Backbone, name: str, hub: Hub, desk: AlertDesk, *, every: float = LOOK_EVERY, ttl: float = TTL
    ) -> None:
        """`name` may be that of a process before; `ttl`: seconds after which one that says nothing is gone.

        Each looks at the others `every` so many seconds, and at once where there is news.
        """
        self.name = f"{name}.{os.urandom(4).hex()}"
        self._backbone = backbone
        self._hub = hub
        self._desk = desk
        self._every = every
        self._ttl = ttl
        self._news = asyncio.Event()
        self._mail = asyncio.Event()
        self._hears = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._asked = 0  # the last question that others were told of
        self._is_full = False
        self.wants = Wants()
        self.peers = Peers(ttl)
        self.outbox = Outbox(self.name)
        self.outgoing = Outgoing(hub, self.outbox, self.name, self._mail.set)
        self.incoming = Incoming(hub, self.wants, self.name, desk.note, every=every)
        self.incoming.look = self._news.set
        self.incoming.on_bye = self.peers.forget
        self.foreign = 0  # letters and cards that are none

    def __repr__(self) -> str:
        return f"<Fanout {self.name} {self.peers!r} {self.outbox!r} {self.incoming!r}>"

    def start(self) -> None:
        """Begin to share."""
        self._hub.on_choices = self._news.set
        self._hub.on_left = self.outgoing.leave
        self._desk.on_alert = self.outgoing.tell
        steps = {"listens": self._listen, "looks": self._look, "sends": self._send}
        self._tasks = [
            asyncio.create_task(persist(step, f"fan-out {what}"), name=f"fan-out {what}")
            for what, step in steps.items()
        ]

    async def stop(self) -> None:
        """Share nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._hub.on_choices = self._hub.on_left = self._desk.on_alert = _ignore
        self.outgoing.close()
        self.incoming.close()
        with contextlib.suppress(BackboneDown, BackboneFull, TimeoutError):
            async with asyncio.timeout(PARTING):
                await self._backbone.withdraw(KIND, self.name)
                await self._backbone.publish(CHANNEL, [seal(self.name, UNNUMBERED, encode(Bye()))])

    async def _listen(self) -> None:
        async with self._backbone.listen(CHANNEL, self._receive):
            self._hears.set()
            await asyncio.Event().wait()

    def _receive(self, payload: bytes) -> None:
        try:
            letter = decode_letter(payload)
        except ForeignLetter as error:
            self._count_foreign(error)
        else:
            self.incoming.take(letter)

    async def _look(self) -> None:
        """Show what is wanted here, and see what the others want and have sent."""
        await self._hears.wait()
        self._news.clear()
        if self.wants.update(self._hub.choices):
            self.incoming.forget_unwanted()
        try:
            await self._announce()
            cards = await self._read_cards()
        except BaseException:
            self.peers.look_away()
            raise
        now = _monotonic()
        for peer in self.peers.update(cards, now):
            self.incoming.forget(peer)
        self.incoming.compare(cards, now)
        self.outgoing.take_cards(self.peers.cards)
        await asyncio.sleep(REST)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._every):
                await self._news.wait()

    async def _announce(self) -> None:
        wants, outbox = self.wants, self.outbox
        number = wants.number
        card = Card(FORMAT, number, wants.patterns, wants.hz, wants.inputs, wants.again, outbox.sent, outbox.alerts)
        try:
            await self._backbone.announce(KIND, self.name, encode(card), self._ttl)
        except BackboneFull as error:
            if not self._is_full:
                log.warning("fan-out: others cannot be told what is watched here: %s", error)
            self._is_full = True
            return
        self._is_full = False
        if number != self._asked:
            await self._backbone.publish(CHANNEL, [seal(self.name, UNNUMBERED, encode(Look()))])
            self._asked = number

    async def _read_cards(self) -> dict[str, Card]:
        cards = {}
        for name, payload in (await self._backbone.members(KIND)).items():
            if name != self.name:
                try:
                    cards[name] = decode_card(payload)
                except ForeignLetter as error:
                    self._count_foreign(error)
        return cards

    async def _send(self) -> None:
        """Send what there is, however much it is."""
        if self.outbox.is_empty:
            await self._mail.wait()
        self._mail.clear()
        if self.outgoing.fill():
            self._mail.set()
        if letters := self.outbox.letters():
            await self._backbone.publish(CHANNEL, letters)
            self.outbox.confirm()
        self.outgoing.fill()
        await asyncio.sleep(0)

    def _count_foreign(self, error: ForeignLetter) -> None:
        if not self.foreign:
            log.warning("fan-out: ignored what is none of ours, and counts it from now on: %s", error)
        self.foreign += 1


def _ignore(*arguments: object) -> None:
    del arguments
