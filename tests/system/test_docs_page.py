"""`/docs` in a real browser: it shows every operation, asks the server, and breaks no rule of its own policy."""

import shutil
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from .client import get
from .process import Server

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--no-sandbox",  # which needs another user than root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WITHIN: Final = 20_000.0  # milliseconds
NOTE_VIOLATIONS: Final = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", event => violations.push(event.violatedDirective));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(f"none of {', '.join(BROWSERS)} is installed: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, zoo: Server) -> Iterator[Page]:
    """Give the page, loaded; whatever the browser complains about meanwhile fails the test."""
    complaints: list[str] = []
    address = zoo.ws.replace("ws", "http", 1)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text}")

    with browser.new_page() as page:
        page.set_default_timeout(WITHIN)
        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
        page.on("response", lambda reply: complaints.extend([f"{reply.status} {reply.url}"] * (reply.status >= 400)))
        page.on("request", lambda sent: complaints.extend([f"asked {sent.url}"] * (not is_own(sent.url, address))))
        page.add_init_script(NOTE_VIOLATIONS)
        page.goto(f"{address}/docs")
        yield page
        assert page.evaluate("violations") == []
        assert complaints == []


def is_own(url: str, address: str) -> bool:
    return url.startswith((f"{address}/", "data:"))


def test_the_page_shows_every_operation(page: Page, zoo: Server) -> None:
    paths = get(zoo, "/openapi.json").json["paths"]
    operations = sorted((method, path) for path, item in paths.items() for method in item)
    shown = page.locator(".opblock")
    expect(shown).to_have_count(len(operations), timeout=WITHIN)
    blocks = [
        (
            block.locator(".opblock-summary-method").inner_text().lower(),
            block.locator("[data-path]").get_attribute("data-path"),
        )
        for block in shown.all()
    ]
    assert sorted(blocks) == operations


def test_an_operation_can_be_tried_against_the_server(page: Page) -> None:
    block = page.locator(".opblock", has=page.locator('[data-path="/v2/health/live"]'))
    block.locator(".opblock-summary").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    reply = block.locator(".live-responses-table")
    expect(reply.locator(".response-col_status").last).to_contain_text("200", timeout=WITHIN)
    expect(reply.locator(".response-col_description").last).to_contain_text('"live": true')
