"""The dashboard in a real browser, on a server that the smartwatches of `examples` stream to."""

import itertools
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from .browser import WITHIN, http_address, open_page, running_browser
from .client import get
from .dashboard import (
    WATCHES,
    feeding,
    is_live,
    keeps_drawing,
    listed,
    picture_of,
    tile,
    tile_value,
    wait_for_predictions,
)
from .process import Server, running_server, until

ACTIVITIES = {"badminton", "running", "standing", "walking"}
HAS_NUMBERS = """
    () => /[1-9]/.test(document.querySelector('[data-tile="predictions"] .value')?.textContent ?? "")
"""
BE_HIDDEN = """
    isHidden => {
        Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def live() -> Iterator[Server]:
    """Give a server that every watch streams to."""
    with running_server() as server, feeding(server):
        wait_for_predictions(server)
        yield server


@pytest.fixture
def page(browser: Browser, live: Server) -> Iterator[Page]:
    """Give the page, connected."""
    with open_page(browser, http_address(live), "/") as page:
        is_live(page)
        yield page


@pytest.fixture
def streams(page: Page) -> Page:
    """Give the page with all streams listed."""
    page.get_by_role("link", name="Streams", exact=True).click()
    expect(page.locator(".head [role=status]")).to_have_text(str(WATCHES), timeout=WITHIN)
    return page


def test_a_visitor_sees_numbers_soon(browser: Browser, live: Server) -> None:
    def seconds() -> float:
        with open_page(browser, http_address(live), "/") as page:
            page.wait_for_function(HAS_NUMBERS)
            return float(page.evaluate("performance.now()")) / 1e3

    assert min(seconds() for _ in range(3)) < 2, "one second, and another for a browser that shares its two cores"


def test_counters_move(page: Page) -> None:
    until(lambda: tile_value(page, "predictions") > WATCHES / 2, within=WITHIN / 1e3)
    expect(tile(page, "predictions").locator(".caption")).to_contain_text("events/s")
    until(lambda: tile_value(page, "sockets") == WATCHES + 1)
    expect(tile(page, "sockets").locator(".caption")).to_contain_text(f"{WATCHES} ")
    expect(tile(page, "sockets").locator(".caption")).to_contain_text("1 watching")
    expect(tile(page, "p50").locator(".value")).to_have_text(re.compile(r"\d.*(µs|ms)$"))
    assert tile_value(page, "p99") > 0
    assert tile_value(page, "memory") > 10
    uptime = page.locator("#facts").inner_text()
    expect(page.locator("#facts")).not_to_have_text(uptime, timeout=WITHIN)
    keeps_drawing(tile(page, "predictions").locator("canvas"))


def test_models_are_listed_with_version_state_and_batches(page: Page) -> None:
    rows = page.locator(".models tbody tr")
    expect(rows).to_have_count(2)
    row = rows.first
    expect(row).to_contain_text("activity")
    expect(row.locator(".pill.ready")).to_have_text("ready")
    rate = row.locator("td.number").first
    expect(rate).to_have_text(re.compile(r"\d"), timeout=WITHIN)  # once the first statistics have come
    until(lambda: float(rate.inner_text()) > WATCHES / 2, within=WITHIN / 1e3)
    assert picture_of(row.locator("canvas"))[0] > 0


def test_the_numbers_are_those_of_the_server(page: Page, live: Server) -> None:
    def agree() -> bool:
        told = get(live, "/v1/stats").json
        shown = tile_value(page, "predictions"), tile_value(page, "sockets")
        return shown == pytest.approx((told["predictions_per_second"], told["sockets"]), rel=0.1)

    until(agree, within=WITHIN / 1e3)


def test_every_stream_is_listed_with_what_it_does_now(streams: Page) -> None:
    rows = listed(streams)
    assert 5 < rows.count() < WATCHES, "only what is in view has an element"
    labels = {row.locator(".label").inner_text().strip() for row in rows.all()}
    assert labels <= ACTIVITIES
    scores = [float(row.locator(".number").first.inner_text()) for row in rows.all()]
    assert all(0.25 <= score <= 1 for score in scores)
    assert len({row.locator(".key").inner_text() for row in rows.all()}) == rows.count()
    keeps_drawing(rows.first.locator("canvas"))


def test_streams_are_filtered_by_what_is_typed(streams: Page) -> None:
    key = listed(streams).nth(3).locator(".key").inner_text()
    found = streams.locator(".head [role=status]")
    streams.get_by_label("Filter streams").fill(key)
    expect(found).to_have_text(re.compile(rf"^\d+ of {WATCHES}$"))
    assert all(key in row.locator(".key").inner_text() for row in listed(streams).all())
    streams.get_by_label("Filter streams").fill("no such stream")
    expect(found).to_have_text(f"0 of {WATCHES}")
    expect(listed(streams)).to_have_count(0)
    streams.get_by_label("Filter streams").fill("")
    expect(found).to_have_text(str(WATCHES))


def test_streams_are_sorted_by_a_click_on_a_heading(streams: Page) -> None:
    def labels() -> list[str]:
        rows = sorted(listed(streams).all(), key=lambda row: int(row.get_attribute("aria-rowindex") or 0))
        return [row.locator(".label").inner_text() for row in rows]

    heading = streams.get_by_role("columnheader", name="Label")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    until(lambda: (seen := labels()) == sorted(seen) and "badminton" in seen, within=WITHIN / 1e3)
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    until(lambda: (seen := labels()) == sorted(seen, reverse=True) and "walking" in seen, within=WITHIN / 1e3)


def test_scrolling_shows_the_streams_further_down(streams: Page) -> None:
    first = listed(streams).first.locator(".key").inner_text()
    streams.locator(".grid .body").evaluate("body => body.scrollTo(0, body.scrollHeight)")
    until(lambda: str(WATCHES + 1) in [row.get_attribute("aria-rowindex") for row in listed(streams).all()])
    assert first not in [row.locator(".key").inner_text() for row in listed(streams).all()]


def test_a_stream_opens_with_its_charts(streams: Page) -> None:
    link = listed(streams).nth(2).locator("a")
    key = link.inner_text()
    link.click()
    expect(streams.get_by_role("heading", level=1)).to_have_text(key)
    expect(streams.locator(".pill[role=status]")).to_have_text("live", timeout=WITHIN)
    for title in ("Outputs", "Inputs", "Latency"):
        keeps_drawing(streams.get_by_role("region", name=title).locator("canvas"))
    outputs = streams.get_by_role("region", name="Outputs")
    for activity in ACTIVITIES:
        expect(outputs).to_contain_text(activity)
    facts = streams.get_by_role("region", name="Now")
    count = facts.locator("div", has_text="Predictions").locator("dd")
    seen = int(count.inner_text())
    until(lambda: int(count.inner_text()) > seen, within=WITHIN / 1e3)


def test_the_way_of_a_prediction_adds_up(streams: Page) -> None:
    listed(streams).first.locator("a").click()
    way = streams.get_by_role("region", name="The way of one prediction")
    expect(way).to_contain_text(re.compile(r"Prediction \d+, event \d+, in a batch of \d+\."), timeout=WITHIN)
    bars = way.locator("i").evaluate_all("bars => bars.map(bar => [bar.style.left, bar.style.width].map(parseFloat))")
    assert len(bars) == 3
    for (left, width), (start, _) in itertools.pairwise(bars):
        assert left + width == pytest.approx(start, abs=0.1)
    assert sum(bars[-1]) == pytest.approx(100, abs=0.1)
    assert sum(width for _, width in bars) == pytest.approx(100, abs=0.1)


def test_a_stream_can_be_held_still(streams: Page, live: Server) -> None:
    def predictions() -> int:
        return int(get(live, "/v1/stats").json["predictions"])

    listed(streams).first.locator("a").click()
    canvas = streams.get_by_role("region", name="Outputs").locator("canvas")
    keeps_drawing(canvas)
    streams.get_by_role("button", name="Pause").click()
    resume = streams.get_by_role("button", name="Resume")
    expect(resume).to_have_attribute("aria-pressed", "true")
    streams.evaluate("new Promise(requestAnimationFrame)")
    still, before = picture_of(canvas), predictions()
    until(lambda: predictions() >= before + 2 * WATCHES)  # each watch was answered at least once
    assert picture_of(canvas) == still
    resume.click()
    until(lambda: picture_of(canvas) != still, within=WITHIN / 1e3)


def test_a_hidden_page_watches_nothing(page: Page, live: Server) -> None:
    def watchers() -> int:
        return int(get(live, "/v1/stats").json["watchers"])

    until(lambda: watchers() == 1)
    page.evaluate(BE_HIDDEN, True)
    expect(page.locator("#state")).to_have_text("Paused while hidden")
    until(lambda: watchers() == 0)
    page.evaluate(BE_HIDDEN, False)
    is_live(page)
    until(lambda: watchers() == 1)
    until(lambda: tile_value(page, "predictions") > 0)
