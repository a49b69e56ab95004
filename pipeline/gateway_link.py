"""A gateway's end of the backbone: entries go out, replies come back, and what is lost on the way is sent again."""

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from pipeline.backbone import Backbone, BackboneFull, Depth
from pipeline.cluster_messages import ForeignEntry, decode_reply
from pipeline.errors import ModelUnavailable, Overloaded, WaterspoutError
from pipeline.model_cards import box_of
from pipeline.persistence import persist
from pipeline.remote_engine import RemoteEngine, Shipment

log = logging.getLogger(__name__)

_monotonic: Final = time.monotonic

BOX_TTL: Final = 60.0  # seconds that replies are kept for a gateway that does not read
LOOK_EVERY: Final = 1.0  # seconds
SWEEP_EVERY: Final = 0.05
PAYLOADS_AT_ONCE: Final = 64
REPLIES_AT_ONCE: Final = 256
FULL_FOR: Final = 0.25  # seconds
LOST_LOOKS: Final = 2  # in a row; a reply may be on its way when the first finds nothing


class GatewayLink:
    """Carries the shipments of all engines of one gateway (a `remote_engine.Carrier`).

    An entry is answered once its reply is here; one that is neither in its queue nor answered was lost, and is sent
    again under the same number. A worker may so run rows twice, and their owners hear of it once.
    """

    def __init__(self, backbone: Backbone, gateway: str, *, shards: int, max_lag: int) -> None:
        """`gateway` names this process, which has a box per shard; `max_lag`: entries that may wait in a queue."""
        self._backbone = backbone
        self.gateway = gateway
        self._max_lag = max_lag
        self._numbers = itertools.count(1)
        self._shipments: dict[int, Shipment] = {}
        self._outbox: dict[int, Shipment] = {}
        self._has_mail = asyncio.Event()
        self._is_sending = False
        self._waiting: dict[RemoteEngine, None] = {}  # to be told when what is on its way has left
        self._sweeper: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._after = [""] * shards  # the reply that was read last
        self._given_up: list[tuple[str, str]] = []  # queues and ids of entries that nobody waits for
        self.depths: dict[str, Depth] = {}  # of the queues that were used
        self.sent = 0  # entries
        self.resent = 0  # of them
        self.duplicates = 0  # replies to what was answered already
        self._foreign = 0
        self._is_full: BackboneFull | None = None  # what is sent now would find no memory

    def __repr__(self) -> str:
        return f"<GatewayLink {self.gateway} shipments={len(self._shipments)} outbox={len(self._outbox)}>"

    @property
    def foreign(self) -> int:
        """How many replies have come that are none."""
        return self._foreign + self._backbone.foreign

    def start(self) -> None:
        """Begin to carry."""
        steps = {"sends": self._send, "looks after": self._look}
        steps |= {f"receives of {shard}": partial(self._receive, shard) for shard in range(len(self._after))}
        self._tasks = [
            asyncio.create_task(persist(step, f"{self!r} {what}"), name=f"gateway {what}")
            for what, step in steps.items()
        ]
        self._sweep()

    async def stop(self) -> None:
        """Carry nothing more; what is under way is given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for shipment in list(self._shipments.values()):
            self._give_up(shipment, ModelUnavailable("the gateway is shutting down"))

    def next_number(self) -> int:
        """Return a number for an entry."""
        return next(self._numbers)

    def is_free(self, engine: RemoteEngine) -> bool:
        """Return whether nothing is on its way out; else the engine is told when that has left."""
        if self._is_sending:
            self._waiting[engine] = None
        return not self._is_sending

    def ship(self, shipment: Shipment) -> None:
        """Send it together with all else that is shipped in this turn of the loop."""
        self._shipments[shipment.number] = shipment
        self._outbox[shipment.number] = shipment
        self._has_mail.set()

    def leave(self, queues: Sequence[str]) -> None:
        """Look after queues no more: nothing goes there."""
        for queue in queues:
            self.depths.pop(queue, None)

    def refusal(self, queue: str) -> WaterspoutError | None:
        """Return why nothing more should be sent to a queue now."""
        if self._is_full is not None:
            return Overloaded(str(self._is_full), 1000)
        depth = self.depths.get(queue)
        if depth is None or depth.waiting <= self._max_lag:
            return None
        return Overloaded(f"{depth.waiting} entries wait for workers, {self._max_lag} may (max_lag)", 1000)

    async def _send(self) -> None:
        """Send all there is, then let engines send what has gathered: the slower this is, the larger entries are."""
        if not self._outbox:
            await self._has_mail.wait()
        self._has_mail.clear()
        self._is_sending = True
        while self._outbox:
            queues: dict[str, list[Shipment]] = {}
            for shipment in self._outbox.values():
                queues.setdefault(shipment.queue, []).append(shipment)
            puts = [self._put(queue, going[:PAYLOADS_AT_ONCE]) for queue, going in queues.items()]
            for failure in await asyncio.gather(*puts, return_exceptions=True):
                if failure is not None:
                    raise failure
        self._is_sending = False
        waiting, self._waiting = self._waiting, {}
        for engine in waiting:
            engine.go_on()

    async def _put(self, queue: str, going: list[Shipment]) -> None:
        try:
            ids = await self._backbone.put(queue, [shipment.payload for shipment in going])
        except BackboneFull as error:
            self._refuse_for_a_while(error)
            for shipment in going:
                self._give_up(shipment, Overloaded(str(error), 1000))
            return
        self.sent += len(going)
        self.depths.setdefault(queue, Depth(0, 0))
        for shipment, entry_id in zip(going, ids, strict=True):
            shipment.id = entry_id
            self._outbox.pop(shipment.number, None)
            if not shipment.left:  # was given up meanwhile
                self._given_up.append((queue, entry_id))

    async def _receive(self, shard: int) -> None:
        box = box_of(self.gateway, shard)
        for entry_id, payload in await self._backbone.replies(box, self._after[shard], REPLIES_AT_ONCE, LOOK_EVERY):
            self._after[shard] = entry_id
            self._take_reply(payload)

    def _take_reply(self, payload: bytes) -> None:
        try:
            reply = decode_reply(payload)
        except ForeignEntry as error:
            self._foreign += 1
            log.warning("a reply was thrown away: %s", error)
            return
        shipment = self._shipments.get(reply.number)
        if shipment is None:
            self.duplicates += 1
            return
        shipment.engine.accept(shipment, reply)
        if not shipment.left:
            self._forget(shipment)

    async def _look(self) -> None:
        """Keep the boxes, see how far workers are behind, and send again what was lost."""
        await self._withdraw()
        for shard in range(len(self._after)):
            if await self._backbone.open_box(box_of(self.gateway, shard), BOX_TTL):
                self._after[shard] = ""
        for queue in list(self.depths):
            depth = await self._backbone.depth(queue)
            if queue in self.depths:
                self.depths[queue] = depth
        now = _monotonic()
        old = [s for s in self._shipments.values() if s.id and s.left and now - s.sent_at > LOOK_EVERY]
        for queue in {shipment.queue for shipment in old}:
            await self._find_lost(queue, [shipment for shipment in old if shipment.queue == queue])
        await asyncio.sleep(LOOK_EVERY)

    async def _find_lost(self, queue: str, shipments: list[Shipment]) -> None:
        held = await self._backbone.holds(queue, [shipment.id or "" for shipment in shipments])
        for shipment in shipments:
            shipment.lost = 0 if shipment.id in held else shipment.lost + 1
            if shipment.lost >= LOST_LOOKS and shipment.left and shipment.number in self._shipments:
                shipment.lost, shipment.id = 0, None
                self.resent += 1
                self._outbox[shipment.number] = shipment
                self._has_mail.set()

    async def _withdraw(self) -> None:
        """Spare workers what nobody waits for any more."""
        while self._given_up:
            queue, count = self._given_up[0][0], len(self._given_up)
            others = [entry for entry in self._given_up if entry[0] != queue]
            await self._backbone.done(queue, [entry_id for name, entry_id in self._given_up if name == queue])
            self._given_up = [*others, *self._given_up[count:]]

    def _sweep(self) -> None:
        """Fail what has waited too long."""
        now = _monotonic()
        for engine in {shipment.engine for shipment in self._shipments.values()}:
            engine.go_on()
        for shipment in list(self._shipments.values()):
            engine = shipment.engine
            if shipment.deadline <= now:
                engine.expire(shipment, now)
            if shipment.left and now - shipment.sent_at > engine.patience:
                engine.give_up(shipment, ModelUnavailable(f"no worker has answered within {engine.patience:g} s"))
            if not shipment.left:
                if shipment.id:
                    self._given_up.append((shipment.queue, shipment.id))
                self._forget(shipment)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_EVERY, self._sweep)

    def _refuse_for_a_while(self, error: BackboneFull) -> None:
        """Spare the backbone what it has no memory for; the next that is sent shows whether it has some again."""
        if self._is_full is None:
            self._is_full = error
            asyncio.get_running_loop().call_later(FULL_FOR, self._try_again)

    def _try_again(self) -> None:
        self._is_full = None

    def _give_up(self, shipment: Shipment, error: WaterspoutError) -> None:
        shipment.engine.give_up(shipment, error)
        self._forget(shipment)

    def _forget(self, shipment: Shipment) -> None:
        self._shipments.pop(shipment.number, None)
        self._outbox.pop(shipment.number, None)
