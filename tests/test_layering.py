"""The house rules that docs/architecture.md draws: who may import whom, and how large a module may grow."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 350

LAYERS = ["pipeline", "handlers", "server"]  # each may import itself and what stands before it
PURE = [
    "handlers/credentials.py",
    "handlers/forwarded.py",
    "handlers/frames.py",
    "handlers/headers.py",
    *(
        f"pipeline/{name}.py"
        for name in (
            "access_settings",
            "accounts",
            "admin_messages",
            "alert_config",
            "alert_messages",
            "alerts",
            "api_keys",
            "allowances",
            "audience",
            "auth_rules",
            "backbone",
            "backoff",
            "batch_policy",
            "batching",
            "cluster_messages",
            "cluster_rows",
            "cluster_settings",
            "codec",
            "compression",
            "control_messages",
            "delivery",
            "ensemble_config",
            "ensemble_plan",
            "errors",
            "fair_queue",
            "fanout_messages",
            "graph_spec",
            "hub",
            "identity",
            "incoming",
            "inference_account",
            "interfaces",
            "job",
            "jwt_keys",
            "limit_config",
            "limit_settings",
            "limits",
            "merged_metrics",
            "messages",
            "metrics",
            "model_cards",
            "model_config",
            "model_settings",
            "nested_lists",
            "network_settings",
            "onnx_constants",
            "onnx_wire",
            "order_letters",
            "orders",
            "outbox",
            "outgoing",
            "peers",
            "providers",
            "pulse",
            "pulse_messages",
            "queue_memory",
            "redaction",
            "redis_records",
            "redis_url",
            "restarts",
            "relayed",
            "results",
            "rings",
            "routes",
            "rule_conditions",
            "run_times",
            "scopes",
            "session",
            "settings",
            "share_rules",
            "shares",
            "slo",
            "standing",
            "stats",
            "stream",
            "streams",
            "tensors",
            "topic_table",
            "token_bucket",
            "topics",
            "usage",
            "usage_metrics",
            "trace_context",
            "v2_messages",
            "v2_metadata",
            "v2_responses",
            "v2_tensors",
            "webhook_rules",
            "version_policy",
            "warmup",
            "wants",
            "watch_messages",
            "window",
        )
    ),
]
IMPURE = {"asyncio", "concurrent", "onnxruntime", "redis", "selectors", "socket", "threading", "time", "tornado"}
MASK = "tornado.util"  # a C function over bytes, without any I/O

SERVER = sorted([ROOT / "server.py", *(ROOT / "handlers").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names of all modules that a module imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text(), name_of(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            assert node.module is not None
            yield node.module


def packages(path: Path) -> set[str]:
    return {module.partition(".")[0] for module in imports(path)}


def drawn() -> dict[str, str]:
    """Return the kind of each module as the table of docs/architecture.md has it."""
    kinds = {}
    text = (ROOT / "docs" / "architecture.md").read_text()
    for rooms, kind in re.findall(r"^\| (`.+`) \| (pure|shell) \|", text, re.MULTILINE):
        folder = ""
        for room in re.findall(r"`(.+?)`", rooms):
            folder = room.rpartition("/")[0] or folder
            kinds[f"{folder}/{room.rpartition('/')[2]}"] = kind
    return kinds


def test_the_picture_shows_every_module_and_calls_pure_what_is_kept_pure() -> None:
    modules = {name_of(path) for path in SERVER if path.name not in ("__init__.py", "server.py")}
    assert drawn() == {name: "pure" if name in PURE else "shell" for name in modules}


server_modules = pytest.mark.parametrize("path", SERVER, ids=name_of)


@server_modules
def test_no_layer_imports_one_that_stands_above_it(path: Path) -> None:
    layer = name_of(path).removesuffix(".py").partition("/")[0]
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    assert not packages(path) & above


@server_modules
def test_the_server_needs_nothing_that_stands_beside_it(path: Path) -> None:
    assert not packages(path) & {"benchmarks", "client", "examples", "models", "tests"}


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_loop_no_clock_no_thread_and_no_network(name: str) -> None:
    modules = set(imports(ROOT / name))
    if name == "handlers/frames.py":
        modules.discard(MASK)
    assert not {module.partition(".")[0] for module in modules} & IMPURE


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_no_module_of_the_house_that_is_not_pure(name: str) -> None:
    own = {module for module in imports(ROOT / name) if module.partition(".")[0] in LAYERS}
    assert {f"{module.replace('.', '/')}.py" for module in own} <= set(PURE)


@server_modules
def test_foreign_libraries_have_one_place_each(path: Path) -> None:
    found = packages(path)
    name = name_of(path)
    assert "onnxruntime" not in found or name == "pipeline/runtime.py"
    assert "opentelemetry" not in found or name == "pipeline/tracing.py"
    assert "watchfiles" not in found or name == "pipeline/model_watch.py"
    assert "tornado" not in found or not name.startswith("pipeline/")
    assert "psutil" not in found or name == "handlers/pulse.py"
    assert not found & {"cryptography", "jwt"} or name.startswith(("pipeline/jwt_", "handlers/certificate"))
    assert "tomli_w" not in found or name == "pipeline/key_store.py"
    assert "redis" not in found or name.startswith("pipeline/redis_")
    assert not found & {"google", "tritonclient"} or name == "pipeline/triton_config.py"


@pytest.mark.parametrize("path", [*SERVER, *sorted((ROOT / "tests").rglob("*.py"))], ids=name_of)
def test_a_module_stays_short_enough_to_be_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES
