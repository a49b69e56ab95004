"""Take the pictures of docs/img: `python -m tests.system.screenshots`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser, Page, expect

from .browser import WITHIN, http_address, open_page, running_browser
from .dashboard import WATCHES, feeding, is_live, listed, wait_for_predictions
from .process import ROOT, Server, running_server

FOLDER: Final = ROOT / "docs" / "img"
SIZE: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 360, "height": 740}
MINUTE: Final = 60.0  # that trends and charts show


@contextmanager
def opened(browser: Browser, server: Server, view: str, **options: Any) -> Iterator[Page]:
    """Open a view that is live."""
    with open_page(browser, http_address(server), f"/#{view}", **{"viewport": SIZE, **options}) as page:
        is_live(page)
        yield page


def main() -> None:
    """Let the watches stream for as long as charts reach back, then take all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with running_server() as server, feeding(server), running_browser() as browser:
        wait_for_predictions(server)
        with (
            opened(browser, server, "overview", color_scheme="light") as overview,
            opened(browser, server, "streams", color_scheme="dark") as streams,
            opened(browser, server, "streams", color_scheme="light") as stream,
            opened(browser, server, "streams", color_scheme="light", viewport=PHONE) as phone,
        ):
            expect(streams.locator(".head [role=status]")).to_have_text(str(WATCHES), timeout=WITHIN)
            listed(stream).nth(12).locator("a").click()
            time.sleep(MINUTE)
            for name, page in {"overview": overview, "streams": streams, "stream": stream, "phone": phone}.items():
                page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
