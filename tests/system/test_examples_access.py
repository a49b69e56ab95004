"""The examples, and the clients of docs/security.md, at a server that needs credentials."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .access_parts import Keys, ask
from .browser import http_address
from .process import ROOT, Server, running_server, until
from .test_readme import CLASSES, NODE

WITHIN = 30.0


@pytest.fixture(scope="module")
def guarded(keys: Keys) -> Iterator[Server]:
    with running_server("--api-keys", str(keys.file)) as server:
        yield server


def environment(credential: str) -> dict[str, str]:
    return {**os.environ, "WATERSPOUT_CREDENTIAL": credential}


@pytest.mark.parametrize(("name", "model"), [("smartwatches", "activity"), ("host", "host")])
def test_a_feed_shows_the_credential_of_its_environment(guarded: Server, keys: Keys, name: str, model: str) -> None:
    command = [sys.executable, "-m", f"examples.{name}", http_address(guarded)]
    user = keys.add_at(guarded, f"device-{name}", f"predict:{model}")
    with subprocess.Popen(command, cwd=ROOT, env=environment(user), stdout=subprocess.DEVNULL) as feed:
        try:
            path = f"/v1/admin/sessions?identity=device-{name}"
            until(lambda: any(info.get("events") for info in _sessions(guarded, keys, path)), within=WITHIN)
        finally:
            feed.kill()


@pytest.mark.parametrize("name", ["smartwatches", "host"])
@pytest.mark.parametrize("credential", ["", "wrong", "adder"])
def test_a_feed_that_is_refused_ends_and_says_why(guarded: Server, keys: Keys, name: str, credential: str) -> None:
    command = [sys.executable, "-m", f"examples.{name}", http_address(guarded)]
    told = environment(keys.texts.get(credential, credential))
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=WITHIN, check=False)
    assert done.returncode == 1
    assert "WATERSPOUT_CREDENTIAL" in done.stderr
    assert "Traceback" not in done.stderr
    assert keys.texts["adder"] not in done.stderr


@pytest.mark.parametrize(
    ("language", "command"),
    [("python", [sys.executable, "-c"]), ("javascript", [NODE, "--input-type=module", "--eval"])],
)
def test_clients_show_their_credential(guarded: Server, keys: Keys, language: str, command: list[str]) -> None:
    (script,) = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "security.md").read_text(), re.DOTALL)
    here = script.replace("127.0.0.1:8888", "{}:{}".format(*guarded.address))
    told = environment(keys.texts["all"])
    done = subprocess.run([*command, here], env=told, capture_output=True, text=True, timeout=WITHIN, check=True)
    assert done.stdout.strip() in CLASSES


def _sessions(server: Server, keys: Keys, path: str) -> list[dict[str, int]]:
    listed: list[dict[str, int]] = ask(server, "GET", path, keys.bearer("root")).json["sessions"]
    return listed
