"""The dashboard in a real browser, against real servers that real clients stream to."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from .browser import WITHIN, http_address, open_page, running_browser
from .conftest import StartServer
from .feeding import fed
from .graphs import double, write_model
from .process import Server, copy_server, running_server

MARKUP: Final = "<img src=x onerror=alert(1)>"
ALERT: Final = """
[[alert]]
name = "too-high"
index = 0
above = 3.0
cooldown_seconds = 3600.0
"""
HIDE: Final = """isHidden => {
    Object.defineProperty(document, "hidden", {configurable: true, get: () => isHidden});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
FRAMES: Final = """async () => {
    const times = [];
    await new Promise(done => requestAnimationFrame(function tick(time) {
        times.push(time);
        if (times.length < 240) requestAnimationFrame(tick); else done();
    }));
    return times.slice(1).map((time, at) => time - times[at]).sort((a, b) => a - b);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def keys(count: int) -> list[str]:
    return [f"sensor-{number}" for number in range(count)]


def shows(page: Page, text: str) -> None:
    expect(page.locator("#state")).to_have_text(text, timeout=WITHIN)


def rows(page: Page) -> Any:
    return page.locator('.rows [role="row"]:visible')


def test_the_overview_lists_the_models_and_is_live(browser: Browser, zoo: Server) -> None:
    with open_page(browser, http_address(zoo), "/") as page:
        shows(page, "Live")
        row = page.get_by_role("row").filter(has_text="double")
        expect(row).to_contain_text("ready")
        expect(page.locator(".tile")).to_have_count(8)


def test_the_numbers_of_the_overview_are_the_servers(browser: Browser, zoo: Server) -> None:
    with fed(zoo, keys(20)), open_page(browser, http_address(zoo), "/") as page:
        rate = page.locator('[data-tile="predictions"] .value')
        expect(rate).to_have_text(
            re.compile(r"^(8\d|9\d|10\d)(\.\d)?$"), timeout=WITHIN
        )  # 20 keys, five times a second
        expect(page.locator('[data-tile="p99"] .value')).to_have_text(re.compile(r"^[\d.,]+(µs|ms)$"))
        expect(page.locator('[data-tile="sockets"] .caption')).to_contain_text("1 watching")
        row = page.get_by_role("row").filter(has_text="double")
        expect(row).to_contain_text(re.compile(r"\d (µs|ms)"))
        expect(page.locator("#facts")).to_contain_text("up ")
        canvas = page.locator('[data-tile="predictions"] canvas')
        picture = canvas.evaluate("canvas => canvas.toDataURL()")
        page.wait_for_function(
            "([canvas, picture]) => canvas.toDataURL() !== picture", arg=[canvas.element_handle(), picture]
        )


def test_thousands_of_streams_are_a_table_of_what_lies_in_view(browser: Browser, zoo: Server) -> None:
    with fed(zoo, keys(2000), period=1.0), open_page(browser, http_address(zoo), "/#streams") as page:
        expect(page.locator(".head .muted")).to_have_text("2,000")
        assert 10 < rows(page).count() < 40
        expect(rows(page).filter(has_text="sensor-0")).to_contain_text("0.000")  # twice its position
        page.get_by_role("button", name="Score").click()
        expect(page.get_by_role("columnheader", name="Score")).to_have_attribute("aria-sort", "descending")
        first = page.locator('[role="row"][aria-rowindex="2"]')
        expect(first).to_contain_text("sensor-1999")
        expect(first).to_contain_text("3,998")
        page.locator(".grid .body").evaluate("body => body.scrollTop = body.scrollHeight")
        expect(page.locator('[role="row"][aria-rowindex="2001"]')).to_contain_text("sensor-0")
        page.get_by_role("searchbox").fill("sensor-77 double")
        expect(page.locator(".head .muted")).to_have_text("11 of 2,000")  # 77, 770 to 779


def test_the_keyboard_moves_through_the_table_and_opens_a_stream(browser: Browser, zoo: Server) -> None:
    with fed(zoo, keys(300)), open_page(browser, http_address(zoo), "/#streams") as page:
        expect(page.locator(".head .muted")).to_have_text("300")
        page.get_by_role("link", name="sensor-0", exact=True).focus()
        page.keyboard.press("End")
        expect(page.get_by_role("link", name="sensor-299")).to_be_focused()
        page.keyboard.press("ArrowUp")
        expect(page.get_by_role("link", name="sensor-298")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("sensor-298")


def test_a_stream_shows_its_numbers_its_charts_and_the_way_of_a_prediction(browser: Browser, zoo: Server) -> None:
    with fed(zoo, keys(3)), open_page(browser, http_address(zoo), "/#stream/double%2Fsensor-2") as page:
        expect(page.locator(".now")).to_contain_text("4.00")
        canvases = page.locator(".chart canvas")
        expect(canvases).to_have_count(3)
        expect(page.locator('[aria-label="Inputs"] .u-legend')).to_contain_text("x[1]")
        for canvas in canvases.all():
            picture = canvas.evaluate("canvas => canvas.toDataURL()")
            canvas.page.wait_for_function(
                "([canvas, picture]) => canvas.toDataURL() !== picture", arg=[canvas.element_handle(), picture]
            )
        bars = page.locator(".span .track i")
        widths = bars.evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
        assert len(widths) == 3
        assert sum(widths) == pytest.approx(100, abs=0.1)
    with open_page(browser, http_address(zoo), "/#stream/double%2Fnobody") as page:
        expect(page.locator(".head")).to_contain_text("waiting for a prediction")


def test_what_a_device_calls_itself_is_text(browser: Browser, zoo: Server) -> None:
    with fed(zoo, [MARKUP]), open_page(browser, http_address(zoo), "/#streams") as page:
        link = page.get_by_role("link", name=MARKUP)
        link.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(MARKUP)
        assert page.locator("main img").count() == 0


def test_a_thousand_moving_streams_leave_the_frame_rate_alone(browser: Browser, zoo: Server) -> None:
    with fed(zoo, keys(1000)), open_page(browser, http_address(zoo), "/#streams") as page:
        expect(page.locator(".head .muted")).to_have_text("1,000")
        intervals = page.evaluate(FRAMES)
        print(f"frame: median {intervals[119]:.1f} ms, p95 {intervals[227]:.1f} ms, longest {intervals[-1]:.1f} ms")
        assert intervals[119] < 18  # a frame is 16.7 ms


def test_the_page_outlives_its_server(browser: Browser, start_server: StartServer, zoo_models: Path) -> None:
    first = start_server()
    lost = "WebSocket connection|ERR_CONNECTION_REFUSED|Failed to load resource|Failed to fetch"
    with open_page(browser, http_address(first), "/#streams", allowed=lost) as page:
        shows(page, "Live")
        with fed(first, keys(2)):
            expect(page.locator(".head .muted")).to_have_text("2")
        first.end()
        shows(page, "Connection lost")
        expect(page.get_by_role("button", name="Try now")).to_be_visible()
        arguments = ("--models", str(zoo_models), "--port", str(first.address[1]))
        with running_server(*arguments) as second, fed(second, keys(3)):
            shows(page, "Live")
            expect(page.locator(".head .muted")).to_have_text("3", timeout=WITHIN)


def test_a_hidden_page_asks_for_nothing_until_it_is_seen(browser: Browser, zoo: Server) -> None:
    with fed(zoo, keys(2)), open_page(browser, http_address(zoo), "/#streams") as page:
        expect(page.locator(".head .muted")).to_have_text("2")
        page.evaluate(HIDE, True)
        shows(page, "Paused while hidden")
        with fed(zoo, ["late"]):
            page.evaluate(HIDE, False)
            shows(page, "Live")
            expect(rows(page).filter(has_text="late")).to_have_count(1)


def test_streams_that_ended_unseen_are_not_shown_again(browser: Browser, start_server: StartServer) -> None:
    server = start_server()
    with open_page(browser, http_address(server), "/#streams") as page:
        with fed(server, keys(5)):
            expect(page.locator(".head .muted")).to_have_text("5")
            page.get_by_role("link", name="Overview").click()
            expect(page.locator(".tile")).to_have_count(8)
        with fed(server, ["other"]):
            page.get_by_role("link", name="Streams").click()
            expect(page.locator(".head .muted")).to_have_text("1", timeout=WITHIN)


def test_a_server_without_models_says_what_to_do(browser: Browser, tmp_path: Path, start_server: StartServer) -> None:
    server = start_server("--models", str(tmp_path))
    with open_page(browser, http_address(server), "/") as page:
        expect(page.locator(".models")).to_contain_text("python server.py my.onnx")


def test_a_page_without_uplot_says_what_to_do(browser: Browser, tmp_path: Path, start_server: StartServer) -> None:
    copy_server(tmp_path)
    server = start_server(root=tmp_path)
    with (
        fed(server, keys(1)),
        open_page(browser, http_address(server), "/#stream/double%2Fsensor-0", allowed="404|/vendor/uplot.js") as page,
    ):
        expect(page.locator(".notice")).to_contain_text("make run")
        expect(page.locator(".now")).to_contain_text("0.000")  # all else works


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["overview", "streams", "stream/double%2Fsensor-0"])
def test_every_view_fits_a_phone(browser: Browser, zoo: Server, view: str, scheme: str) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with fed(zoo, keys(30)), open_page(browser, http_address(zoo), f"/#{view}", **phone) as page:
        shows(page, "Live")
        expect(page.get_by_role("heading", level=1)).to_be_attached()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_an_alert_appears_and_leads_to_its_stream(browser: Browser, tmp_path: Path, start_server: StartServer) -> None:
    write_model(tmp_path, "double", double(), ALERT)
    server = start_server("--models", str(tmp_path))
    with open_page(browser, http_address(server), "/") as page:
        shows(page, "Live")
        expect(page.locator(".alerts")).to_contain_text("None so far")
        with fed(server, keys(3)):
            alert = page.locator(".alerts li").filter(has_text="too-high")
            expect(alert).to_have_count(1)
            expect(alert).to_contain_text("y 4.00 > 3.00")
            page.reload()  # it is remembered by the server
            expect(alert).to_have_count(1)
            alert.get_by_role("link").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("sensor-2")
