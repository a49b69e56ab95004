"""`/docs` in a real browser: it shows every operation, asks the server, and breaks no rule of its own policy."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from .browser import WITHIN, http_address, open_page, running_browser
from .client import get
from .process import Server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, zoo: Server) -> Iterator[Page]:
    """Give the page, loaded."""
    with open_page(browser, http_address(zoo), "/docs") as page:
        yield page


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
