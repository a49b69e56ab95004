"""The "Try it" view as a person uses it, with the frames that its socket really carries."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, WebSocket, expect

from .browser import WITHIN, http_address, open_page
from .client import Message
from .process import Server, until


class TryPage:
    """The page, and what goes over the sockets to models."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[tuple[str, str]] = []  # as the browser itself tells: direction and text
        page.on("websocket", self._watch)

    def _watch(self, socket: WebSocket) -> None:
        if "/v1/models/" in socket.url:
            socket.on("framesent", lambda text: self.frames.append(("out", str(text))))
            socket.on("framereceived", lambda text: self.frames.append(("in", str(text))))

    def choose(self, model: str) -> None:
        """Pick a model."""
        self.page.get_by_label("Model").select_option(model)
        expect(self.page.locator(".takes")).to_contain_text("takes")

    def card(self, title: str) -> Locator:
        """Return a card by its heading."""
        return self.page.locator(".card", has=self.page.get_by_role("heading", name=title, exact=True))

    def fill(self, **texts: str) -> None:
        """Fill the form's fields."""
        for name, text in texts.items():
            field = self.card("One event").get_by_label(name, exact=True)
            if field.evaluate("element => element.tagName") == "SELECT":
                field.select_option(text)
            else:
                field.fill(text)

    def send(self) -> None:
        """Press the form's button."""
        self.card("One event").get_by_role("button", name="Send").click()

    def says(self, title: str, text: str) -> None:
        """Wait until the status of a card holds a text."""
        expect(self.card(title).get_by_role("status")).to_contain_text(text, timeout=WITHIN)

    def upload(self, content: str | bytes, folder: Path) -> None:
        """Choose a CSV file of this content."""
        path = folder / "samples.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with self.page.expect_file_chooser() as chooser:
            self.card("A CSV file").get_by_label("File").click()
        chooser.value.set_files(path)

    def stream(self, rate: float | None) -> None:
        """Stream the file at a rate, or as fast as it is answered."""
        card = self.card("A CSV file")
        card.get_by_label("as fast as it is answered").set_checked(rate is None)
        if rate is not None:
            card.get_by_label("Rows per second").fill(f"{rate:g}")
        card.get_by_role("button", name="Start").click()

    def messages(self, direction: str) -> list[Message]:
        """Return what went in a direction so far."""
        return [json.loads(text) for way, text in self.frames if way == direction]

    def predictions(self, count: int) -> list[Message]:
        """Wait until so many predictions came over the socket."""
        return until(lambda: self._enough(count), WITHIN / 1000)

    def shown(self, count: int) -> list[tuple[str, str]]:
        """Return the lines of the wire's log once there are so many: direction and text."""
        expect(self.page.locator(".wire li")).to_have_count(count)
        script = 'lines => lines.map(line => [line.className, line.querySelector("code").textContent])'
        lines: list[Any] = self.page.locator(".wire li").evaluate_all(script)
        return [(way, text) for way, text in lines]

    def _enough(self, count: int) -> list[Message]:
        self.page.wait_for_timeout(1)  # which lets playwright tell of frames
        found = [message for message in self.messages("in") if "outputs" in message]
        return found if len(found) >= count else []


@contextmanager
def try_page(
    browser: Browser, server: Server, model: str = "", *, address: str = "", allowed: str = "", **options: Any
) -> Iterator[TryPage]:
    """Open the view."""
    with open_page(browser, address or http_address(server), "/#try", allowed, **options) as page:
        view = TryPage(page)
        expect(page.get_by_role("heading", name="On the wire")).to_be_visible()
        if model:
            view.choose(model)
        yield view
