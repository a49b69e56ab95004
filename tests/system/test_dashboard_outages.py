"""The dashboard while things go wrong: the server is restarted, a stream ends, a model is broken, clients err."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from .browser import WITHIN, http_address, open_page, running_browser
from .client import open_stream
from .conftest import StartServer
from .dashboard import (
    WATCHES,
    feeding,
    is_live,
    keeps_drawing,
    listed,
    tile,
    tile_value,
    wait_for_predictions,
)
from .process import Server, running_server, until

OF_A_LOST_SERVER = (
    r"WebSocket connection to|ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|Failed to load resource|Failed to fetch"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def uptime_on(page: Page) -> float:
    """Return the seconds that the page says the server has been up."""
    found = re.search(r"up (\d+) s", page.locator("#facts").inner_text())
    return float(found[1]) if found else float("inf")


@pytest.mark.parametrize("view", ["#overview", "#streams"])
def test_the_page_survives_a_restart_of_the_server(browser: Browser, view: str) -> None:
    with running_server() as server, feeding(server):
        address, port = http_address(server), str(server.address[1])
        wait_for_predictions(server)
        with open_page(browser, address, f"/{view}", OF_A_LOST_SERVER) as page:
            is_live(page)
            if view == "#streams":
                expect(page.locator(".head [role=status]")).to_have_text(str(WATCHES), timeout=WITHIN)
            server.terminate()
            expect(page.locator("#state")).to_have_text(re.compile("Connection lost|Reconnecting"), timeout=WITHIN)
            assert server.wait() == 0
            with running_server("--port", port) as again:
                wait_for_predictions(again)
                is_live(page)
                until(lambda: uptime_on(page) < 60, within=WITHIN / 1e3)
                if view == "#streams":
                    expect(page.locator(".head [role=status]")).to_have_text(str(WATCHES), timeout=WITHIN)
                    keeps_drawing(listed(page).first.locator("canvas"))
                else:
                    until(lambda: tile_value(page, "predictions") > WATCHES / 2, within=WITHIN / 1e3)
                    keeps_drawing(tile(page, "predictions").locator("canvas"))


def test_a_stream_that_ends_is_said_to_have_ended(browser: Browser, zoo: Server) -> None:
    with open_page(browser, http_address(zoo), "/#streams") as page:
        is_live(page)
        with open_stream(zoo, "/v1/models/double/stream?key=short") as stream:
            stream.ask({"data": [1, 2, 3, 4]})
            row = page.locator(".rows > [role=row]", has_text="short")
            expect(row.locator(".age")).to_have_text("now", timeout=WITHIN)
        expect(row.locator(".age")).to_have_text("ended", timeout=WITHIN)


def test_a_broken_model_is_shown_with_its_reason(browser: Browser, start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "model.onnx").write_bytes(b"garbage")
    server = start_server("--models", str(tmp_path), allowed="model bad is not served")
    with open_page(browser, http_address(server), "/") as page:
        row = page.locator(".models tbody tr")
        expect(row).to_contain_text("bad", timeout=WITHIN)
        expect(row.locator(".pill.unavailable")).to_have_text("unavailable")
        expect(row.locator(".reason")).to_contain_text("model.onnx")
    server.check_log("model bad is not served")


def test_errors_are_counted_on_the_page(browser: Browser, start_server: StartServer) -> None:
    server = start_server()
    with open_page(browser, http_address(server), "/") as page:
        errors = page.locator(".errors")
        expect(errors).to_have_text("none", timeout=WITHIN)
        with open_stream(server, "/v1/models/double/stream") as stream:
            for _ in range(3):
                stream.ask({"data": [1]})
        expect(errors).to_have_text("invalid_input 3", timeout=WITHIN)
