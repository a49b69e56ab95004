"""The dashboard as somebody sees it who looks: its tiles, its tables, and whether a canvas shows anything."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Locator, Page, expect

from .browser import WITHIN, http_address
from .client import get
from .process import ROOT, Server, until

WATCHES: Final = 40
INK: Final = """
    canvas => {
        if (!canvas.width || !canvas.height) return [0, 0];
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
        copy.drawImage(canvas, 0, 0);
        const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
        let ink = 0, sum = 0;
        for (let at = 3; at < data.length; at += 4) {
            if (data[at]) { ink += 1; sum = (sum * 31 + at + data[at]) % 1000003; }
        }
        return [ink, sum];
    }
"""


@contextmanager
def feeding(server: Server) -> Iterator[None]:
    """Have the smartwatches of `examples` stream their recordings."""
    command = [sys.executable, "-m", "examples.smartwatches", http_address(server)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as feed:
        try:
            yield
        finally:
            feed.kill()


def wait_for_predictions(server: Server) -> None:
    """Wait until every watch was answered."""
    until(lambda: get(server, "/v1/stats").json["predictions"] >= WATCHES, within=20)


def is_live(page: Page) -> None:
    """Wait until the page says that it sees the server."""
    expect(page.locator("#state")).to_have_text("Live", timeout=WITHIN)


def tile(page: Page, name: str) -> Locator:
    return page.locator(f'[data-tile="{name}"]')


def tile_value(page: Page, name: str) -> float:
    """Return the number in a tile, 0 where it has none yet."""
    found = re.match(r"[\d.,]+", tile(page, name).locator(".value").inner_text())
    return float(found[0].replace(",", "")) if found else 0.0


def picture_of(canvas: Locator) -> tuple[int, int]:
    """Return how many pixels are painted, and a sum that tells one picture from another."""
    ink, checksum = canvas.evaluate(INK)
    return ink, checksum


def keeps_drawing(canvas: Locator) -> None:
    """Wait until a canvas shows something, and then something else."""
    first = until(lambda: picture if (picture := picture_of(canvas))[0] else None, within=WITHIN / 1e3)
    until(lambda: picture_of(canvas) != first, within=WITHIN / 1e3)


def listed(page: Page) -> Locator:
    """Return the rows of streams that are in view."""
    return page.locator(".rows > [role=row]:not([hidden])")
