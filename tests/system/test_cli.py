"""The command line: what it explains, what it refuses, and where settings come from."""

import os
import re
import socket
from pathlib import Path

import pytest

from pipeline.settings import Settings

from .client import get, open_stream
from .conftest import StartServer
from .graphs import double, write_model
from .process import Server, run_to_end, running_server


def refusal(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Run a server that must refuse to start; return the line in which it says why."""
    ended = run_to_end(*arguments, env=env)
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("server.py: ")
    return line


def test_help_explains_every_option() -> None:
    ended = run_to_end("--help", env={"COLUMNS": "200"})
    assert (ended.returncode, ended.stderr) == (0, "")
    for name, field in Settings.model_fields.items():
        option = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
        assert option in ended.stdout
        assert field.description is not None
        assert re.sub(r"\s", "", field.description) in re.sub(r"\s", "", ended.stdout)


@pytest.mark.parametrize("port", ["65536", "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    assert "port" in refusal(f"--port={port}")


def test_a_port_in_use_is_refused(zoo: Server) -> None:
    port = str(zoo.address[1])
    assert port in refusal("--port", port)


def test_an_address_that_is_none_of_this_machine_is_refused() -> None:
    assert "192.0.2.1" in refusal("--port", "0", "--address", "192.0.2.1")


def test_a_missing_model_file_is_refused_by_name() -> None:
    assert "nowhere.onnx" in refusal("--port", "0", "nowhere.onnx")


def test_a_missing_repository_is_refused_by_name() -> None:
    assert "nowhere" in refusal("--port", "0", "--models", "nowhere")


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--drain-seconds=-1", "drain_seconds"),
        ("--log-level=loud", "log_level"),
        ("--max-message-bytes=100000000", "max_message_bytes"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(argument: str, named: str) -> None:
    assert named in refusal("--port", "0", argument)


def test_an_unknown_option_is_refused_by_name() -> None:
    ended = run_to_end("--prot", "0")
    assert ended.returncode == 2
    assert "--prot" in ended.stderr
    assert "Traceback" not in ended.stderr


BAD_FILES = {
    "no TOML": ("port 0", "config.toml"),
    "unknown key": ("prot = 0", "prot"),
    "wrong type": ('port = "http"', "port"),
    "not UTF-8": ("port = 0 # \udcff", "config.toml"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_config_file_that_is_wrong_is_refused_by_name(tmp_path: Path, case: str) -> None:
    text, named = BAD_FILES[case]
    path = tmp_path / "config.toml"
    path.write_text(text, errors="surrogateescape")
    assert named in refusal("--config", str(path))


def test_a_missing_config_file_is_refused_by_name() -> None:
    assert "nowhere.toml" in refusal("--config", "nowhere.toml")
    assert "nowhere.toml" in refusal(env={"WATERSPOUT_CONFIG": "nowhere.toml"})


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path, start_server: StartServer) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        "max_in_flight = 1\nmax_message_bytes = 1001\nmax_keys = 11\nallowed_origins = ['http://a.example']\n"
    )
    environment = {
        "WATERSPOUT_CONFIG": str(path),
        "WATERSPOUT_MAX_IN_FLIGHT": "2",
        "WATERSPOUT_MAX_MESSAGE_BYTES": "1002",
    }
    server = start_server("--max-in-flight", "3", env=environment)
    with open_stream(server, "/v1/models/double/stream", announced=True, origin="http://a.example") as stream:
        assert stream.receive()["limits"] == {"max_in_flight": 3, "max_message_bytes": 1002}


@pytest.fixture
def free_port() -> int:
    """Give a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_environment_chooses_the_port(free_port: int) -> None:
    with running_server(env={"WATERSPOUT_PORT": str(free_port)}) as server:
        assert server.address == ("127.0.0.1", free_port)


def test_the_start_tells_the_threads_that_all_models_share(start_server: StartServer) -> None:
    cores = len(os.sched_getaffinity(0))
    told = f"{cores} cores, {{}} inference threads for all models together"
    assert start_server().log.count(told.format(cores)) == 1
    assert start_server("--threads", "3").log.count(told.format(3)) == 1


def test_a_model_that_wants_more_threads_than_there_are_is_refused(tmp_path: Path, start_server: StartServer) -> None:
    write_model(tmp_path, "greedy", double(), "intra_op_num_threads = 2\n[instance_group]\ncount = 2\n")
    server = start_server("--models", str(tmp_path), "--threads", "3", allowed="model greedy is not served")
    reason = "instance_group.count x intra_op_num_threads is 4, more than the 3 inference threads"
    assert f"{tmp_path / 'greedy' / 'config.toml'}: {reason}" in server.log
    assert start_server("--models", str(tmp_path), "--threads", "4").log.count("model greedy version 1 is ready") == 1


def test_an_address_of_ipv6_is_bracketed_in_the_url() -> None:
    with running_server("--address", "::1") as server:
        assert server.ws.startswith("ws://[::1]:")
        assert get(server, "/healthz").json == {"live": True}


def test_a_single_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "junk.onnx"
    path.write_bytes(b"no model")
    done = run_to_end(str(path), "--port", "0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"server.py: {path}: ")
