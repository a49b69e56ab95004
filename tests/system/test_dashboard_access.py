"""The dashboard for everybody: by keyboard, in light and in dark; and text from devices stays text."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from .browser import WITHIN, http_address, open_page, running_browser
from .client import open_stream
from .dashboard import is_live, listed
from .process import Server, until

ROW = [1, 2, 3, 4]
HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    '"><script>window.hacked=1</script>',
    "'\"--></style></textarea><svg onload=window.hacked=1>",
    "javascript:window.hacked=1",
    "../../#overview?a=b&c=%2F%00",
    "{{constructor.constructor('window.hacked=1')()}}",
    "\u202egnp.exe \N{FAMILY} \x07",
    "k" * 256,
]
FOCUSED = """
    () => {
        const {tagName, textContent, ariaLabel} = document.activeElement;
        return tagName === "INPUT" ? ariaLabel : textContent.trim();
    }
"""
CONTRASTS = (Path(__file__).parent / "contrast.js").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture
def busy(zoo: Server) -> Iterator[Server]:
    """Give a server with a few streams that have been answered."""
    with ExitStack() as stack:
        for key in ("alpha", "beta", "gamma"):
            stream = stack.enter_context(open_stream(zoo, f"/v1/models/double/stream?key={key}"))
            stream.ask({"data": ROW})
        yield zoo


def open_streams(browser: Browser, server: Server, **options: Any) -> Any:
    return open_page(browser, http_address(server), "/#streams", **options)


@pytest.mark.parametrize("key", HOSTILE)
def test_what_a_device_calls_itself_is_text_and_nothing_else(browser: Browser, zoo: Server, key: str) -> None:
    with open_streams(browser, zoo) as page, open_stream(zoo, "/v1/models/double/stream") as stream:
        is_live(page)
        images = page.locator("img").count()
        assert stream.ask({"data": ROW, "key": key, "id": key})["id"] == key
        links = page.locator(".rows a")
        until(lambda: key in links.all_text_contents(), within=WITHIN / 1e3)
        links.nth(links.all_text_contents().index(key)).click()
        assert page.evaluate("decodeURIComponent(location.hash)") == f"#stream/double/{key}"
        until(lambda: page.get_by_role("heading", level=1).text_content() == key, within=WITHIN / 1e3)
        until(lambda: stream.ask({"data": ROW, "key": key, "id": key}) and key in page.locator(".spans").inner_text())
        assert page.evaluate("window.hacked") is None
        assert page.locator("img").count() == images
        assert page.locator("main script, main svg, main style").count() == 0


def test_an_address_made_by_others_runs_nothing(browser: Browser, zoo: Server) -> None:
    for topic in ("<img src=x onerror=window.hacked=1>", "double/<script>window.hacked=1</script>", "%E0%A4%A"):
        with open_page(browser, http_address(zoo), f"/#stream/{quote(topic)}") as page:
            expect(page.locator("#state")).to_have_attribute("data-phase", re.compile("live|refused"), timeout=WITHIN)
            assert page.evaluate("window.hacked") is None
            assert page.locator("main img, main script").count() == 0


def test_the_tab_key_reaches_the_filter_and_enter_opens_a_row(browser: Browser, busy: Server) -> None:
    with open_streams(browser, busy) as page:
        expect(page.locator(".rows a", has_text="beta")).to_be_visible(timeout=WITHIN)
        passed: list[str] = []
        while not passed or passed[-1] != "Filter streams":
            page.keyboard.press("Tab")
            passed.append(page.evaluate(FOCUSED))
            assert len(passed) < 10, passed
        assert passed == [
            "Skip to content",
            "Waterspout",
            "Overview",
            "Streams",
            "Try it",
            "Admin",
            "API",
            "Filter streams",
        ]
        page.keyboard.type("beta")
        expect(listed(page)).to_have_count(1)
        while page.evaluate(FOCUSED) != "beta":
            page.keyboard.press("Tab")
            passed.append(page.evaluate(FOCUSED))
            assert len(passed) < 20, passed
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("beta")
        assert page.evaluate("document.activeElement.id") == "view", "whoever reads on begins at the new view"


def test_the_skip_link_leads_to_the_content(browser: Browser, busy: Server) -> None:
    with open_streams(browser, busy) as page:
        is_live(page)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "view"
        assert page.evaluate("location.hash") == "#streams"


def test_every_control_has_a_name(browser: Browser, busy: Server) -> None:
    with open_streams(browser, busy) as page:
        for view in ("Overview", "Streams", "Try it", "Admin"):
            page.get_by_role("link", name=view, exact=True).click()
            expect(page.locator(".view")).to_be_visible(timeout=WITHIN)
            for role in ("button", "link", "textbox", "searchbox", "combobox", "img"):
                assert page.get_by_role(role).evaluate_all(NAMELESS) == []


#: All controls at one moment: some come and go, such as the button that is shown while the page is not connected.
NAMELESS = """
    elements => elements.filter(element => !(
        element.ariaLabel || element.textContent.trim() || element.alt || element.title
        || [...(element.labels ?? [])].map(label => label.textContent.trim()).join("")
    )).map(element => element.outerHTML)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["overview", "streams", "stream/double%2Falpha", "try", "admin"])
def test_text_stands_out_in_light_and_dark(browser: Browser, busy: Server, view: str, scheme: str) -> None:
    with open_page(browser, http_address(busy), f"/#{view}", color_scheme=scheme) as page:
        is_live(page)
        expect(page.locator(".view")).to_be_visible(timeout=WITHIN)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", background)))
        assert (brightness > 600) if scheme == "light" else (brightness < 150)
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 5
        assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}  # WCAG 2.2, 1.4.3


def test_the_scheme_is_followed_as_it_changes(browser: Browser, busy: Server) -> None:
    with open_streams(browser, busy, color_scheme="light") as page:
        expect(page.locator(".rows a", has_text="beta")).to_be_visible(timeout=WITHIN)
        colors = []
        for scheme in ("light", "dark", "light"):
            page.emulate_media(color_scheme=scheme)
            colors.append(page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor"))
        assert colors[0] == colors[2] != colors[1]
