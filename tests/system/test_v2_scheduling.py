"""Which request goes first, and which versions there are, as Triton's own client asks and is told."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from .graphs import double, plus, slow, write_model
from .metrics import Metrics
from .process import Server, running_server, until

ONE_BY_ONE: Final = "max_batch_size = 1\ninline_below_microseconds = 0\n"
LEVELS: Final = "[dynamic_batching]\npriority_levels = 2\ndefault_priority_level = 2\n"
LONG: Final = 10_000.0  # about a second
SHORT: Final = 500.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server with one thread, models with and without priorities, and one of several versions."""
    root: Path = tmp_path_factory.mktemp("scheduling")
    write_model(root, "ranked", slow(), ONE_BY_ONE + LEVELS)
    write_model(root, "equal", double())
    for version in (1, 2, 10):
        write_model(root, "several", plus(version), "[version_policy.specific]\nversions = [1, 10]", str(version))
    with running_server("--models", str(root), "--threads", "1") as running:
        yield running


def address(server: Server) -> str:
    return f"{server.address[0]}:{server.address[1]}"


def rounds(number: float) -> triton.InferInput:
    tensor = triton.InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[number]], np.float32))
    return tensor


async def seen(look: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, look)


async def answered(server: Server, *priorities: int) -> list[int]:
    """Ask with these priorities, one by one, while the only thread is busy; return them as they are answered."""
    order: list[int] = []
    async with triton_aio.InferenceServerClient(address(server)) as client:

        async def ask(priority: int) -> None:
            await client.infer("ranked", [rounds(SHORT)], priority=priority)
            order.append(priority)

        before = Metrics(server)("predictions_total", model="ranked")
        events = Metrics(server)("events_total")
        first = asyncio.create_task(client.infer("ranked", [rounds(LONG)]))
        await seen(lambda: Metrics(server)("events_total") > events)
        waiting = []
        for number, priority in enumerate(priorities, 1):
            waiting.append(asyncio.create_task(ask(priority)))
            await seen(lambda number=number: Metrics(server)("queue_depth", model="ranked") == number)  # type: ignore[misc]
        assert Metrics(server)("predictions_total", model="ranked") == before  # all of them came while it ran
        await asyncio.gather(first, *waiting)
    return order


def test_a_request_of_a_higher_priority_goes_first(server: Server) -> None:
    assert asyncio.run(answered(server, 2, 2, 2, 1)) == [1, 2, 2, 2]


def test_a_request_without_a_priority_has_the_default(server: Server) -> None:
    assert asyncio.run(answered(server, 0, 0, 1)) == [1, 0, 0]


def test_a_level_that_the_model_lacks_is_refused_and_one_without_levels_ignores_it(server: Server) -> None:
    with triton.InferenceServerClient(address(server)) as client:
        with pytest.raises(InferenceServerException) as raised:
            client.infer("ranked", [rounds(SHORT)], priority=3)
        assert (raised.value.status(), raised.value.message()) == ("400", "priority: expected 0 to 2, got 3")
        row = triton.InferInput("x", [1, 4], "FP32")
        row.set_data_from_numpy(np.ones((1, 4), np.float32))
        for priority in (0, 3, 2**64 - 1):
            assert client.infer("equal", [row], priority=priority).as_numpy("y").tolist() == [[2.0] * 4]


def test_metadata_lists_every_version_that_is_ready(server: Server) -> None:
    with triton.InferenceServerClient(address(server)) as client:
        for version in ("", "1", "10"):
            assert client.get_model_metadata("several", version)["versions"] == ["1", "10"]
        assert client.get_model_metadata("equal")["versions"] == ["1"]
        with pytest.raises(InferenceServerException, match="version: 2"):
            client.get_model_metadata("several", "2")
