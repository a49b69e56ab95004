"""What operators do in the browser, and what comes of it at a live server."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from .access_parts import EVENT, PREDICT, Keys, ask, closed, receive, socket
from .browser import WITHIN, http_address, open_page, running_browser
from .client import open_stream
from .conftest import StartServer
from .dashboard import is_live
from .process import Server
from .test_processes import streams_to_each


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@contextmanager
def admin_page(browser: Browser, server: Server, keys: Keys) -> Iterator[Page]:
    with open_page(browser, http_address(server), "/", r"\b401\b") as page:
        page.get_by_label("API key or token").fill(keys.texts["root"])
        page.keyboard.press("Enter")
        is_live(page)
        page.get_by_role("link", name="Admin").click()
        expect(page.get_by_role("heading", level=1, name="Admin")).to_be_visible()
        yield page


def sockets(page: Page) -> Any:
    return page.locator(".sockets tbody tr")


def of_row(page: Page, text: str) -> list[str]:
    return [cell.strip() for cell in sockets(page).filter(has_text=text).locator("td").all_text_contents()]


def test_sockets_are_listed_as_they_come_and_go(browser: Browser, server: Server, keys: Keys) -> None:
    with admin_page(browser, server, keys) as page:
        expect(sockets(page)).to_have_count(1)
        expect(sockets(page)).to_contain_text("watch (this page)")
        with (
            socket(server, "/v1/models/add/stream?key=k", headers=keys.bearer("adder")) as stream,
            socket(server, "/v1/stream"),
        ):
            stream.send(EVENT)
            receive(stream)
            row = sockets(page).filter(has_text="adder")
            expect(row.locator("td").nth(5)).to_have_text("1")
            session, kind, identity, address, age, events, in_flight, count, topics, process, _ = of_row(page, "adder")
            assert (kind, identity, address, topics, process) == ("stream", "adder", "127.0.0.1", "", "")
            assert (events, in_flight, count) == ("1", "0", "1")
            assert re.fullmatch(r"\d+ s", age)
            assert session
            expect(page.get_by_role("columnheader", name="Process")).to_have_count(0)
            expect(sockets(page).filter(has_text="not told yet")).to_have_count(1)
            expect(page.locator(".sockets .head [role=status]")).to_have_text("3")
        expect(sockets(page)).to_have_count(1)
        assert of_row(page, "this page")[8] == "$alerts, $stats"


def test_sockets_are_filtered_and_sorted(browser: Browser, server: Server, keys: Keys) -> None:
    with (
        admin_page(browser, server, keys) as page,
        socket(server, "/v1/stream", headers=keys.bearer("all")),
        socket(server, "/v1/stream", headers=keys.bearer("adder")),
    ):
        expect(sockets(page)).to_have_count(3)
        assert of_row(page, "root") != []
        heading = page.get_by_role("columnheader", name="Identity")
        heading.get_by_role("button").click()
        expect(heading).to_have_attribute("aria-sort", "ascending")
        names = sockets(page).locator("td:nth-child(3)")
        expect(names).to_have_text(["adder", "all", "root"])
        heading.get_by_role("button").click()
        expect(names).to_have_text(["root", "all", "adder"])
        page.get_by_label("Filter sockets").fill("stream adder")
        expect(names).to_have_text(["adder"])
        expect(page.locator(".sockets .head [role=status]")).to_have_text("1 of 3")


def test_a_socket_is_closed_once_that_is_confirmed(browser: Browser, server: Server, keys: Keys) -> None:
    with (
        admin_page(browser, server, keys) as page,
        socket(server, "/v1/stream", headers=keys.bearer("adder")) as stream,
    ):
        button = sockets(page).filter(has_text="adder").get_by_role("button")
        button.click()
        question = page.get_by_role("alertdialog", name="Close the stream socket of adder?")
        expect(question.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Escape")
        expect(question).to_have_count(0)
        stream.send(f'{{"model": "add", {EVENT[1:]}')
        assert "outputs" in receive(stream)
        button.click()
        question.get_by_role("button", name="Close it").click()
        assert closed(stream) == 4010
        expect(sockets(page)).to_have_count(1)


def test_a_model_is_drained_and_resumed(browser: Browser, server: Server, keys: Keys) -> None:
    user = keys.bearer("all")
    with admin_page(browser, server, keys) as page:
        page.get_by_role("button", name="Drain add").click()
        page.get_by_role("alertdialog").get_by_role("button", name="Drain it").click()
        resume = page.get_by_role("button", name="Resume add")
        expect(resume).to_be_visible()
        expect(page.get_by_role("row").filter(has=resume)).to_contain_text("drained by an operator")
        expect(page.get_by_role("button", name="Drain norm")).to_be_visible()
        assert ask(server, "POST", PREDICT, user, EVENT).status == 503
        resume.click()
        expect(page.get_by_role("button", name="Drain add")).to_be_visible()
        assert ask(server, "POST", PREDICT, user, EVENT).status == 200


def test_the_log_level_is_chosen(browser: Browser, server: Server, keys: Keys) -> None:
    with admin_page(browser, server, keys) as page:
        level = page.get_by_label("Log level")
        expect(level).to_have_value("info")
        level.select_option("warning")
        expect(page.get_by_text("The server logs warning and worse.")).to_be_visible()
        assert ask(server, "GET", "/v1/admin/log-level", keys.bearer("root")).json == {"level": "warning"}
        level.select_option("info")
        expect(page.get_by_text("The server logs info and worse.")).to_be_visible()


def test_an_open_server_has_the_view_for_everybody(browser: Browser, zoo: Server) -> None:
    with (
        open_stream(zoo, "/v1/models/double/stream"),
        open_page(browser, http_address(zoo), "/#admin") as page,
    ):
        expect(sockets(page).filter(has_text="stream")).to_contain_text("anonymous", timeout=WITHIN)
        expect(sockets(page).filter(has_text="this page")).to_have_count(1)
        expect(page.get_by_role("button", name="Drain double")).to_be_visible()


def test_sockets_of_all_processes_are_listed_and_closed(browser: Browser, start_server: StartServer) -> None:
    two = start_server("--processes", "2")
    with (
        streams_to_each(two, "/v1/models/double/stream") as streams,
        open_page(browser, http_address(two), "/#admin") as page,
    ):
        shown = sockets(page).filter(has_text="stream").locator("td:nth-child(10)")
        expect(page.get_by_role("columnheader", name="Process")).to_be_visible(timeout=WITHIN)
        assert set(shown.all_text_contents()) == {"1", "2"}
        for prefix, stream in streams.items():
            sockets(page).filter(has_text=f"{prefix}-").filter(has_text="stream").first.get_by_role("button").click()
            page.get_by_role("alertdialog").get_by_role("button", name="Close it").click()
            assert stream.close_code() == 4010


def test_processes_that_did_not_answer_are_told_of(browser: Browser, server: Server, keys: Keys) -> None:
    def fall_silent(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "silent": 2})

    with admin_page(browser, server, keys) as page:
        page.route("**/v1/admin/**", fall_silent)
        told = "2 processes have not answered"
        expect(page.get_by_text(f"{told}: sockets that are there are missing here.")).to_be_visible()
        page.get_by_label("Log level").select_option("warning")
        expect(page.get_by_role("alert")).to_have_text(f"{told}, all others have done it.")
        page.unroute("**/v1/admin/**")
        expect(page.get_by_text(told).first).to_be_visible()
        page.get_by_label("Log level").select_option("info")
        expect(page.get_by_text(told)).to_have_count(0)
