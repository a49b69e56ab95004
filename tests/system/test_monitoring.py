"""`deploy/monitoring`: what rules and charts ask for is told by servers, under the labels that it is asked by."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml

from pipeline.errors import BY_CODE, CloseCode
from tests.certificates import Certificate
from tests.redis_server import RedisServer, running_redis

from .access_parts import Keys, ask
from .client import get, post
from .graphs import plus, write_model
from .metrics import Metrics
from .process import ROOT, Server, running_server, until
from .roles import gateway_of, has_workers, worker_of

MONITORING: Final = ROOT / "deploy" / "monitoring"
RULES: Final = [
    rule for group in yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
BOARD: Final = json.loads((MONITORING / "grafana-dashboard.json").read_text())
PANELS: Final = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS: Final = [target for panel in PANELS for target in panel["targets"]]
OF_PROMETHEUS: Final = {"instance", "job"}
VALUES: Final = {
    "code": {*BY_CODE, *(str(code.value) for code in CloseCode)},
    "outcome": {"delivered", "refused", "failed", "dropped"},
    "state": {"waiting", "pending", "unavailable"},
    "status": {"500"},
}

Labels = dict[str, set[str]]


def labels_of(metrics: Metrics) -> Labels:
    """Return the labels of every sample by name, and no labels for families that have no sample yet."""
    labels: Labels = {}
    for family in metrics.families.values():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels.setdefault(name, set())
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, zoo_models: Path, certificate: Certificate, keys: Keys) -> Labels:
    """Give what servers of all kinds tell."""
    folder = tmp_path_factory.mktemp("cluster")
    write_model(folder / "models", "plus", plus(1))
    labels: Labels = {}
    models = ("--models", str(zoo_models))
    with running_server(*models, *certificate.arguments, tls=certificate.trusted()) as server:
        get(server, "/healthz")
        labels |= labels_of(Metrics(server))
    with running_server(*models, "--processes", "2") as server:
        labels |= labels_of(Metrics(server))
    with running_server(*models, "--api-keys", str(keys.file)) as server:
        labels |= labels_of(Metrics(get(server, "/metrics", keys.bearer("root"))))
    (folder / "redis").mkdir()
    with running_redis(folder / "redis") as redis:
        labels |= labels_of_cluster(redis, folder / "models")
    return labels


def labels_of_cluster(redis: RedisServer, models: Path) -> Labels:
    with running_server(*gateway_of(redis)) as gateway, running_server(*worker_of(redis, models)) as worker:
        has_workers(gateway)
        assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).status == 200
        until(lambda: labels_of(Metrics(gateway))["waterspout_queue_entries"])
        return labels_of(Metrics(gateway)) | labels_of(Metrics(worker))


def parsed(text: str) -> promql_parser.Expr:
    """Parse an expression with Grafana's variables filled in."""
    return promql_parser.parse(re.sub(r"\$(instance|model)", ".*", text.replace("$__rate_interval", "5m")))


def selectors(expression: promql_parser.Expr) -> Iterator[promql_parser.VectorSelector]:
    found: list[Any] = []
    promql_parser.walk(expression, lambda node: found.append(node))
    for node in found:
        if isinstance(node, promql_parser.MatrixSelector):
            yield node.vector_selector
        elif isinstance(node, promql_parser.VectorSelector):
            yield node


def grouped_by(expression: promql_parser.Expr) -> set[str]:
    found: list[Any] = []
    promql_parser.walk(expression, lambda node: found.append(node))
    modifiers = [node.modifier for node in found if isinstance(node, promql_parser.AggregateExpr)]
    return {label for modifier in modifiers if modifier is not None for label in modifier.labels}


def left_by(expression: promql_parser.Expr) -> set[str]:
    """Return the labels of what an expression gives: those of the outermost sum, unless it only picks some."""
    found: list[Any] = []
    promql_parser.walk(expression, lambda node: found.append(node))
    sums = [node for node in found if isinstance(node, promql_parser.AggregateExpr) and str(node.op) != "topk"]
    return set(sums[0].modifier.labels) - {"le"} if sums and sums[0].modifier is not None else set()


expressions = pytest.mark.parametrize(
    "text", [*(rule["expr"] for rule in RULES), *(target["expr"] for target in TARGETS)]
)


@expressions
def test_every_expression_asks_for_what_is_told(text: str, told: Labels) -> None:
    expression = parsed(text)
    asked = list(selectors(expression))
    assert asked
    known = set(OF_PROMETHEUS)
    for selector in asked:
        assert selector.name in told or selector.name == "up", selector.name
        own = told.get(selector.name, set()) | OF_PROMETHEUS
        if selector.name in listed_labels():
            own |= listed_labels()[selector.name]
        known |= own
        for matcher in selector.matchers.matchers:
            assert matcher.name in own, f"{selector.name} has no {matcher.name}"
            if matcher.name in VALUES:
                assert set(matcher.value.split("|")) <= VALUES[matcher.name]
    assert grouped_by(expression) <= known


def listed_labels() -> Labels:
    """Return what docs/operations.md says of metrics with labels, which may have no sample yet."""
    text = (ROOT / "docs" / "operations.md").read_text()
    return {name: set(names.split(",")) for name, names in re.findall(r"`(waterspout_\w+)\{([\w,]+)\}`", text)}


def test_rules_have_the_form_that_prometheus_wants() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) >= 10
    for rule in RULES:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert used <= left_by(parsed(rule["expr"])) | OF_PROMETHEUS, rule["alert"]


def test_charts_have_the_form_that_grafana_wants() -> None:
    assert BOARD["uid"] == "waterspout"
    assert BOARD["schemaVersion"] >= 36
    variables = {variable["name"] for variable in BOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD))) - {"__rate_interval", "__all"} <= variables
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in PANELS:
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)) > 0


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["expr"])
def test_lines_of_a_chart_are_told_apart_by_labels_that_are_left(target: dict[str, str]) -> None:
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    left = left_by(parsed(target["expr"]))
    assert left <= shown <= left | OF_PROMETHEUS


def test_queries_of_variables_name_what_is_told(told: Labels) -> None:
    queries = [variable["query"]["query"] for variable in BOARD["templating"]["list"] if variable["type"] == "query"]
    for name, label in (re.findall(r"^label_values\((\w+), (\w+)\)$", query)[0] for query in queries):
        assert name in told
        assert label in told[name] | listed_labels().get(name, set()) | OF_PROMETHEUS


def test_the_configuration_scrapes_a_server_as_it_starts() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert config["rule_files"] == ["rules.yml"]
    (job,) = config["scrape_configs"]
    assert {f'job="{job["job_name"]}"'} == set(re.findall(r'job="\w+"', json.dumps(RULES).replace("\\", "")))
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:8888"]


def test_the_key_that_the_configuration_tells_of_may_scrape(server: Server, keys: Keys) -> None:
    (scopes,) = re.findall(
        r"keys create --name prometheus --scopes '(.*)'", (MONITORING / "prometheus.yml").read_text()
    )
    assert scopes in (ROOT / "deploy" / "kubernetes.yaml").read_text()
    assert scopes in (ROOT / "docs" / "security.md").read_text()
    keys.add_at(server, "prometheus", scopes)
    assert ask(server, "GET", "/metrics", keys.bearer("prometheus")).status == 200


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_prometheus_itself_takes_them(tmp_path: Path) -> None:
    shutil.copytree(MONITORING, tmp_path, dirs_exist_ok=True)
    (tmp_path / "waterspout.key").write_text("wsk_none")
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
