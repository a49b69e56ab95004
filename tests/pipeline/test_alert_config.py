"""Alert rules in a configuration: read as written, and refused with file, key and reason where they cannot hold."""

from pathlib import Path

import pytest
from onnx import ModelProto, helper

from pipeline.alert_config import AlertRule, rule_names
from pipeline.config_files import read_config
from pipeline.errors import ConfigError
from tests import onnx_models as onnx
from tests.pipeline.ensemble_parts import SCALED, put_model, put_scaled
from tests.pipeline.test_repository import repository

RULE = "[[alert]]\n"
WITH_USER = "https://user:geheim@host/hook"


def test_every_key_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        f"{RULE}above = 1\n{RULE}name = 'fall'\noutput = 'scores'\nindex = 3\nabove = 0.8\nbelow = 0.9\n"
        "label = ['falling']\nfor = 3\ncooldown_seconds = 30\nwebhook = 'http://[::1]:8080/hook?a=b'\n"
    )
    plain, full = read_config(path).alert
    assert plain == AlertRule(above=1.0)
    assert full == AlertRule(
        "fall", "scores", 3, 0.8, 0.9, ["falling"], 3, 30.0, "http://[::1]:8080/hook?a=b"
    )  # fmt: skip
    assert rule_names([plain, full, plain]) == ["alert-1", "fall", "alert-3"]


BY_THE_FILE = {
    "": "alert[0].above: missing, expected at least one of above, below and label",
    "name = 'fall'": "alert[0].above: missing",
    "above = 1\nabsent = 1": "alert[0]: Object contains unknown field `absent`",
    "above = 1\ncount = 2": "alert[0]: Object contains unknown field `count`",
    "above = 'x'": "alert[0].above: Expected",
    "above = true": "alert[0].above: Expected",
    "above = nan": "alert[0].above: expected a finite number, got nan",
    "above = inf": "alert[0].above: expected a finite number, got inf",
    "below = -inf": "alert[0].below: expected a finite number, got -inf",
    "above = 0.8\nbelow = 0.8": "alert[0].above: 0.8 and below 0.8 never hold together",
    "above = 0.8\nbelow = 0.1": "alert[0].above: 0.8 and below 0.1 never hold together",
    "above = 1\nindex = -1": "alert[0].index: Expected",
    "above = 1\nindex = 1.5": "alert[0].index: Expected",
    "label = ['a']\nindex = 1": "alert[0].index: needs above or below",
    "label = 'a'": "alert[0].label: Expected",
    "label = []": "alert[0].label: Expected",
    "label = ['a', 'a']": "alert[0].label: expected each label once",
    "above = 1\nfor = 0": "alert[0].for: Expected",
    "above = 1\nfor = 1.5": "alert[0].for: Expected",
    "above = 1\nfor = 1_000_001": "alert[0].for: Expected",
    "above = 1\ncooldown_seconds = -1": "alert[0].cooldown_seconds: Expected",
    "above = 1\ncooldown_seconds = nan": "alert[0].cooldown_seconds: Expected",
    "above = 1\ncooldown_seconds = 1e9": "alert[0].cooldown_seconds: Expected",
    "above = 1\nname = ''": "alert[0].name: Expected",
    "above = 1\noutput = ''": "alert[0].output: Expected",
    "above = 1\nname = 'a'\n[[alert]]\nabove = 2\nname = 'a'": "alert[1].name: 'a' is the name of alert[0] too",
    "above = 1\n[[alert]]\nabove = 2\nname = 'alert-1'": "alert[1].name: 'alert-1' is the name of alert[0] too",
    "above = 1\n" + "[[alert]]\nabove = 1\n" * 64: "alert: Expected",
    **{
        f'above = 1\nwebhook = "{url}"': "alert[0].webhook: "
        for url in (
            "",
            "ftp://host/x",
            "host/x",
            "/x",
            "http://",
            "http:///x",
            "https://host:0/x",
            "https://host:99999/x",
            "https://host:x/x",
            "https://[::1/x",
            "https://ho st/x",
            r"https://host/\tx",
            "https://höst/x",
            "file:///etc/passwd",
            WITH_USER,
        )
    },
}


@pytest.mark.parametrize(("text", "reason"), BY_THE_FILE.items())
def test_what_no_model_could_honour_is_refused_by_file_and_key(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(RULE + text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert "geheim" not in str(caught.value)


def two_outputs() -> ModelProto:
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in ("y", "z")]
    return onnx.model(nodes, [onnx.tensor("x")], [onnx.tensor("y"), onnx.tensor("z")])


LABELS = "[labels]\nscores = ['a', 'b', 'c']\n"
CLASSES = "[labels]\nclass = ['a', 'b']"
BY_THE_GRAPH = [
    (onnx.identity(), "above = 1\noutput = 'x'", "output: the model has no output 'x', expected one of ['y']"),
    (onnx.identity(), "above = 1\nindex = 3", "index: expected 0 to 2 for 'y', got 3"),
    (onnx.identity(), "label = ['a']", "label: the output 'y' has no labels"),
    (onnx.gemm([[1] * 3] * 3, [0] * 3), f"label = ['a', 'd']\n{LABELS}", "label: no label 'd', expected some of ['a'"),
    (onnx.argmax(), f"label = ['b']\nabove = 1\n{CLASSES}", "above: the label of 'class' has no score"),
    (onnx.argmax(), f"label = ['b']\nbelow = 1\n{CLASSES}", "below: the label of 'class' has no score"),
    (onnx.identity("string"), "above = 1", "above: the output 'y' is strings"),
    (onnx.identity("string"), "below = 1", "below: the output 'y' is strings"),
    (onnx.identity("bool"), "above = 1", "above: 1.0 is never passed, 'y' is bool"),
    (onnx.identity("uint8"), "above = 255", "above: 255.0 is never passed, 'y' is uint8"),
    (onnx.identity("uint8"), "below = 0", "below: nothing is below 0.0, 'y' is uint8"),
    (onnx.identity("int8"), "below = -128", "below: nothing is below -128.0, 'y' is int8"),
    (onnx.identity(dims=("N", 0)), "above = 0", "above: the output 'y' has no elements"),
    (two_outputs(), "above = 0", "output: missing, the model has several, expected one of ['y', 'z']"),
]  # fmt: skip


@pytest.mark.parametrize(("proto", "text", "reason"), BY_THE_GRAPH)
async def test_what_does_not_fit_the_graph_is_refused_by_file_and_key(
    tmp_path: Path, proto: ModelProto, text: str, reason: str
) -> None:
    path = put_model(tmp_path, "m", proto, RULE + text)
    async with repository(tmp_path) as models:
        told = models.describe("m").reason
    assert told is not None
    assert told.startswith(f"{path}: alert[0].{reason}")


FITS = [
    (two_outputs(), "above = 0\noutput = 'z'"),
    (onnx.identity(), "above = 1\nindex = 2"),
    (onnx.identity("bool"), "above = 0"),
    (onnx.identity("uint8"), "below = 1"),
    (onnx.identity("bfloat16"), "above = 1e30"),
    (onnx.identity(dims=("N", "K"), out_dims=("N", "K")), "above = 1\nindex = 1000"),
    (onnx.gemm([[1] * 3] * 3, [0] * 3), f"label = ['c', 'a']\nabove = 0.5\n{LABELS}"),
    (onnx.argmax(), "label = ['b']\n[labels]\nclass = ['a', 'b']"),
    (onnx.argmax(), "label = ['b']\nabove = 1\nindex = 0\n[labels]\nclass = ['a', 'b']"),
]


@pytest.mark.parametrize(("proto", "text"), FITS)
async def test_what_fits_is_served(tmp_path: Path, proto: ModelProto, text: str) -> None:
    put_model(tmp_path, "m", proto, RULE + text)
    async with repository(tmp_path) as models:
        assert models.describe("m").reason is None


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (
            "above = 1\noutput = 'scaled'",
            "alert[0].output: the model has no output 'scaled', expected one of ['class']",
        ),
        ("above = 0\nindex = 1", "alert[0].index: expected 0 to 0 for 'class', got 1"),
        ("label = ['left']", "alert[0].label: no label 'left', expected some of ['a', 'b', 'c']"),
        ("label = ['b']", None),
        ("label = ['left']\n[labels]\nclass = ['left', 'mid', 'right']", None),
        ("above = 1", None),
    ],
)
async def test_an_ensemble_s_rules_are_about_what_it_gives(tmp_path: Path, rule: str, reason: str | None) -> None:
    put_scaled(tmp_path, f"{RULE}{rule}\n{SCALED}")
    put_model(tmp_path, "classify", onnx.argmax(), "[labels]\nclass = ['a', 'b', 'c']")
    async with repository(tmp_path) as models:
        told = models.describe("whole").reason
    assert (
        told == reason if reason is None or told is None else told.startswith(f"{tmp_path}/whole/config.toml: {reason}")
    )
