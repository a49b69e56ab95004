"""Gateways and workers: every row is answered exactly once, whatever happens to workers and to the backbone."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pipeline.cluster_messages import FORMAT, Failed, Reply, encode
from pipeline.errors import DeadlineExceeded, InferenceFailed, ModelUnavailable, Overloaded, UnknownModel
from pipeline.inference import Outcome
from pipeline.tensors import Row
from pipeline.worker_link import MAX_DELIVERIES
from tests import onnx_models as onnx
from tests.pipeline.cluster_parts import CLAIM_SECONDS, PATIENCE, Cluster, until
from tests.system.graphs import slow

TABLE = [0.0, 10.0, 20.0]


def rows(*indices: int) -> list[Row]:
    return [(struct.pack("<q", index),) for index in indices]


def values(outcomes: list[Outcome]) -> list[float]:
    return [float(result.arrays[0][row]) for result, row in outcomes]


def run(folder: Path, test: Callable[[Cluster], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Cluster(folder) as cluster:
            cluster.add_model("lookup", onnx.lookup(TABLE))
            await asyncio.wait_for(test(cluster), 2 * PATIENCE)

    asyncio.run(main())


def test_rows_of_many_gateways_run_at_many_workers(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        workers = [await cluster.worker(f"w{number}") for number in range(2)]
        gateways = [await cluster.gateway(f"g{number}", "lookup") for number in range(3)]
        asked = [[(at + turn) % 3 for at in range(7)] for turn in range(40)]
        outcomes = []
        for turn, indices in enumerate(asked):
            outcomes.append(gateways[turn % 3].begin("lookup", rows(*indices)))
            await asyncio.sleep(0)
        for indices, outcome in zip(asked, outcomes, strict=True):
            assert values(await outcome) == [TABLE[index] for index in indices]
        assert sum(worker.link.entries for worker in workers) >= 3
        await until(lambda: all(gateway.repository.get("lookup").engine.is_busy is False for gateway in gateways))
        await until_depth(cluster, 0)

    run(tmp_path, test)


async def until_depth(cluster: Cluster, entries: int) -> None:
    """Wait until so many entries lie in the queue, taken or not."""
    async with asyncio.timeout(PATIENCE):
        while sum(await cluster.backbone.depth("lookup/1/0")) != entries:  # noqa: ASYNC110 - it may be another process
            await asyncio.sleep(0.005)


def test_what_leaves_in_one_turn_of_the_loop_is_one_entry(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        outcomes = [gateway.begin("lookup", rows(index % 3)) for index in range(100)]
        for index, outcome in enumerate(outcomes):
            assert values(await outcome) == [TABLE[index % 3]]
        assert worker.link.entries == 1

    run(tmp_path, test)


def test_a_row_that_fails_fails_alone(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        good, bad, other = (gateway.begin("lookup", rows(index)) for index in (1, 99, 2))
        with pytest.raises(InferenceFailed):
            await bad
        assert values(await good) + values(await other) == [10.0, 20.0]

    run(tmp_path, test)


def test_a_model_that_no_worker_runs_is_unknown(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        with pytest.raises(UnknownModel):
            gateway.repository.get("nowhere")
        with pytest.raises(UnknownModel):
            gateway.repository.get("lookup", "7")
        assert (
            gateway.repository.describe("lookup").inputs
            == (await cluster.worker("x"))._repository.describe("lookup").inputs
        )

    run(tmp_path, test)


def test_the_entries_of_a_worker_that_is_gone_go_to_another(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        dead = await cluster.worker("dead")
        gateway = await cluster.gateway("g", "lookup")
        await dead.link.stop()
        outcome = gateway.begin("lookup", rows(1, 2))
        await until(lambda: gateway.link.depths.get("lookup/1/0") is not None)
        taken = await cluster.backbone.take(["lookup/1/0"], "dead", 10, 1.0)
        assert len(taken) == 1
        alive = await cluster.worker("alive")
        assert values(await outcome) == [10.0, 20.0]
        assert alive.link.claimed == 1
        await until_depth(cluster, 0)

    run(tmp_path, test)


def test_a_slow_worker_that_lives_keeps_its_entries(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        cluster.add_model("slow", slow())
        first = await cluster.worker("first")
        second = await cluster.worker("second")
        gateway = await cluster.gateway("g", "slow")
        outcome = gateway.begin("slow", [(struct.pack("<f", CLAIM_SECONDS * 3e4),)])
        await outcome
        assert first.link.claimed + second.link.claimed == 0

    run(tmp_path, test)


def test_an_entry_that_brings_workers_down_is_given_up(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        await worker.link.stop()
        outcome = gateway.begin("lookup", rows(1))
        taken = await cluster.backbone.take(["lookup/1/0"], "victim 0", 10, PATIENCE)
        for number in range(1, MAX_DELIVERIES):
            taken = await cluster.backbone.claim("lookup/1/0", f"victim {number}", 0.0, 10)
        assert [delivery.count for delivery in taken] == [MAX_DELIVERIES]
        survivor = await cluster.worker("survivor")
        with pytest.raises(InferenceFailed, match="delivered 4 times"):
            await outcome
        assert survivor.link.dead_letters == 1
        assert len(cluster.backbone.dead_letters) == 1
        await until_depth(cluster, 0)

    run(tmp_path, test)


def test_foreign_bytes_are_dead_letters_and_no_more(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        await cluster.backbone.put(
            "lookup/1/0", [b"", b"\xff", b"cos\nsystem\n(S'true'\ntR.", encode(Reply(1, 1, "x", []))]
        )
        await cluster.backbone.reply(
            "g/0", [b"", b"\xff" * 100, encode(Reply(FORMAT, 12345, "x", [Failed(None, "?", "")]))]
        )
        assert values(await gateway.begin("lookup", rows(1))) == [10.0]
        await until(lambda: worker.link.dead_letters == 4)
        assert (gateway.link.foreign, gateway.link.duplicates) == (2, 1)

    run(tmp_path, test)


def test_a_reply_that_comes_twice_is_told_once(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        assert values(await gateway.begin("lookup", rows(1))) == [10.0]
        await cluster.backbone.reply(
            "g/0", [encode(Reply(FORMAT, 1, "zombie", [Failed(None, "inference_failed", "late")]))]
        )
        await until(lambda: gateway.link.duplicates == 1)
        assert values(await gateway.begin("lookup", rows(2))) == [20.0]

    run(tmp_path, test)


def test_rows_wait_out_a_backbone_that_is_down(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        cluster.backbone.go_down()
        outcomes = [gateway.begin("lookup", rows(index)) for index in (0, 1, 2)]
        await asyncio.sleep(0.2)
        assert not any(outcome.done() for outcome in outcomes)
        cluster.backbone.come_back()
        assert [values(await outcome)[0] for outcome in outcomes] == TABLE

    run(tmp_path, test)


def test_what_the_backbone_has_lost_is_sent_again(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        await worker.link.stop()
        outcome = gateway.begin("lookup", rows(1, 2))
        await until(lambda: gateway.link.depths.get("lookup/1/0") is not None)
        cluster.backbone.forget()
        await cluster.worker("x")
        assert values(await outcome) == [10.0, 20.0]
        assert gateway.link.resent == 1

    run(tmp_path, test)


def test_a_deadline_that_passes_is_told_without_any_worker(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        await worker.link.stop()
        with pytest.raises(DeadlineExceeded):
            await gateway.begin("lookup", rows(1), within=0.2)
        await until_depth(cluster, 0)

    run(tmp_path, test)


def test_rows_without_an_end_fail_where_no_worker_comes(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup", patience=0.3)
        await worker.link.stop()
        with pytest.raises(ModelUnavailable, match="no worker has answered"):
            await gateway.begin("lookup", rows(1), within=float("inf"))

    run(tmp_path, test)


def test_a_queue_that_is_too_long_refuses_at_once(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup", max_lag=3)
        await worker.link.stop()
        waiting = []
        for count in range(1, 6):
            waiting.append(gateway.begin("lookup", rows(1)))
            await until_depth(cluster, count)
        await until(lambda: gateway.link.depths["lookup/1/0"].waiting == 5)
        with pytest.raises(Overloaded, match="max_lag"):
            gateway.begin("lookup", rows(1))
        await cluster.worker("x")
        for outcome in waiting:
            assert values(await outcome) == [10.0]

    run(tmp_path, test)


def test_a_worker_that_leaves_answers_what_it_has_taken(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        cluster.add_model("slow", slow())
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "slow")
        outcome = gateway.begin("slow", [(struct.pack("<f", 3000.0),)])
        await until(lambda: worker.link.entries == 1)
        await worker.drain()
        await outcome
        assert not await cluster.backbone.members("worker")
        assert await cluster.backbone.depth("slow/1/0") == (0, 0)

    run(tmp_path, test)


def test_a_new_version_takes_over_and_the_old_one_is_retired(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        worker = await cluster.worker("w")
        gateway = await cluster.gateway("g", "lookup")
        route = gateway.repository.route("lookup")
        cluster.add_model("lookup", onnx.lookup([1.0, 11.0, 21.0]), "2")
        await worker._repository.load("lookup")
        await until(lambda: [model.version for model in gateway.repository] == ["2"])
        assert route.current is gateway.repository.get("lookup")
        assert values(await gateway.begin("lookup", rows(1))) == [11.0]

    run(tmp_path, test)
