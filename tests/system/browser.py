"""Real pages in a real Chromium, and what it complains about."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

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


@contextmanager
def running_browser(*flags: str) -> Iterator[Browser]:
    """Run a browser with these flags and those that it needs here."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(f"none of {', '.join(BROWSERS)} is installed: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
        yield launched
        launched.close()


def http_address(server: Server) -> str:
    """Return where a server's pages are."""
    return server.ws.replace("ws", "http", 1)


@contextmanager
def open_page(browser: Browser, address: str, path: str, allowed: str = "", **options: Any) -> Iterator[Page]:
    """Open a page of a server's; `options` are those of a browser context.

    Whatever the browser complains about meanwhile fails the test, but for what `allowed` is found in.
    """
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text}")

    with browser.new_page(**options) as page:
        page.set_default_timeout(WITHIN)
        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
        page.on("response", lambda reply: complaints.extend([f"{reply.status} {reply.url}"] * (reply.status >= 400)))
        page.on("request", lambda sent: complaints.extend([f"asked {sent.url}"] * (not _is_own(sent.url, address))))
        page.add_init_script(NOTE_VIOLATIONS)
        page.goto(f"{address}{path}")
        yield page
        violations = page.evaluate("violations")
        assert not violations, violations
        unexpected = [line for line in complaints if not (allowed and re.search(allowed, line))]
        assert not unexpected, unexpected


def _is_own(url: str, address: str) -> bool:
    return url.startswith((f"{address}/", "data:"))
