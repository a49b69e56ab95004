"""The parent of several processes; these are small ones that do as their script says."""

import asyncio
import logging
import socket
import sys

import pytest

from pipeline import supervisor as supervisor_module
from pipeline.errors import ConfigError
from pipeline.supervisor import Supervisor, held_port

PREAMBLE = """
import asyncio, os, signal, sys
from pipeline.control_wire import ParentLink, own_seat

async def start():
    stopping = asyncio.Event()
    link = await ParentLink.of(seat, stopping.set)
    return link, stopping

seat = own_seat()
"""

WELL = """
async def main():
    link, stopping = await start()
    if "LATER" in os.environ and seat.number == 2:
        link.refuse(f"the port {seat.port} is odd")
        await link.close()
        return 2
    link.ready(f"http://x:{seat.port}", list)
    await stopping.wait()
    await link.close()
    return int(os.environ.get("CODE", 0))

sys.exit(asyncio.run(main()))
"""

REFUSES = """
async def main():
    link, stopping = await start()
    link.refuse(f"the port {seat.port} is odd")
    await link.close()

asyncio.run(main())
sys.exit(2)
"""

DEAF = """
async def main():
    link, stopping = await start()
    link.ready("http://x", list)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Run:
    """A supervisor that runs on the test's loop."""

    def __init__(self, script: str, processes: int = 2, command: str = sys.executable) -> None:
        self.announced: asyncio.Queue[str] = asyncio.Queue()
        text = PREAMBLE + script
        self.supervisor = Supervisor([command, "-c", text], processes, 81, 60.0, self.announced.put_nowait)
        self.ended = asyncio.create_task(self.supervisor.run())


def kill(run: Run, at: int) -> None:
    """Kill the process that runs in a place now."""
    run.supervisor._children[at].kill()


async def until_logged(caplog: pytest.LogCaptureFixture, text: str, count: int = 1) -> None:
    while caplog.text.count(text) < count:  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0.01)


async def test_the_url_is_told_when_all_are_ready_and_all_end_well() -> None:
    run = Run(WELL)
    assert await run.announced.get() == "http://x:81"
    assert "ready" in repr(run.supervisor)
    run.supervisor.stop()
    assert await run.ended == 0
    assert run.announced.empty()


async def test_processes_that_are_told_to_end_before_they_are_ready_do(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(WELL)
    await asyncio.sleep(0)
    run.supervisor.stop()
    assert await run.ended == 0


async def test_one_that_ends_badly_makes_the_whole_end_badly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODE", "3")
    run = Run(WELL)
    await run.announced.get()
    run.supervisor.stop()
    assert await run.ended == 1


async def test_a_second_stop_kills() -> None:
    run = Run(DEAF)
    await run.announced.get()
    run.supervisor.stop()
    run.supervisor.stop()
    assert await run.ended == 1


async def test_one_that_does_not_end_in_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "GRACE_SECONDS", -59.9)
    run = Run(DEAF)
    await run.announced.get()
    run.supervisor.stop()
    assert await run.ended == 1


async def test_what_is_wrong_at_the_start_ends_all_with_its_reason() -> None:
    run = Run(REFUSES, 3)
    with pytest.raises(ConfigError, match=r"^the port 81 is odd$"):
        await run.ended
    assert run.announced.empty()


async def test_one_that_refuses_without_a_word_is_named() -> None:
    run = Run("sys.exit(2)", 1)
    with pytest.raises(ConfigError, match=r"^process 1 exited with code 2$"):
        await run.ended


async def test_one_that_refuses_later_is_tried_again_while_others_serve(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(WELL)
    await run.announced.get()
    monkeypatch.setenv("LATER", "1")
    kill(run, 1)
    await until_logged(caplog, "process 2 exited with code 2 (the port 81 is odd): it starts again in 1 s")
    run.supervisor.stop()
    assert await run.ended == 0


async def test_where_none_serves_any_more_one_that_refuses_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(WELL)
    await run.announced.get()
    monkeypatch.setenv("LATER", "1")
    first, second = run.supervisor._children
    monkeypatch.setattr(first.restarts, "pause", lambda lived: 60.0)
    monkeypatch.setattr(second.restarts, "pause", lambda lived: 0.0)
    kill(run, 0)
    kill(run, 1)
    with pytest.raises(ConfigError, match="is odd"):
        await run.ended


async def test_one_that_dies_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = Run(WELL)
    await run.announced.get()
    kill(run, 0)
    await until_logged(caplog, "process 1 was ended by signal 9 (Killed): it starts again in 0.5 s")
    await until_logged(caplog, "process 1 is ready", 2)
    run.supervisor.stop()
    assert await run.ended == 0
    assert caplog.text.count("process 2 is ready") == 1
    assert run.announced.empty()


async def test_one_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(WELL, 1, command="/nowhere/python")
    await until_logged(caplog, "process 1 did not start: it starts again in 0.5 s")
    await until_logged(caplog, "process 1 did not start: it starts again in 1 s")
    assert "process 1 cannot be started: " in caplog.text
    run.supervisor.stop()
    assert await run.ended == 0


def listening(port: int, *, shared: bool) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), reuse_port=shared)


def test_a_port_that_is_held_is_for_those_that_share_it() -> None:
    with held_port("127.0.0.1", 0) as port:
        assert port > 0
        with listening(port, shared=True) as one, listening(port, shared=True):
            with pytest.raises(OSError):
                listening(port, shared=False)
            with socket.create_connection(one.getsockname(), 1):
                pass


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_others_listen_on_is_refused(shared: bool) -> None:
    with listening(0, shared=shared) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"^cannot listen on 127.0.0.1:{port}: "), held_port("127.0.0.1", port):
            pass


def test_a_name_may_mean_several_addresses() -> None:
    with held_port("", 0) as port, listening(port, shared=True):
        pass


def test_an_address_that_is_none_of_this_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^cannot listen on 192\.0\.2\.1:0: "), held_port("192.0.2.1", 0):
        pass


def test_a_platform_that_cannot_share_ports_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(ConfigError, match=r"^processes: this platform cannot share a port"), held_port("127.0.0.1", 0):
        pass
