"""The models that workers run, as a gateway sees them: the face of a `Repository` without any graph."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

import msgspec

from pipeline.alert_desk import AlertDesk
from pipeline.backbone import Backbone
from pipeline.batching import BatchPolicy
from pipeline.catalogue import Catalogue
from pipeline.cluster_messages import ForeignEntry
from pipeline.errors import ConfigError
from pipeline.hub import Hub
from pipeline.model_cards import ModelCard, Shelf, WorkerCard, decode_card, offers, queue_of, shelves, spec_of
from pipeline.persistence import persist
from pipeline.queue_memory import QueueMemory
from pipeline.remote_engine import MAX_ENTRY_ROWS, Carrier, RemoteEngine
from pipeline.served_model import ServedModel
from pipeline.stats import ServerStats
from pipeline.succession import Succession
from pipeline.versions import Versions

log = logging.getLogger(__name__)

WORKER: Final = "worker"  # the kind of member
LOOK_EVERY: Final = 1.0  # seconds
FORGET_AFTER: Final = 60  # looks in a row that find no worker for a model: rows wait for one that comes back
ELSEWHERE: Final = "models are loaded and unloaded at the workers, this is a gateway"


class RemoteRepository(Catalogue):
    """Models by name and version, after what live workers say of themselves. Belongs to the loop's thread."""

    def __init__(
        self,
        stats: ServerStats,
        backbone: Backbone,
        carrier: Carrier,
        hub: Hub,
        desk: AlertDesk,
        *,
        shards: int,
        patience: float,
        memory: QueueMemory | None = None,
    ) -> None:
        """`shards`: queues per version; `patience`: seconds that a row waits for a worker; `memory`: of those."""
        super().__init__()
        self._backbone = backbone
        self._carrier = carrier
        self._shards = shards
        self._patience = patience
        self._memory = memory
        self._succession = Succession(stats, hub, desk)
        self._cards: dict[tuple[str, str], bytes] = {}  # what each model was made of
        self._missed: dict[str, int] = {}  # looks in a row that have found no worker for a model
        self._known: dict[str, bytes] = {}  # the workers' cards as they came
        self._workers: dict[str, WorkerCard] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_foreign: set[str] = set()  # workers whose card cannot be read

    def __repr__(self) -> str:
        return f"<RemoteRepository workers={len(self._workers)} models={sorted(self._models)}>"

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._workers)

    @property
    def retiring(self) -> list[ServedModel]:
        """Models that serve no more and have yet to finish what they have."""
        return self._succession.retiring

    async def load_all(self) -> None:
        """Look for workers, and go on looking. Raises `BackboneDown` where the first look is impossible."""
        self.update(await self._backbone.members(WORKER))
        self._task = asyncio.create_task(persist(self._look, repr(self)), name="gateway looks for workers")

    async def load(self, name: str) -> None:
        """Refuse: models are the workers' business. Raises `ConfigError`."""
        raise ConfigError(f"{name[:100]}: {ELSEWHERE}")

    async def unload(self, name: str, *, with_steps: bool = False) -> None:
        """Refuse likewise."""
        del with_steps
        raise ConfigError(f"{name[:100]}: {ELSEWHERE}")

    def close(self) -> None:
        """Refuse further rows, and look for no more workers."""
        if self._task is not None:
            self._task.cancel()
        super().close()

    async def _look(self) -> None:
        await asyncio.sleep(LOOK_EVERY)
        self.update(await self._backbone.members(WORKER))

    def update(self, cards: Mapping[str, bytes]) -> None:
        """Bring the models in line with the workers' cards."""
        if cards != self._known:
            before = self._workers
            self._workers = {worker: card for worker, card in map(self._read, cards.items()) if card is not None}
            self._known = dict(cards)
            self._follow(before)
        self._forget()

    def _follow(self, before: Mapping[str, WorkerCard]) -> None:
        """Serve what the workers run now; `before` is what they said last."""
        offered, shared = offers(self._workers), shelves(self._workers)
        ran = {model.name for worker, card in before.items() if worker in self._workers for model in card.models}
        for name in ran - offered.keys():  # as a worker says which is still there
            self._retire(self._models[name])
            if name not in shared:
                del self._models[name]
                self._missed.pop(name, None)
        for name in self._models.keys() - shared.keys():
            self._models[name].reasons = {}
        for name in offered.keys() | shared.keys():
            versions, shelf = self._models.setdefault(name, Versions(name)), shared.get(name, Shelf())
            versions.there = set(shelf.there)
            if name in offered:
                self._offer(versions, offered[name], shelf.labels)
            versions.reasons = dict(shelf.reasons)

    def _read(self, member: tuple[str, bytes]) -> tuple[str, WorkerCard | None]:
        worker, payload = member
        try:
            card = decode_card(payload)
            for model in card.models:
                spec_of(model)
        except ForeignEntry as error:
            if worker not in self._is_foreign:
                self._is_foreign.add(worker)
                log.warning("worker %s is left out: %s", worker[:100], error)
            return worker, None
        self._is_foreign.discard(worker)
        return worker, card

    def _offer(self, versions: Versions, offered: Mapping[str, ModelCard], labels: Mapping[str, str]) -> None:
        """Serve what workers run of a model, and retire what they do not run any more."""
        for version, card in offered.items():
            made_of = msgspec.msgpack.encode(card)
            if version not in versions.ready or self._cards.get((card.name, version)) != made_of:
                self._cards[card.name, version] = made_of
                self._succession.install(versions, self._serve(card))
        for version in versions.ready.keys() - offered.keys():
            self._succession.retire(versions, versions.ready.pop(version))
            del self._cards[versions.name, version]
        versions.relabel(labels)
        versions.publish()

    def _serve(self, card: ModelCard) -> ServedModel:
        spec = spec_of(card)
        batching = card.config.dynamic_batching
        policy = BatchPolicy(
            max_batch_size=MAX_ENTRY_ROWS,
            max_queue_size=card.max_queue_size,
            priority_levels=batching.priority_levels,
            default_priority_level=batching.default_priority_level,
        )
        engine = RemoteEngine(
            self._carrier,
            [queue_of(card.name, card.version, shard) for shard in range(self._shards)],
            spec,
            card.labels,
            policy,
            max_sent=card.max_queue_size,
            patience=self._patience,
            workers=lambda: self.workers,
            memory=self._memory,
        )
        return ServedModel(
            card.name,
            card.version,
            card.config,
            spec,
            engine,
            max_batch_size=card.max_batch_size,
            max_queue_size=card.max_queue_size,
            labels=card.labels,
            steps=card.steps,
        )

    def _forget(self) -> None:
        """Let go of models that no worker has run for a while; rows of those that come back in time have waited."""
        told = {model.name for card in self._workers.values() for model in card.models}
        told.update(*(card.shelves for card in self._workers.values()))
        for name in list(self._models):
            self._missed[name] = 0 if name in told else self._missed.get(name, 0) + 1
            if self._missed[name] >= FORGET_AFTER:
                self._retire(self._models.pop(name))
                del self._missed[name]

    def _retire(self, versions: Versions) -> None:
        self._succession.retire_all(versions)
        self._cards = {place: card for place, card in self._cards.items() if place[0] != versions.name}
