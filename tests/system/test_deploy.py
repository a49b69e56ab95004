"""The files of `deploy/`: what they name exists, and the commands in them run as they stand, without containers."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from handlers.app import DOORS
from pipeline.settings import Settings, read_settings
from tests.redis_server import RedisServer, running_redis

from .access_parts import ask
from .client import Reply, get, post
from .graphs import plus, write_model
from .metrics import Metrics
from .process import ROOT, Server, run_to_end, running_server, until
from .roles import gateway_of, has_workers, worker_of

DEPLOY: Final = ROOT / "deploy"
FILES: Final = sorted(
    path for path in DEPLOY.iterdir() if path.suffix in (".yml", ".yaml") or path.name == "Dockerfile"
)
OF_CLUSTERS: Final = tuple(
    f"waterspout_{name}" for name in ("backbone_", "workers", "queue_entries", "entries_", "replies_", "dead_letters")
)
WINDOW: Final = [[0.1, -0.2, 0.0, 0.0, 0.01, -0.01]] * 100

Manifest = dict[str, Any]


def compose() -> Manifest:
    services: Manifest = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["services"]
    return services


def manifests(kind: str) -> list[Manifest]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return [document for document in documents if document["kind"] == kind]


def containers() -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each deployment with its container."""
    for deployment in manifests("Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        yield deployment, container


def entrypoint() -> list[str]:
    """Return the arguments that the image starts the server with."""
    (line,) = re.findall(r"^ENTRYPOINT (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    python, server, *arguments = yaml.safe_load(line)
    assert (python, server) == ("/venv/bin/python", "server.py")
    return [str(argument) for argument in arguments]


def ask_predict(server: Server, headers: dict[str, str]) -> Reply:
    return ask(server, "POST", "/v1/models/activity/predict", headers, json.dumps({"data": WINDOW}))


def doors_of(role: str) -> set[str]:
    return {door.path for door in DOORS if door.at_workers or role != "worker"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a Redis that runs as the compose file has it run."""
    (tmp_path / "redis").mkdir()
    program, *options = compose()["redis"]["command"]
    assert program == "redis-server"
    with running_redis(tmp_path / "redis", *options, data=False) as running:
        yield running


def test_the_commands_of_the_compose_file_make_one_service(redis: RedisServer) -> None:
    with ExitStack() as stack:
        servers: dict[str, list[Server]] = {"gateway": [], "worker": []}
        for service, running in servers.items():
            told = compose()[service]
            assert "redis" in told["depends_on"]
            named = told["environment"].items()
            env = {name: value.replace("redis:6379", f"127.0.0.1:{redis.port}") for name, value in named}
            for _ in range(told["deploy"]["replicas"]):
                running.append(stack.enter_context(running_server(*entrypoint(), *told["command"], env=env)))
        assert (len(servers["gateway"]), len(servers["worker"])) == (2, 3)
        scopes = ["--name", "ada", "--scopes", "predict:*"]
        made = run_to_end("keys", "create", *scopes, env=env)
        bearer = {"Authorization": f"Bearer {made.stdout.strip()}"}
        for gateway in servers["gateway"]:
            has_workers(gateway, 3)
            until(lambda gateway=gateway: ask_predict(gateway, bearer).status == 200)  # type: ignore[misc]
            assert ask_predict(gateway, bearer).json["outputs"]["scores"]
            assert ask_predict(gateway, {}).status == 401
        assert redis.command("CONFIG", "GET", "maxmemory-policy")[1] == b"noeviction"
        assert redis.command("CONFIG", "GET", "appendonly")[1] == b"yes"


def test_each_gateway_has_a_port_of_the_host() -> None:
    gateway = compose()["gateway"]
    (ports,) = gateway["ports"]
    first, last, inside = map(int, re.fullmatch(r"(\d+)-(\d+):(\d+)", ports).groups())  # type: ignore[union-attr]
    assert last - first + 1 == gateway["deploy"]["replicas"]
    assert inside == Settings.model_fields["port"].default
    for server in ("gateway", "worker"):
        grace = float(compose()[server]["stop_grace_period"].removesuffix("s"))
        assert grace > Settings.model_fields["drain_seconds"].default


def test_the_image_has_all_that_the_server_needs(tmp_path: Path) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, target = shlex.split(line)
        for source in sources:
            assert any(Path(source).match(rule.removeprefix("!")) for rule in ignored if rule.startswith("!")), source
            path, place = ROOT / source, tmp_path / target
            if path.is_dir():
                shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy2(path, place)
    with running_server(*entrypoint(), "--insecure", root=tmp_path) as server:
        assert "--insecure: whoever can reach 0.0.0.0" in server.log
        assert post(server, "/v1/models/activity/predict", {"data": WINDOW}).status == 200
        assert get(server, "/").status == 200
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)
    (checked,) = re.findall(r"http://127.0.0.1:(\d+)(/\w+)'", text)
    assert checked == (str(Settings.model_fields["port"].default), "/healthz")
    assert f"EXPOSE {checked[0]}" in text


def test_every_container_has_settings_that_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in manifests("Secret")}
    for deployment, container in containers():
        with monkeypatch.context() as patch:
            for variable in container["env"]:
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                value = secrets[reference["name"]][reference["key"]] if reference else variable["value"]
                patch.setenv(variable["name"], value)
            settings = read_settings([*entrypoint(), *container["args"]])
        pod = deployment["spec"]["template"]
        assert settings.role == deployment["metadata"]["name"] == pod["metadata"]["labels"]["role"]
        assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(settings.port)
        assert [port["containerPort"] for port in container["ports"]] == [settings.port]
        assert pod["spec"]["terminationGracePeriodSeconds"] > settings.drain_seconds + 5
        for probe in ("livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["path"] in doors_of(settings.role)
            assert container[probe]["httpGet"]["port"] == container["ports"][0]["name"]


def test_what_manifests_refer_to_is_there() -> None:
    labels = {}
    for deployment, container in containers():
        pod = deployment["spec"]["template"]
        labels[deployment["metadata"]["name"]] = pod["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod["spec"].get("volumes", [])}
    (service,) = manifests("Service")
    assert service["spec"]["selector"] == labels["gateway"]
    (scaled,) = manifests("ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] == "worker"
    assert "replicas" not in manifests("Deployment")[1]["spec"], "KEDA and the deployment would quarrel"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_flag_and_variable_is_a_setting(path: Path) -> None:
    lines = [line.partition("#")[0] for line in path.read_text().splitlines()]
    text = "\n".join(line for line in lines if re.search(r"args:|command: \[--|ENTRYPOINT|WATERSPOUT_", line))
    flags = set(re.findall(r"--([a-z][a-z-]*)", text))
    names = {flag.replace("-", "_") for flag in flags}
    names |= {name.lower() for name in re.findall(r"WATERSPOUT_(\w+)", text)}
    assert names
    assert names <= Settings.model_fields.keys()


def test_every_metric_is_there(redis: RedisServer, tmp_path: Path) -> None:
    texts = [path.read_text() for path in (*FILES, ROOT / "docs" / "cluster.md", ROOT / "docs" / "scaling.md")]
    operations = (ROOT / "docs" / "operations.md").read_text()
    texts.append(operations.partition("### Metrics of a cluster")[2].partition("\n##")[0])
    named = {name for text in texts for name in re.findall(r"\b(waterspout_[a-z_]+)\b", text)}
    write_model(tmp_path / "models", "plus", plus(1))
    with (
        running_server(*gateway_of(redis)) as gateway,
        running_server(*worker_of(redis, tmp_path / "models")) as worker,
    ):
        has_workers(gateway)
        assert post(gateway, "/v1/models/plus/predict", {"data": [1]}).status == 200
        told = {sample for server in (gateway, worker) for sample in samples_of(server)}
        assert named <= told
        assert {name for name in told if name.startswith(OF_CLUSTERS)} <= named, "each is explained"
        until(lambda: ("plus/1/0", "waiting") in queues_of(gateway))


def test_the_settings_of_a_cluster_are_as_they_are_told() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", text.partition("## Settings")[2], re.MULTILINE))
    assert told == {name: str(Settings.model_fields[name].default).removesuffix(".0").lower() for name in told}
    assert told.keys() >= {"redis", "role", "shards", "max_lag", "worker_wait_seconds", "claim_seconds", "redis_prefix"}


def samples_of(server: Server) -> set[str]:
    """Return the names of all samples, and of histograms as a whole."""
    families = Metrics(server).families.values()
    whole = {family.name for family in families if family.type == "histogram"}
    return whole | {sample.name for family in families for sample in family.samples}


def queues_of(server: Server) -> set[tuple[str, str]]:
    samples = Metrics(server).families["waterspout_queue_entries"].samples
    return {(sample.labels["queue"], sample.labels["state"]) for sample in samples}
