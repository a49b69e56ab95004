"""Real graphs behind a real session: what goes in as data comes out as plain ONNX Runtime would have it."""

import asyncio
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest
from onnx import ModelProto

from pipeline.codec import JSON, MSGPACK, Codec
from pipeline.errors import ConfigError
from pipeline.interfaces import KeyBudget, SessionOptions
from pipeline.loaded_model import LoadedModel
from pipeline.messages import Failure, Prediction, ServerMessage
from pipeline.model_config import ModelConfig
from pipeline.routes import Route
from pipeline.served_model import ServedModel, serve_graph
from pipeline.session import Session
from pipeline.workers import WorkerPool
from tests import onnx_models as graphs

FLOATS = ["float32", "float64", "float16", "bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


class Sent:
    """Keeps what a session sends."""

    name = "sent"

    def __init__(self) -> None:
        self.messages: list[ServerMessage] = []

    def send_message(self, message: ServerMessage, codec: Codec, seq: int | None = None) -> None:
        codec.encode(message)
        self.messages.append(message)

    def cork(self) -> None: ...

    def uncork(self) -> None: ...

    def authenticate(self, token: str) -> None:
        raise AssertionError(f"nobody sends {token!r} here")

    def close(self, code: int, reason: str = "") -> None:
        raise AssertionError(f"closed with {code}: {reason}")


class Only:
    """A repository of one model."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    def get(self, name: str, version: str | None = None) -> ServedModel:
        return self._model

    def route(self, name: str, version: str | None = None) -> Route:
        return Route(name, version, self._model)


def ask(
    proto: ModelProto, folder: Path, *datas: Any, codec: Codec = JSON, config: ModelConfig | None = None
) -> list[ServerMessage]:
    """Send an event for each of `datas` to a model, in one batch where that can be; return the answers."""

    async def converse() -> list[ServerMessage]:
        workers = WorkerPool(1)
        loaded = LoadedModel(graphs.save(proto, folder / "model.onnx"), config or ModelConfig())
        model = serve_graph("m", "1", loaded, workers)
        sent = Sent()
        session = Session(Only(model), sent, SessionOptions(), KeyBudget(1), "m")
        for data in datas:
            payload = msgspec.json.encode({"data": data}) if codec.is_text else msgspec.msgpack.encode({"data": data})
            session.receive(payload, codec, 0.0)
        await model.engine.drained()
        workers.shutdown()
        return sent.messages

    return asyncio.run(converse())


def outputs(answers: list[ServerMessage]) -> list[Any]:
    """Return the outputs of predictions, and the codes of errors."""
    return [
        a.outputs if isinstance(a, Prediction) else a.error.code for a in answers if isinstance(a, Prediction | Failure)
    ]


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_of_every_size_survive_as_lists_and_as_bytes(dtype: str, tmp_path: Path) -> None:
    rows = [[0.5, -2.0, 4.0], [1.0, 0.25, -8.0]]
    kind = getattr(ml_dtypes, dtype.replace("float8", "float8_"), None) or np.dtype(dtype)
    packed = [np.array(row).astype(kind).tobytes() for row in rows]
    proto = graphs.identity(dtype)
    assert outputs(ask(proto, tmp_path, *rows)) == [{"y": row} for row in rows]
    assert outputs(ask(proto, tmp_path, *packed, codec=MSGPACK)) == [{"y": cell} for cell in packed]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_keep_their_extremes(dtype: str, tmp_path: Path) -> None:
    limits = np.iinfo(dtype)
    row = [int(limits.min), 1, int(limits.max)]
    packed = np.array(row, dtype).tobytes()
    assert outputs(ask(graphs.identity(dtype), tmp_path, row)) == [{"y": row}]
    assert outputs(ask(graphs.identity(dtype), tmp_path, packed, codec=MSGPACK)) == [{"y": packed}]
    assert outputs(ask(graphs.identity(dtype), tmp_path, [0, 0, limits.max + 1])) == ["invalid_input"]


def test_several_inputs_and_outputs_with_scalar_rows(tmp_path: Path) -> None:
    datas = [{"mask": [True, False], "count": 4}, {"mask": [[True]], "count": 4}, {"mask": [True, True]}]
    found = outputs(ask(graphs.two_by_two(), tmp_path, *datas))
    assert sorted(found, key=str) == sorted(
        [{"flipped": [False, True], "doubled": 8}, "invalid_input", "invalid_input"], key=str
    )


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_strings_are_lists_in_both_encodings(codec: Codec, tmp_path: Path) -> None:
    data = {"first": ["Ada ", "é"], "last": ["Lovelace", "☃"]}
    assert outputs(ask(graphs.concat_strings(), tmp_path, data, codec=codec)) == [{"joined": ["Ada Lovelace", "é☃"]}]


def test_rows_of_different_lengths_are_each_run_at_their_own(tmp_path: Path) -> None:
    datas = [[[1, 2]], [[1, 2], [3, 4]], [[5, 6]], [[0, 0], [0, 0], [3, 9]]]
    assert outputs(ask(graphs.mean_over_time(), tmp_path, *datas)) == [
        {"mean": mean} for mean in ([1, 2], [2, 3], [5, 6], [1, 3])
    ]


def test_bytes_of_a_dynamic_shape_come_with_their_shape(tmp_path: Path) -> None:
    cell = np.arange(4, dtype="<f4").tobytes()
    proto = graphs.identity(dims=("N", "T", 2))
    (answer,) = outputs(ask(proto, tmp_path, {"shape": [2, 2], "data": cell}, codec=MSGPACK))
    assert answer == {"y": {"shape": [2, 2], "data": cell}}


def test_an_output_without_a_batch_dimension_is_each_rows_own(tmp_path: Path) -> None:
    assert outputs(ask(graphs.total(), tmp_path, [1, 2, 3], [10, 0, 0])) == [{"total": 6}, {"total": 10}]


def test_a_graph_without_a_batch_dimension_runs_row_by_row(tmp_path: Path) -> None:
    proto = graphs.identity(dims=(2, 2))
    assert outputs(ask(proto, tmp_path, [[1, 2], [3, 4]], [5, 6, 7, 8])) == [
        {"y": [[1, 2], [3, 4]]},
        {"y": [[5, 6], [7, 8]]},
    ]


def test_a_graph_that_fails_on_more_than_one_row_runs_row_by_row(tmp_path: Path) -> None:
    assert outputs(ask(graphs.one_row_only(), tmp_path, [1, 2, 3], [4, 5, 6])) == [{"y": [1, 2, 3]}, {"y": [4, 5, 6]}]


def test_a_row_that_fails_in_the_graph_takes_no_neighbour_with_it(tmp_path: Path) -> None:
    answers = outputs(ask(graphs.lookup([10, 20, 30]), tmp_path, 0, 7, 2))
    assert answers == [{"value": 10}, "inference_failed", {"value": 30}]


def test_labels_name_the_highest_score_or_the_class(tmp_path: Path) -> None:
    scores = ModelConfig(labels={"scores": ["low", "mid", "high"]})
    classes = ModelConfig(labels={"class": ["low", "mid", "high"]})
    for proto, config in ((graphs.gemm(np.eye(3), [0, 0, 0]), scores), (graphs.argmax(), classes)):
        answers = ask(proto, tmp_path, [0, 0, 1], [3, 2, 1], config=config)
        assert [answer.label for answer in answers if isinstance(answer, Prediction)] == ["high", "low"]


@pytest.mark.parametrize(
    ("proto", "config", "reason"),
    [
        (graphs.sequence(), ModelConfig(), "cannot be served"),
        (graphs.zipmap(), ModelConfig(), "zipmap=False"),
        (graphs.never_runs(), ModelConfig(), "warming"),
        (graphs.identity(dims=(2, 2)), ModelConfig(max_batch_size=4), "max_batch_size"),
        (graphs.argmax(), ModelConfig(labels={"klass": ["a"]}), "labels.klass"),
        (graphs.gemm(np.eye(3), [0, 0, 0]), ModelConfig(labels={"scores": ["a", "b"]}), "expected 3 names"),
    ],
    ids=["sequence", "zipmap", "never runs", "no batch dimension", "labels of no output", "too few labels"],
)
def test_a_model_that_cannot_be_served_says_why(
    proto: ModelProto, config: ModelConfig, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        ask(proto, tmp_path, [1, 2, 3], config=config)
