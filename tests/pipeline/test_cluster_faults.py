"""What gateways and workers hold on bad days: nothing grows, nothing is stuck, and no neighbour pays."""

import asyncio
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.backbone import BackboneDown, BackboneFull, Delivery
from pipeline.cluster_messages import FORMAT, Entry, encode
from pipeline.errors import DeadlineExceeded, InferenceFailed, Overloaded
from pipeline.memory_backbone import MemoryBackbone
from pipeline.model_cards import Shelf, decode_card, encode_card
from pipeline.persistence import persist
from pipeline.remote_repository import FORGET_AFTER
from pipeline.worker_link import MAX_DELIVERIES
from tests import onnx_models as onnx

from .cluster_parts import PATIENCE, Cluster, until
from .test_cluster import TABLE, rows, run, until_depth, values

QUEUE = "lookup/1/0"
CELLS = struct.pack("<qq", 0, 1)
NAN = float("nan")


class FullBackbone(MemoryBackbone):
    """One that may have no memory for more."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False

    async def put(self, queue: str, payloads: Sequence[bytes]) -> list[str]:
        self._check_room()
        return await super().put(queue, payloads)

    async def reply(self, box: str, payloads: Sequence[bytes]) -> bool:
        self._check_room()
        return await super().reply(box, payloads)

    async def announce(self, kind: str, member: str, card: bytes, ttl: float) -> None:
        self._check_room()
        await super().announce(kind, member, card, ttl)

    def _check_room(self) -> None:
        if self.is_full:
            raise BackboneFull("full")


@pytest.mark.parametrize("error", [BackboneDown("gone"), BackboneFull("full")])
async def test_a_step_is_tried_again_and_the_loss_told_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    tries = 0
    succeeded = asyncio.Event()

    async def step() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise error
        succeeded.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(persist(step, "what"))
    await asyncio.wait_for(succeeded.wait(), PATIENCE)
    task.cancel()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", f"what: waiting for the backbone: {error}")
    ]


@pytest.mark.parametrize(
    "entry",
    [
        Entry(FORMAT, "g", 1, 2, [CELLS], None, [1.0]),
        Entry(FORMAT, "g", 1, 2, [CELLS], None, [1.0, NAN]),
        Entry(FORMAT, "g", 1, 2, [CELLS], None, None, [1]),
        Entry(FORMAT, "g", 1, 2, [CELLS], None, None, [1, -1]),
        Entry(FORMAT, "g", 1, 2, [CELLS], None, None, [1, 256]),
        Entry(FORMAT, "g", 1, -1, [CELLS]),
    ],
)
def test_an_entry_that_does_not_fit_itself_is_a_dead_letter(tmp_path: Path, entry: Entry) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        await cluster.backbone.put(QUEUE, [encode(entry)])
        await until(lambda: worker.link.dead_letters == 1)
        await until_depth(cluster, 0)
        await asyncio.wait_for(worker.drain(), PATIENCE)

    run(tmp_path, test)


def test_without_memory_events_are_refused_and_nobody_is_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        backbone = FullBackbone()
        async with Cluster(tmp_path, backbone) as cluster:
            cluster.add_model("lookup", onnx.lookup(TABLE))
            worker = await cluster.worker("w")
            gateway = await cluster.gateway("g", "lookup")
            await worker.link.stop()
            waiting = gateway.begin("lookup", rows(2))
            await until(lambda: gateway.link.depths)
            backbone.is_full = True
            with pytest.raises(Overloaded):
                await gateway.begin("lookup", rows(1))
            with pytest.raises(Overloaded):
                gateway.begin("lookup", rows(1))  # at once
            other = await cluster.worker("x")
            await until(lambda: other.link.held == 1)
            backbone.is_full = False
            assert values(await waiting) == [20.0]
            await until(lambda: gateway.link.refusal(QUEUE) is None)
            assert values(await gateway.begin("lookup", rows(1))) == [10.0]

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_nothing_grows_while_the_backbone_is_down(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        await worker.link.stop()
        waiting = [gateway.begin("lookup", rows(1), within=1.0)]
        await until_depth(cluster, 1)
        cluster.backbone.go_down()
        waiting += [gateway.begin("lookup", rows(1), within=0.1) for _ in range(50)]
        for outcome in waiting:
            with pytest.raises(DeadlineExceeded):
                await outcome
        await until(lambda: not gateway.link._shipments)
        assert not gateway.link._outbox
        assert len(gateway.link._given_up) == 1
        cluster.backbone.come_back()
        await until_depth(cluster, 0)
        assert not gateway.link._given_up

    run(tmp_path, test)


def test_what_is_given_up_while_it_is_sent_is_taken_back(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        await worker.link.stop()
        put, sends, may_go = cluster.backbone.put, asyncio.Event(), asyncio.Event()

        async def slow_put(queue: str, payloads: Sequence[bytes]) -> list[str]:
            sends.set()
            await may_go.wait()
            ids: list[str] = await put(queue, payloads)
            return ids

        cluster.backbone.put = slow_put
        with pytest.raises(DeadlineExceeded):
            await gateway.begin("lookup", rows(1), within=0.2)
        assert sends.is_set()
        may_go.set()
        await until_depth(cluster, 1)
        await until_depth(cluster, 0)

    run(tmp_path, test)


def test_what_comes_while_a_worker_leaves_is_answered_by_it(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        take, asks, takes = cluster.backbone.take, asyncio.Event(), asyncio.Event()

        async def slow_take(queues: Sequence[str], name: str, most: int, wait: float) -> list[Delivery]:
            asks.set()
            taken: list[Delivery] = await take(queues, name, most, wait)
            if taken:
                takes.set()
                await asyncio.sleep(0)  # as an answer of Redis that is on its way
            return taken

        cluster.backbone.take = slow_take
        await asyncio.wait_for(asks.wait(), PATIENCE)
        outcome = gateway.begin("lookup", rows(1))
        await asyncio.wait_for(takes.wait(), PATIENCE)
        await asyncio.wait_for(worker.drain(), PATIENCE)
        assert values(await outcome) == [10.0]
        assert await cluster.backbone.depth(QUEUE) == (0, 0)

    run(tmp_path, test)


def test_the_neighbours_of_an_entry_that_brings_workers_down_are_answered(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        await worker.link.stop()
        outcomes = []
        for turn in range(3):
            outcomes.append(gateway.begin("lookup", rows(turn)))
            await until_depth(cluster, turn + 1)
        await cluster.backbone.take([QUEUE], "victim 1", 10, PATIENCE)
        await cluster.backbone.claim(QUEUE, "victim 2", 0.0, 10)
        held: list[int] = []
        last = await cluster.worker("last")
        admit = last._repository.get("lookup").admit

        def noting(job: object) -> None:
            held.append(last.link.held)
            admit(job)

        last._repository.get("lookup").admit = noting
        assert [values(await outcome) for outcome in outcomes] == [[value] for value in TABLE]
        assert last.link.claimed == 3
        assert held == [1, 1, 1]  # whichever ends the process is the only one that may not come again
        assert MAX_DELIVERIES == 3

    run(tmp_path, test)


def test_a_reply_that_does_not_fit_fails_its_rows(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        await worker.link.stop()
        outcome = gateway.begin("lookup", rows(1))
        await until_depth(cluster, 1)
        parts = [[0, None, [[[1, -1, -1], b"\x00" * 4]], 0.0, 1]]
        await cluster.backbone.reply("g/0", [encode([FORMAT, 1, "x", parts])])  # type: ignore[arg-type]
        with pytest.raises(InferenceFailed, match="does not fit"):
            await outcome

    run(tmp_path, test)


def test_models_are_kept_over_looks_that_find_no_worker(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        cards = await cluster.backbone.members("worker")
        repository = gateway.repository
        for _ in range(FORGET_AFTER - 1):
            repository.update({})
        assert [model.name for model in repository] == ["lookup"]
        repository.update(cards)
        for _ in range(FORGET_AFTER - 1):
            repository.update({})
        assert [model.name for model in repository] == ["lookup"]
        await until(lambda: gateway.link.depths or gateway.begin("lookup", rows(1)))
        repository.update({})
        assert not list(repository)
        assert not repository._cards
        await until(lambda: not gateway.link.depths)

    run(tmp_path, test)


def test_nothing_is_late_or_lost_while_a_version_takes_over(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        cluster.add_model("lookup", onnx.lookup([1.0, 11.0, 21.0]), "2")
        swap = asyncio.create_task(worker._repository.load("lookup"))
        answers: list[float] = []
        while answers[-3:] != [11.0, 11.0, 11.0]:
            answers += values(await asyncio.wait_for(gateway.begin("lookup", rows(1)), 1.0))
        await swap
        assert answers == sorted(answers)
        assert answers[0] == 10.0
        assert QUEUE in worker.queues()
        await until(lambda: QUEUE not in worker.queues())
        await until(lambda: [model.version for model in gateway.repository] == ["2"])

    run(tmp_path, test)


def test_a_broken_model_is_told_until_no_worker_tells_of_it(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        card = worker.card()
        card.shelves["broken"] = Shelf(["1"], {}, {"1": "why"})
        gateway.repository.update({"w": encode_card(card)})
        assert gateway.repository.broken == ["broken"]
        gateway.repository.update({"w": encode_card(worker.card())})
        assert gateway.repository.broken == []

    run(tmp_path, test)


def test_a_worker_whose_card_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        cards = await cluster.backbone.members("worker")
        card = decode_card(cards["w"])
        card.models[0].version = "newest"
        gateway.repository.update({**cards, "odd": encode_card(card), "none": b""})
        assert gateway.repository.workers == 1
        assert [model.version for model in gateway.repository] == ["1"]

    run(tmp_path, test)
