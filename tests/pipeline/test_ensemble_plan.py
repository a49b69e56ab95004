"""What is wrong with an ensemble is said with file, key and reason, before anything is served."""

import re
from pathlib import Path

import pytest

from pipeline.config_files import read_config
from pipeline.errors import ConfigError
from tests import onnx_models as onnx
from tests.pipeline.ensemble_parts import SCALED, put_ensemble, put_model, put_scaled
from tests.pipeline.test_repository import repository

STEP = "ensemble_scheduling.step"
INPUT = "[[input]]\nname = 'raw'\ndata_type = 'float32'\ndims = [3]\n"
OUTPUT = "[[output]]\nname = 'class'\ndata_type = 'int64'\ndims = []\n"


def changed(*changes: tuple[str, str], before: str = "") -> str:
    config = SCALED
    for old, new in changes:
        assert old in config
        config = config.replace(old, new, 1)
    return before + config


BROKEN = [
    (changed(('"scale"', '"nobody"')), f"{STEP}[0]: model: 'nobody' is not served"),
    (changed(('"scale"', '"scale"\nmodel_version = 7')), f"{STEP}[0]: version: 7 of 'scale' is not served"),
    (changed(('"scale"', '"scale"\nmodel_version = "canary"')), f"{STEP}[0]: version: canary of 'scale'"),
    (changed(('"classify"', '"whole"')), f"{STEP}[1]: model 'whole'"),
    (changed(("{ x = ", "{ z = ")), rf"{STEP}[0].input_map.z: scale has no such input, expected one of ['x']"),
    (changed(('{ x = "raw" }', "{}")), rf"{STEP}[0].input_map.x: missing, scale takes float32[3]"),
    (changed(("scores = ", "score = ")), f"{STEP}[0].output_map.score: scale has no such output"),
    (changed(('class = "class"', 'class = "scaled"')), f"{STEP}[1].output_map.class: 'scaled' is made by step[0] too"),
    (changed(('x = "raw"', 'x = "class"')), f"{STEP}[0].input_map.x: expected float32[3], but 'class' is int64[]"),
    (changed(before=INPUT.replace("raw", "row")), f"{STEP}[0].input_map.x: 'raw' is neither an input"),
    (changed(before=INPUT + INPUT.replace("raw", "more")), "input.more: the graph has no such input"),
    (changed(before=INPUT.replace("float32", "int64")), "input.raw.data_type: the graph has float32, found int64"),
    (changed(before=INPUT.replace("[3]", "[4]")), "input.raw.dims: the graph has [3] for a row, found [4]"),
    (changed(before=INPUT + "optional = true\n"), "input.raw.optional: a step cannot do without it"),
    (changed(before=OUTPUT.replace("class", "klass")), "output.klass: no step makes it, expected one of ['scaled'"),
    (changed(before=OUTPUT.replace("int64", "int32")), "output.class.data_type: the graph has int64, found int32"),
    (changed(before=OUTPUT.replace("class", "scaled").replace("int64", "float32").replace("[]", "[3]")),
     f"{STEP}[1]: nothing takes what it makes"),
    (changed(before="max_batch_size = 0\n"), "max_batch_size: 0, but models of the steps have a batch dimension"),
    (changed(before="[labels]\nclasses = ['a']\n"), "labels.classes: the model has no such output"),
    (changed(before="[window]\nlength = 4\nhop = 1\n"), "window.length: 4 does not fit the input raw"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "reason"), BROKEN)
async def test_an_ensemble_that_is_wired_wrongly_is_not_served(
    tmp_path: Path, config: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_scaled(tmp_path, config)
    async with repository(tmp_path) as models:
        assert [model.name for model in models] == ["classify", "scale"]
        told = models.describe("whole").reason
        assert told is not None
        assert told.startswith(f"{tmp_path / 'whole' / 'config.toml'}: ")
        assert reason in told
        assert told in caplog.text


async def test_steps_that_wait_for_one_another_are_found(tmp_path: Path) -> None:
    put_model(tmp_path, "same", onnx.identity())
    put_model(tmp_path, "add", onnx.add())
    circle = """
        [[ensemble_scheduling.step]]
        model_name = "add"
        input_map = { a = "x", b = "back" }
        output_map = { sum = "forth" }
        [[ensemble_scheduling.step]]
        model_name = "same"
        input_map = { x = "forth" }
        output_map = { y = "back" }
    """
    put_ensemble(tmp_path, circle)
    put_ensemble(tmp_path, "[[output]]\nname = 'back'\ndata_type = 'float32'\ndims = [3]\n" + circle, "closed")
    async with repository(tmp_path) as models:
        assert "every tensor that is made goes into a step" in (models.describe("whole").reason or "")
        assert f"{STEP}[0]: steps wait for one another, among them add, same" in (
            models.describe("closed").reason or ""
        )


async def test_steps_that_take_one_input_must_agree_on_it(tmp_path: Path) -> None:
    put_model(tmp_path, "open", onnx.identity(dims=("N", "T")))
    put_model(tmp_path, "two", onnx.identity(dims=("N", 2)))
    put_model(tmp_path, "three", onnx.identity())
    put_model(tmp_path, "whole_numbers", onnx.identity("int64"))
    step = '[[ensemble_scheduling.step]]\nmodel_name = "{0}"\ninput_map = {{ x = "x" }}\noutput_map = {{ y = "{0}" }}\n'
    put_ensemble(tmp_path, step.format("open") + step.format("three"), "good")
    put_ensemble(tmp_path, step.format("two") + step.format("three"), "sizes")
    put_ensemble(tmp_path, step.format("whole_numbers") + step.format("three"), "types")
    async with repository(tmp_path) as models:
        assert [tensor.shape for tensor in models.get("good").spec.inputs] == [(3,)]
        expected = f"{STEP}[1].input_map.x: expected float32[3], but 'x' is"
        assert f"{expected} float32[2]" in (models.describe("sizes").reason or "")
        assert f"{expected} int64[3]" in (models.describe("types").reason or "")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("ensemble_scheduling.step = []", "ensemble_scheduling.step: Expected `array` of length >= 1"),
        (changed(("model_name", "model")), r"ensemble_scheduling.step\[0\]: .*unknown field `model`"),
        (changed(('"scale"', '"scale"\nmodel_version = 0')), "model_version: expected a number from 1, a label, or -1"),
        (changed(('"scale"', '"scale"\nmodel_version = 1.5')), "model_version: "),
        (changed(("{ scores = \"scaled\" }", "{}")), "output_map: "),
        (changed(before="instance_group.count = 2\n"), "instance_group: not of an ensemble, but of the models"),
        (changed(before="latency_slo_microseconds = 5000\n"), "latency_slo_microseconds: not of an ensemble"),
        (changed(before="allowed_batch_sizes = [1, 8]\n"), "allowed_batch_sizes: not of an ensemble"),
        (changed(before="execution_providers = ['cpu']\n"), "execution_providers: not of an ensemble"),
        (changed(before="dynamic_batching.max_queue_delay_microseconds = 5\n"),
         "dynamic_batching.max_queue_delay_microseconds: not of an ensemble"),
        (changed(before="dynamic_batching.default_queue_policy.max_queue_size = 5\n"),
         "dynamic_batching.default_queue_policy.max_queue_size: not of an ensemble"),
    ],
)  # fmt: skip
def test_keys_of_an_ensemble_are_checked(tmp_path: Path, config: str, reason: str) -> None:
    path = put_ensemble(tmp_path, config)
    with pytest.raises(ConfigError, match=reason) as raised:
        read_config(path)
    assert str(path) in str(raised.value)


async def test_ensembles_that_are_steps_of_one_another_are_not_served(tmp_path: Path) -> None:
    step = '[[ensemble_scheduling.step]]\nmodel_name = "{}"\ninput_map = {{ x = "x" }}\noutput_map = {{ y = "y" }}\n'
    put_ensemble(tmp_path, step.format("b"), "a")
    put_ensemble(tmp_path, step.format("a"), "b")
    async with repository(tmp_path) as models:
        assert models.broken == ["a", "b"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (SCALED, "ensemble_scheduling: there is a model.onnx beside it"),
        ("# ensemble_scheduling", None),
    ],
)
async def test_a_folder_is_a_graph_or_an_ensemble(tmp_path: Path, config: str, reason: str | None) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "whole", onnx.identity(), config)
    async with repository(tmp_path) as models:
        assert (models.describe("whole").reason or "").endswith(reason or "")
        assert ("whole" in [model.name for model in models]) is (reason is None)


async def test_a_configuration_without_steps_is_no_ensemble(tmp_path: Path) -> None:
    put_scaled(tmp_path, "# ensemble_scheduling")
    async with repository(tmp_path) as models:
        assert "ensemble_scheduling: no steps, and there is no model.onnx" in (models.describe("whole").reason or "")


async def test_the_example_of_the_reference_is_served(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    example = re.search(r"## Ensembles\n.*?```toml\n(.*?)```", docs, re.DOTALL)
    assert example is not None
    put_scaled(tmp_path, example[1])
    async with repository(tmp_path) as models:
        assert models.get("whole").version == "1"
