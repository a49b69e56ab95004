"""Configurations that cannot be served are refused by file, key and reason, whether the file or the graph tells."""

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.loaded_model import LoadedModel
from pipeline.model_config import to_config
from pipeline.served_model import serve_graph
from pipeline.workers import WorkerPool
from tests import onnx_models as onnx
from tests.pipeline.test_repository import CORES, put, repository

BATCHING, QUEUE = "[dynamic_batching]\n", "[dynamic_batching.default_queue_policy]\n"
INPUT, OUTPUT, WARMUP = "[[input]]\nname = 'x'\n", "[[output]]\nname = 'y'\n", "[[model_warmup]]\n"
X = f"{WARMUP}[model_warmup.inputs.x]\n"

BY_THE_FILE = {
    "max_batch_size = -1": "max_batch_size: Expected",
    "allowed_batch_sizes = [4, 2]": "allowed_batch_sizes: expected ascending",
    "allowed_batch_sizes = [2, 2]": "allowed_batch_sizes: expected ascending",
    "max_batch_size = 0\nallowed_batch_sizes = [4]": "allowed_batch_sizes: the largest must be",
    "max_batch_size = 8\nallowed_batch_sizes = [4]": "allowed_batch_sizes: the largest must be",
    f"{BATCHING}preferred_batch_size = [4]": "dynamic_batching.preferred_batch_size: 4 needs",
    f"max_batch_size = 0\n{BATCHING}preferred_batch_size = [4]": "dynamic_batching.preferred_batch_size: 4 above",
    f"max_batch_size = 8\n{BATCHING}preferred_batch_size = [9]": "dynamic_batching.preferred_batch_size: 9 above",
    f"max_batch_size = 8\n{BATCHING}preferred_batch_size = [4, 2]": "dynamic_batching.preferred_batch_size: expected",
    f"max_batch_size = 8\n{BATCHING}preferred_batch_size = [4, 4]": "dynamic_batching.preferred_batch_size: expected",
    f"allowed_batch_sizes = [8]\n{BATCHING}preferred_batch_size = [9]": "dynamic_batching.preferred_batch_size: 9",
    f"{BATCHING}priority_levels = 2": "dynamic_batching.default_priority_level: expected 1 to 2",
    f"{BATCHING}default_priority_level = 1": "dynamic_batching.default_priority_level: needs",
    f"{BATCHING}priority_levels = 2\ndefault_priority_level = 3": "dynamic_batching.default_priority_level: expected",
    f"latency_slo_microseconds = 500\n{BATCHING}max_queue_delay_microseconds = 500": (
        "dynamic_batching.max_queue_delay_microseconds: 500"
    ),
    f"{QUEUE}max_queue_size = 0": "dynamic_batching.default_queue_policy.max_queue_size: Expected",
    f"{QUEUE}timeout_action = 'DELAY'": "dynamic_batching.default_queue_policy.timeout_action: DELAY",
    f"max_batch_size = 4\n{WARMUP}batch_size = 5": "model_warmup[0].batch_size: 5 is above",
    f"{X}values = [1]\nrandom_data = true": "model_warmup[0].inputs[...].values: expected only one",
    f"{X}values = {{shape = [3], data = [1, 2, 3]}}\ndims = [3]": "model_warmup[0].inputs[...].dims: the values",
    "version_policy = {latest = {}, all = {}}": "version_policy: Expected one of",
    "version_policy = {all = {num = 1}}": "version_policy: Object contains unknown field",
    "version_policy = {specific = {versions = []}}": "version_policy.specific.versions: Expected",
    "version_labels = {stable = 2}": "version_labels.stable: version 2 is not served",
    "version_labels = {1 = 1}": "version_labels: '1' is no label",
    f"intra_op_num_threads = 2\n[instance_group]\ncount = {CORES}": "instance_group.count x intra_op_num_threads",
    "window = {length = 3, hop = 0}": "window.hop: Expected",
    "sha256 = 'abc'": "sha256: Expected",
}
BY_THE_GRAPH = {
    "execution_providers = ['gpu']": "execution_providers: unknown provider",
    "execution_providers = ['cann']": "execution_providers: this onnxruntime has no 'cann'",
    "instance_group = {kind = 'KIND_GPU'}": "instance_group.kind: KIND_GPU needs",
    "sha256 = '{}'".format("0" * 64): "sha256: expected",
    "window = {length = 4, hop = 1}": "window.length: 4 does not fit",
    "[labels]\nscores = ['a']": "labels.scores: the model has no such output",
    "[labels]\ny = ['a', 'b']": "labels.y: expected 3 names",
    f"{INPUT}data_type = 'int64'\ndims = [3]": "input.x.data_type: the graph has float32",
    f"{INPUT}data_type = 'float32'\ndims = [4]": "input.x.dims: the graph has [3]",
    f"{OUTPUT}data_type = 'float32'\ndims = [3, 1]": "output.y.dims: the graph has [3]",
    f"{WARMUP}[model_warmup.inputs.z]": "model_warmup[0].inputs.z: no such input",
    f"{X}data_type = 'int64'": "model_warmup[0].inputs.x.data_type: the graph has float32",
    f"{X}dims = [4]": "model_warmup[0].inputs.x.shape: expected",
    f"{X}values = [1, 2]": "model_warmup[0].inputs.x: expected 3",
    f"{X}values = 2026-11-21": "model_warmup[0].inputs.x: expected 3",
}


@pytest.mark.parametrize(
    ("text", "key", "by_the_file"),
    [*((*item, True) for item in BY_THE_FILE.items()), *((*item, False) for item in BY_THE_GRAPH.items())],
)
async def test_what_is_wrong_is_refused_by_file_and_key(
    tmp_path: Path, text: str, key: str, by_the_file: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(tmp_path, "m", config=text)
    file = tmp_path / "m" / "config.toml" if by_the_file else path
    async with repository(tmp_path) as models:
        assert models.broken == ["m"]
        reason = models.describe("m").reason
    assert reason is not None
    assert reason.startswith(f"{file}: {key}")
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.ERROR, None)  # of the operator's making, no fault of ours


SIZES = st.lists(st.integers(1, 6), max_size=3)
TABLES = st.fixed_dictionaries(
    {
        "dynamic_batching": st.fixed_dictionaries(
            {},
            optional={
                "max_queue_delay_microseconds": st.sampled_from([0, 500, 1000]),
                "preferred_batch_size": SIZES,
                "priority_levels": st.integers(0, 2),
                "default_priority_level": st.integers(0, 2),
                "default_queue_policy": st.fixed_dictionaries(
                    {},
                    optional={"max_queue_size": st.integers(1, 4), "default_timeout_microseconds": st.integers(0, 9)},
                ),
            },
        )
    },
    optional={
        "max_batch_size": st.integers(0, 6),
        "allowed_batch_sizes": SIZES,
        "latency_slo_microseconds": st.sampled_from([0, 500, 1000]),
        "instance_group": st.fixed_dictionaries({"count": st.integers(1, 3)}),
        "window": st.fixed_dictionaries({"length": st.integers(1, 4), "hop": st.integers(1, 4)}),
        "model_warmup": st.lists(st.fixed_dictionaries({"batch_size": st.integers(1, 6)}), max_size=2),
    },
)
PROTOS = [
    onnx.identity(),
    onnx.identity(dims=(2, 3)),
    onnx.identity(dims=("N", 3, 2)),
    onnx.mean_over_time(),
    onnx.total(),
]


@given(TABLES, st.sampled_from(PROTOS))
def test_whatever_is_not_refused_by_name_is_served(table: dict[str, Any], proto: Any) -> None:
    async def serve() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = onnx.save(proto, Path(folder) / "model.onnx")
            try:
                loaded = LoadedModel(path, config)
            except ConfigError:
                return
        workers = WorkerPool(1)
        serve_graph("m", "1", loaded, workers).engine.close()
        workers.shutdown()

    try:
        config = to_config(table)
    except ValueError as error:
        assert str(error).partition(":")[0].partition("[")[0].partition(".")[0] in table  # noqa: PT017
        return
    asyncio.run(serve())
