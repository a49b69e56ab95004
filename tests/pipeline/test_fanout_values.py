"""What is watched elsewhere is exactly what is watched beside the model, in every form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from pipeline.codec import JSON, MSGPACK, RELAY, Codec
from pipeline.fanout_messages import decode_letter, seal
from pipeline.hub import Hub
from pipeline.memory_backbone import MemoryBackbone
from pipeline.messages import Prediction
from pipeline.model_config import ModelConfig
from pipeline.observer import Observer, Sighting
from pipeline.relayed import Relayed, Remote
from pipeline.results import BatchResult
from pipeline.tensors import DTYPES, STRING, TensorSpec
from tests import onnx_models as onnx

from .fanout_parts import FORMS, Process, processes, until
from .served_parts import Served
from .session_parts import Client
from .test_observer import ROWS, batch
from .test_optional_inputs import SCALE, SHIFT, optional


class Case(NamedTuple):
    proto: ModelProto
    data: list[Any]
    config: ModelConfig = ModelConfig()
    codec: Codec = JSON


F4 = np.array([1, 0.1, -3], np.float32).tobytes()
CASES = {
    "floats": Case(onnx.identity(), [[1, 0.1, -3.5], [0, 0, 1e30]]),
    "floats as bytes": Case(onnx.identity(), [F4], codec=MSGPACK),
    "NaN and infinity": Case(onnx.identity(), [np.array([np.nan, np.inf, -0.0], np.float32).tobytes()], codec=MSGPACK),
    "a number": Case(onnx.identity(dims=("N",)), [1.5, 2]),
    "bfloat16": Case(onnx.identity("bfloat16"), [[1, 0.1, -3.5]]),
    "bfloat16 as bytes": Case(onnx.identity("bfloat16"), [b"\x80\x3f\xcd\x3d\x80\x7f"], codec=MSGPACK),
    "half": Case(onnx.cast("float32", "float16"), [[1, 0.1, -3.5]]),
    "int64": Case(onnx.cast("float32", "int64"), [[1, 2**40, -3]]),
    "bools": Case(onnx.two_by_two(), [{"mask": [True, False], "count": 3}]),
    "strings": Case(onnx.concat_strings(), [{"first": ["a", ""], "last": ["ü", "<b>"]}]),
    "strings for MessagePack": Case(onnx.concat_strings(), [{"first": ["a", ""], "last": ["ü", "<b>"]}], codec=MSGPACK),
    "dynamic shapes": Case(onnx.pairs(), [[1, 2, 3, 4], [5, 6], []]),
    "dynamic shapes as bytes": Case(onnx.pairs(), [{"shape": [4], "data": bytes(16)}], codec=MSGPACK),
    "dynamic inputs": Case(onnx.mean_over_time(), [[[1, 2]], [[1, 2], [3, 4]]]),
    "labels": Case(onnx.gemm(np.eye(3), np.zeros(3)), [[1, 3, 2]], ModelConfig(labels={"scores": ["a", "b", "c"]})),
    "options": Case(
        onnx.all_options(), [{"x": [1, 2, 3], "scale": [1, 2, 3]}, {"x": [1, 2, 3]}], optional(SCALE, SHIFT)
    ),
}


def without_ts(message: dict[str, Any]) -> str:
    """Return all else, types and order included."""
    return repr({name: value for name, value in message.items() if name != "ts"})


async def seen_beside_and_elsewhere(here: Process, there: Process, case: Case, folder: Path) -> None:
    """Compare what watchers of each form see; `here` runs the model."""
    async with Served(case.proto, folder, case.config) as served:
        here.hub.add_model(served.model)
        choices = [(form, inputs) for form in FORMS for inputs in (True, False)]
        near, far = (
            [process.watch("m/*", form=form, inputs=inputs) for form, inputs in choices] for process in (here, there)
        )
        await until(lambda: here.is_relaying and here.fanout.peers.cards[there.fanout.name].inputs)
        client = Client(served.model, codec=case.codec)
        for at, data in enumerate(case.data, 1):
            client.send(data, id=at, key="k")
            for looker in (*near, *far):
                await until(lambda looker=looker, at=at: looker.messages and looker.messages[-1]["n"] == at)  # type: ignore[misc]
        client.session.close()
        for looker in (*near, *far):
            await until(lambda looker=looker: looker.ended == {"m/k": True})  # type: ignore[misc]
        for beside, elsewhere in zip(near, far, strict=True):
            assert list(map(without_ts, elsewhere.messages)) == list(map(without_ts, beside.messages))
            for one, other in zip(beside.messages, elsewhere.messages, strict=True):
                assert one["ts"] == pytest.approx(other["ts"], abs=1e-3)
                assert one["us"]["batch"] == 1
        assert ["inputs" in looker.messages[0] for looker in far] == [inputs for _, inputs in choices]
        here.hub.remove_model(served.model)
        for process, lookers in ((here, near), (there, far)):
            for looker in lookers:
                process.hub.leave(looker)


@pytest.mark.parametrize("name", CASES)
async def test_watchers_elsewhere_see_what_those_beside_the_model_see(name: str, tmp_path: Path) -> None:
    async with processes(MemoryBackbone(), "ab") as (a, b):
        await seen_beside_and_elsewhere(a, b, CASES[name], tmp_path)


async def test_what_was_predicted_before_anybody_watched_is_shown(tmp_path: Path) -> None:
    async with processes(MemoryBackbone(), "ab") as (a, b), Served(onnx.identity(), tmp_path) as served:
        clients = [Client(served.model) for _ in range(3)]

        def show_latest(name: str) -> Iterator[None]:
            assert name == "m"
            for client in clients:
                for stream in client.session.streams():
                    if served.model.observer is not None:
                        served.model.observer.show_latest(stream)
                yield

        a.hub.show_latest = show_latest
        a.hub.add_model(served.model)
        for at, client in enumerate(clients):
            client.send([at, 0, 0], key=str(at))
            await until(lambda client=client: client.outlet.sent)  # type: ignore[misc]
        far = b.watch("m/*")
        await until(lambda: far.latest == {f"m/{at}": [at, 0, 0] for at in range(3)})
        assert all("us" not in message and message["n"] == 0 for message in far.messages)


def elsewhere(sighting: Sighting, *, lists: bool, inputs: bool) -> Any:
    """Return what a watcher in another process sees of a prediction."""
    topic = Hub().topic("m/k")
    topic.publish(sighting)
    letter = decode_letter(seal("a", 1, topic.encoded(RELAY, lists=False, inputs=True)))
    assert isinstance(letter.body, Relayed)
    there = Hub().topic("m/k")
    return Remote("a", letter.body).message(there, lists=lists, inputs=inputs)


@given(
    dtype=st.sampled_from(sorted(DTYPES)),
    shape=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    is_static=st.booleans(),
    answered_in_lists=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_tensor_is_the_same_elsewhere(
    dtype: str, shape: tuple[int, ...], is_static: bool, answered_in_lists: bool, seed: int
) -> None:
    spec = TensorSpec("y", DTYPES[dtype], shape if is_static else tuple(None for _ in shape))
    array = batch(dtype, shape, seed)
    result = BatchResult([spec], [array], {})
    for row in range(ROWS):
        sighting = Sighting(Observer(None, "m", "1", [spec], [spec]))
        sighting.answer = Prediction(1, outputs=result.rows(lists=answered_in_lists)[row])
        cell = tuple(np.ravel(array[row]).tolist()) if spec.dtype is STRING else array[row].tobytes()
        sighting.row, sighting.shapes = (cell,), None if is_static else (shape,)
        for lists in (True, False):
            beside = sighting.message(Hub().topic("m/k"), lists=lists, inputs=True)
            seen = elsewhere(sighting, lists=lists, inputs=True)
            assert repr((seen.outputs, seen.inputs)) == repr((beside.outputs, beside.inputs))
        assert elsewhere(sighting, lists=True, inputs=False).inputs is None
