"""A worker: a repository whose models run what gateways send."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Final

from pipeline.backbone import Backbone, BackboneDown
from pipeline.model_cards import FORMAT, ModelCard, Shelf, WorkerCard, encode_card, queue_of, tensor_cards
from pipeline.persistence import persist
from pipeline.remote_repository import WORKER
from pipeline.repository import Repository
from pipeline.served_model import ServedModel
from pipeline.worker_link import WorkerLink

ANNOUNCE_EVERY: Final = 1.0  # seconds
CARD_TTL: Final = 10.0  # seconds after which a worker that says nothing is forgotten
LINGER: Final = 3.0  # seconds that a version still runs after gateways were told that it does not


class Worker:
    """Says what it runs, and runs it."""

    def __init__(
        self, backbone: Backbone, repository: Repository, name: str, *, shards: int, claim_seconds: float
    ) -> None:
        """`name` is its own among all workers; `shards`: queues per version, which may lie in different places."""
        self._backbone = backbone
        self._repository = repository
        self._shards = shards
        self.name = name
        self.link = WorkerLink(backbone, name, self.queues, shards=shards, claim_seconds=claim_seconds)
        self._announcer: asyncio.Task[None] | None = None
        self._announced: dict[tuple[str, str], ServedModel] = {}  # what gateways may send rows for; held open
        self._gone_at: dict[tuple[str, str], float] = {}  # when they were told that a version is not served any more
        self._replaced: list[tuple[float, ServedModel]] = []  # and since when another has the same number

    def __repr__(self) -> str:
        return f"<Worker {self.name} {self.link!r}>"

    def start(self) -> None:
        """Begin to work."""
        self._announcer = asyncio.create_task(persist(self._announce, repr(self)), name="worker announces")
        self.link.start()

    async def drain(self) -> None:
        """Take nothing more, and answer what was taken."""
        await self._silence()
        await self.link.drain()
        with contextlib.suppress(BackboneDown):
            await self._backbone.withdraw(WORKER, self.name)

    async def stop(self) -> None:
        """Let go of everything."""
        await self._silence()
        await self.link.stop()

    def queues(self) -> Mapping[str, ServedModel]:
        """Return the models to run by the names of their queues: those that are served, and those that just were."""
        models = self._announced | self._served()
        return {queue_of(*place, shard): model for place, model in models.items() for shard in range(self._shards)}

    def card(self) -> WorkerCard:
        """Return what gateways must know."""
        repository = self._repository
        shelves = {
            versions.name: Shelf(sorted(versions.there, key=int), versions.labels, versions.reasons)
            for versions in repository.known()
        }
        return WorkerCard(FORMAT, self.name, list(map(card_of, repository)), shelves)

    async def _announce(self) -> None:
        card = encode_card(self.card())
        self._hold(time.monotonic())
        await self._backbone.announce(WORKER, self.name, card, CARD_TTL)
        self._let_go(time.monotonic())
        await asyncio.sleep(ANNOUNCE_EVERY)

    def _served(self) -> dict[tuple[str, str], ServedModel]:
        return {(model.name, model.version): model for model in self._repository}

    def _hold(self, now: float) -> None:
        """Keep what is announced open: rows are on their way when it is replaced."""
        for place, model in self._served().items():
            former = self._announced.get(place)
            if former is not model:
                model.hold()
                self._announced[place] = model
                if former is not None:
                    self._replaced.append((now, former))

    def _let_go(self, now: float) -> None:
        """Let versions end of which gateways have known for a while that they are not served any more."""
        served = self._served()
        self._gone_at = {place: self._gone_at.get(place, now) for place in self._announced if place not in served}
        for place, gone_at in self._gone_at.items():
            if now - gone_at > LINGER:
                self._announced.pop(place).release()
        while self._replaced and now - self._replaced[0][0] > LINGER:
            self._replaced.pop(0)[1].release()

    async def _silence(self) -> None:
        if self._announcer is not None:
            self._announcer.cancel()
            await asyncio.gather(self._announcer, return_exceptions=True)
            self._announcer = None


def card_of(model: ServedModel) -> ModelCard:
    """Return a model as it is told to gateways."""
    spec = model.spec
    return ModelCard(
        model.name,
        model.version,
        model.config,
        tensor_cards(spec.inputs),
        tensor_cards(spec.outputs),
        spec.batched,
        list(spec.leads),
        spec.stackable,
        model.max_batch_size,
        model.max_queue_size,
        model.labels,
        model.steps,
    )
