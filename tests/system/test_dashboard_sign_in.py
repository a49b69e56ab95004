"""The dashboard of a server that needs credentials: who may see what, and where a key is kept and where it is not."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from .access_parts import EVENT, Keys, ask, socket
from .browser import WITHIN, http_address, open_page, running_browser
from .dashboard import is_live, listed
from .process import Server

REFUSED: Final = r"\b401\b|closed before|WebSocket is closed"
STORED: Final = """key => ({
    session: Object.values(sessionStorage).filter(value => value.includes(key)).length,
    local: Object.values(localStorage).length,
    cookies: document.cookie,
    address: location.href.includes(key),
    markup: document.documentElement.outerHTML.includes(key),
    values: [...document.querySelectorAll("input")].filter(({value}) => value.includes(key)).length,
    requested: performance.getEntries().filter(({name}) => name.includes(key)).length,
})"""
NOWHERE: Final = {"local": 0, "cookies": "", "address": False, "markup": False, "values": 0, "requested": 0}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@contextmanager
def guarded_page(browser: Browser, server: Server, path: str = "/", **options: Any) -> Iterator[Page]:
    with open_page(browser, http_address(server), path, REFUSED, **options) as page:
        yield page


def dialog(page: Page) -> Any:
    return page.get_by_role("dialog", name="Sign in")


def sign_in(page: Page, text: str) -> None:
    page.get_by_label("API key or token").fill(text)
    page.get_by_role("button", name="Sign in").click()


@contextmanager
def signed_in(browser: Browser, server: Server, text: str, path: str = "/") -> Iterator[Page]:
    with guarded_page(browser, server, path) as page:
        sign_in(page, text)
        expect(dialog(page)).to_have_count(0)
        is_live(page)
        yield page


def test_the_page_asks_who_is_there_by_keyboard_alone(browser: Browser, server: Server, keys: Keys) -> None:
    with guarded_page(browser, server) as page:
        field = page.get_by_label("API key or token")
        expect(field).to_be_focused()
        expect(field).to_have_attribute("type", "password")
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(page.locator("main")).to_be_empty()
        for _ in range(2):
            page.keyboard.press("Escape")
            expect(dialog(page)).to_be_visible()
        expect(field).to_be_focused()
        page.keyboard.type(keys.texts["all"])
        page.keyboard.press("Enter")
        expect(dialog(page)).to_have_count(0)
        is_live(page)
        expect(page.locator("#who")).to_have_text("Signed in as all")
        expect(page.get_by_role("row").filter(has_text="norm")).to_contain_text("ready")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "Enter an API key or a token."),
        ("wsk_AAAAAAAAAAAA_" + "A" * 43, "No such API key."),
        ("nonsense", "The credential is no API key, which this server takes."),
        ("two words", "This is no API key or token"),
        ("schl\N{LATIN SMALL LETTER U WITH DIAERESIS}ssel", "This is no API key or token"),
    ],
)
def test_what_is_wrong_with_a_key_is_said(browser: Browser, server: Server, keys: Keys, typed: str, told: str) -> None:
    with guarded_page(browser, server) as page:
        sign_in(page, typed)
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text(told)
        field = page.get_by_label("API key or token")
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_be_focused()
        assert page.evaluate("sessionStorage.length") == 0
        sign_in(page, keys.texts["all"])
        expect(dialog(page)).to_have_count(0)
        is_live(page)


def test_a_key_lies_in_the_tabs_own_storage_and_nowhere_else(browser: Browser, server: Server, keys: Keys) -> None:
    key = keys.texts["all"]
    asked: list[tuple[str, str]] = []
    sockets: list[str] = []
    with guarded_page(browser, server) as page:
        page.on("request", lambda sent: asked.append((sent.url, sent.headers.get("authorization", ""))))
        page.on("websocket", lambda socket: sockets.append(socket.url))
        sign_in(page, key)
        is_live(page)
        page.get_by_role("link", name="Try it").click()
        page.get_by_role("button", name="Zeros").click()
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.get_by_text(re.compile("Answered in"))).to_be_visible()
        assert page.evaluate(STORED, key) == NOWHERE | {"session": 1}
        doors = [(url, header) for url, header in asked if "/v1/" in url and "ticket=" not in url]
        assert len(doors) > 3
        assert {header for _, header in doors} == {f"Bearer {key}"}
        assert not [url for url, _ in asked if key in url]
        assert len(sockets) == len(set(sockets)) == 2
        assert all(re.search(r"[?&]ticket=[\w-]{20,}", url) and key not in url for url in sockets)
        page.reload()
        is_live(page)
        expect(page.locator("#who")).to_have_text("Signed in as all")
        page.get_by_role("button", name="Sign out").click()
        expect(dialog(page)).to_be_visible()
        assert page.evaluate(STORED, key) == NOWHERE | {"session": 0}
        expect(page.locator("main")).to_be_empty()
        page.reload()
        expect(dialog(page)).to_be_visible()
        expect(page.locator("main")).to_be_empty()


@pytest.mark.parametrize("path", ["/", "/#try", "/#streams"])
def test_a_revoked_key_brings_the_question_back(browser: Browser, server: Server, keys: Keys, path: str) -> None:
    text = keys.add_at(server, "brief", "predict:add watch:*")
    with signed_in(browser, server, text, path) as page:
        if path == "/#try":
            page.get_by_role("button", name="Zeros").click()
            page.get_by_role("button", name="Send", exact=True).click()
            expect(page.get_by_text(re.compile("Answered in"))).to_be_visible()
        keys.revoke(text)
        expect(dialog(page)).to_be_visible(timeout=WITHIN)
        expect(page.get_by_role("alert")).to_have_text("The API key was revoked.")
        expect(page.locator("main")).to_be_empty()
        expect(page.locator("#who")).to_be_hidden()
        assert page.evaluate("sessionStorage.length") == 0
        sign_in(page, keys.texts["all"])
        is_live(page)
        expect(page.locator("#who")).to_have_text("Signed in as all")


def test_a_key_that_expires_brings_the_question_back(browser: Browser, server: Server, keys: Keys) -> None:
    text = keys.add_at(server, "hasty", "watch:*", "--expires", "1h")
    with signed_in(browser, server, text) as page:
        file = keys.file.read_text()
        keys.file.write_text(re.sub(r"(?m)^expires = .*$", "expires = 2020-01-01T00:00:00Z", file))
        expect(dialog(page)).to_be_visible(timeout=WITHIN)
        expect(page.get_by_role("alert")).to_have_text("The API key has expired.")
        assert page.evaluate("sessionStorage.length") == 0


def test_each_connection_has_a_ticket_of_its_own(browser: Browser, server: Server, keys: Keys) -> None:
    with signed_in(browser, server, keys.texts["all"]) as page:
        with page.expect_websocket() as opened:
            (info,) = ask(server, "GET", "/v1/admin/sessions?identity=all", keys.bearer("root")).json["sessions"]
            ask(server, "DELETE", f"/v1/admin/sessions/{info['session']}", keys.bearer("root"))
        assert "ticket=" in opened.value.url
        is_live(page)
        expect(dialog(page)).to_have_count(0)


def test_who_may_watch_one_models_streams_sees_those(browser: Browser, server: Server, keys: Keys) -> None:
    with signed_in(browser, server, keys.texts["adder"]) as page:
        expect(page.get_by_role("row").filter(has_text="add")).to_contain_text("ready")
        expect(page.get_by_role("row").filter(has_text="norm")).to_have_count(0)
        expect(page.locator(".notice")).to_have_count(3)
        expect(page.locator(".tile")).to_have_count(0)
        expect(page.locator("main")).to_contain_text("watch:$stats")
        expect(page.locator("main")).to_contain_text("watch:$alerts")
        expect(page.get_by_role("link", name="Admin")).to_be_hidden()
        page.get_by_role("link", name="Streams").click()
        with (
            socket(server, "/v1/models/norm/stream?key=theirs", headers=keys.bearer("all")) as other,
            socket(server, "/v1/models/add/stream?key=mine", headers=keys.bearer("all")) as stream,
        ):
            for connection in (other, stream):
                connection.send(EVENT)
            expect(listed(page)).to_have_count(1)
            expect(listed(page)).to_contain_text("mine")
            page.get_by_role("link", name="mine").click()
            expect(page.locator(".pill[role=status]")).to_have_text("live", timeout=WITHIN)
        expect(page.locator("#state")).to_have_text("Live")
        page.goto(f"{http_address(server)}/#stream/norm%2Fk")
        expect(page.locator("main")).to_contain_text("watch:norm/k")
        page.goto(f"{http_address(server)}/#admin")
        expect(page.locator("main")).to_contain_text("It needs the scope admin.")
        page.get_by_role("link", name="Try it").click()
        expect(page.get_by_label("Model").locator("option")).to_have_text(["add"])
        page.get_by_role("button", name="Zeros").click()
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.get_by_text(re.compile("Answered in"))).to_be_visible()


def test_who_may_do_nothing_is_told_so_in_each_view(browser: Browser, server: Server, keys: Keys) -> None:
    text = keys.add_at(server, "idle", "watch:$stats")
    with signed_in(browser, server, text) as page:
        expect(page.locator(".tile")).to_have_count(8)
        expect(page.locator(".notice")).to_have_count(1)
        for view, scope in (("Streams", "watch:<model>/<key>"), ("Try it", "predict:<model>")):
            page.get_by_role("link", name=view).click()
            expect(page.get_by_role("heading", name="Your API key or token does not allow this")).to_be_visible()
            expect(page.locator("main code")).to_have_text(scope)


def test_nobody_is_asked_where_no_credentials_are_needed(browser: Browser, zoo: Server) -> None:
    with open_page(browser, http_address(zoo), "/") as page:
        is_live(page)
        expect(dialog(page)).to_have_count(0)
        expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        expect(page.locator("#who")).to_be_hidden()
        expect(page.get_by_role("link", name="Admin")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0
