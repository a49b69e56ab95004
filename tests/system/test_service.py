"""`deploy/waterspout.service`: what it starts, as whom, and that systemd and the server get on."""

import ctypes
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from pipeline.settings import Settings, read_settings

from .access_parts import ask, keys_command
from .client import get, post
from .conftest import StartServer
from .graphs import plus, write_model
from .process import ROOT, Server, copy_server, running_server

UNIT: Final = ROOT / "deploy" / "waterspout.service"
SETTINGS: Final = ROOT / "deploy" / "waterspout.toml"
PR_SET_MDWE: Final = 65
NOBODY: Final = "nobody"


def directives() -> dict[str, list[str]]:
    """Return all that is set in the section of the service, in order."""
    section = UNIT.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    found: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def arguments() -> list[str]:
    """Return what the server is started with."""
    (line,) = directives()["ExecStart"]
    python, server, *rest = shlex.split(line)
    assert (python, server) == ("/opt/waterspout/.venv/bin/python", "server.py")
    assert directives()["WorkingDirectory"] == ["/opt/waterspout"]
    return rest


def seconds(name: str) -> float:
    (value,) = directives()[name]
    return float(value)


@contextmanager
def service_manager(folder: Path) -> Iterator[tuple[str, Callable[..., str]]]:
    """Give the address of a socket as systemd has one, and what reads the next state from it."""
    address = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(address)

        def next_state(within: float = 20.0) -> str:
            told.settimeout(within)
            return told.recv(256).decode()

        yield address, next_state


def test_the_settings_beside_it_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WATERSPOUT_")]:
        monkeypatch.delenv(name)
    assert arguments() == ["--config", "/etc/waterspout/waterspout.toml"]
    settings = read_settings(["--config", str(SETTINGS)])
    state = f"/var/lib/{directives()['StateDirectory'][0]}/"
    assert str(settings.usage_db).startswith(state)
    assert str(settings.api_keys).startswith(state)
    assert settings.log_format == "json"
    named = re.findall(r"WATERSPOUT_(\w+)", UNIT.read_text())
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_it_gives_a_drain_the_time_that_it_needs_and_does_not_repeat_a_wrong_setting() -> None:
    from pipeline.supervisor import GRACE_SECONDS, REFUSED

    assert seconds("TimeoutStopSec") > Settings.model_fields["drain_seconds"].default + GRACE_SECONDS
    assert directives()["RestartPreventExitStatus"] == [str(REFUSED)]
    assert directives()["KillMode"] == ["mixed"], "processes are drained by their parent"
    assert directives()["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert directives()["User"] != ["root"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_it_and_finds_it_hardened(tmp_path: Path) -> None:
    text = UNIT.read_text().replace("/opt/waterspout/.venv/bin/python", sys.executable)
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub("^User=.*", "User=daemon", text, flags=re.MULTILINE))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    analyzed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert analyzed.returncode == 0, analyzed.stdout[-300:]


@pytest.mark.parametrize("more", [(), ("--processes", "2")])
def test_it_is_told_when_the_server_is_ready_and_when_it_ends(
    start_server: StartServer, tmp_path: Path, more: tuple[str, ...]
) -> None:
    assert directives()["Type"] == ["notify"]
    with service_manager(tmp_path) as (address, told):
        server = start_server(*more, env={"NOTIFY_SOCKET": address})
        assert told() == "READY=1"
        assert get(server, "/readyz").status == 200
        server.terminate()
        assert told() == "STOPPING=1"
        assert server.wait() == 0
        with pytest.raises(BlockingIOError):  # nobody else has told anything
            told(0.0)


@pytest.mark.parametrize("address", ["/nowhere/at/all", "@nobody", "relative", ""])
def test_a_service_manager_that_does_not_listen_changes_nothing(zoo_models: Path, address: str) -> None:
    with running_server("--models", str(zoo_models), env={"NOTIFY_SOCKET": address}) as server:
        assert get(server, "/readyz").status == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_it_runs_as_somebody_who_may_write_nothing_but_its_state(tmp_path: Path) -> None:
    """As the unit has it: another user, no memory that is written and then run, a tree that cannot be written."""
    home, state = tmp_path / "opt", tmp_path / "state"
    home.mkdir()
    state.mkdir()
    copy_server(home)
    write_model(home / "models", "plus", plus(1))
    key = keys_command("create", "--name", "a", "--scopes", "predict:*", "--file", str(state / "keys.toml")).strip()
    text = SETTINGS.read_text().replace("/opt/waterspout", str(home)).replace("/var/lib/waterspout", str(state))
    (tmp_path / "waterspout.toml").write_text(text)
    nobody = pwd.getpwnam(NOBODY)
    for path in (state, *state.iterdir()):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o055)
    before = set(home.rglob("*"))
    options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "umask": int(directives()["UMask"][0], 8)}
    with running_server(
        "--config",
        str(tmp_path / "waterspout.toml"),
        "--port",
        "0",
        root=home,
        popen={**options, "preexec_fn": _harden},
    ) as server:
        check_serves(server, key)
        assert server.end() == 0
    assert set(home.rglob("*")) == before
    assert (state / "usage.db").stat().st_uid == nobody.pw_uid


def check_serves(server: Server, key: str) -> None:
    bearer = {"Authorization": f"Bearer {key}"}
    assert post(server, "/v1/models/plus/predict", {"data": [1]}).status == 401
    reply = ask(server, "POST", "/v1/models/plus/predict", bearer, '{"data": [1]}')
    assert reply.json["outputs"] == {"y": [2]}


def _harden() -> None:
    """Refuse memory that is written and then run, as MemoryDenyWriteExecute does; where the kernel can."""
    ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0)
