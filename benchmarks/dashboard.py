"""Measure how smoothly the dashboard draws: `python -m benchmarks.dashboard`.

Server, client and a headless Chromium without a GPU share this machine. A frame is due every 16.7 ms.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from playwright.sync_api import CDPSession, Page, expect

from tests.system.browser import http_address, open_page, running_browser
from tests.system.feeding import fed
from tests.system.graphs import double, write_model
from tests.system.process import running_server

EVENTS_PER_SECOND: Final = 5  # of each key, which is how often the table is told
SETTLE_SECONDS: Final = 2.0
LATE_MS: Final = 25.0  # a frame that takes longer was missed
VIEWS: Final = {
    "overview": "overview",
    "streams": "streams",
    "streams, scrolling": "streams",
    "one stream": "stream/double%2Fsensor-7",
    "streams, hidden": "streams",
}
FRAMES: Final = """
    ([milliseconds, scrolls]) => new Promise(done => {
        const times = [];
        const body = document.querySelector(".grid .body");
        requestAnimationFrame(function tick(time) {
            times.push(time);
            if (scrolls) body.scrollTop = (body.scrollTop + 20) % (body.scrollHeight - body.clientHeight);
            if (time - times[0] < milliseconds) requestAnimationFrame(tick);
            else done(times.slice(1).map((end, at) => end - times[at]));
        });
    })
"""
TIMES: Final = ("Timestamp", "TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
WAIT: Final = "milliseconds => new Promise(done => setTimeout(done, milliseconds))"
HIDE: Final = """
    () => {
        Object.defineProperty(document, "hidden", {value: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }
"""


Seconds = npt.NDArray[np.float64]


class Smoothness(NamedTuple):
    """Intervals between frames in ms, and shares of the page's main thread: all its work, and that without painting."""

    intervals: list[float]
    busy: float
    unpainted: float

    def row(self, name: str) -> str:
        """Return a line of the table."""
        if not self.intervals:
            return f"| {name} | | | | | | {self.unpainted:.1%} | {self.busy:.1%} |"
        median, p95, p99 = np.percentile(self.intervals, [50, 95, 99])
        late = sum(interval > LATE_MS for interval in self.intervals) / len(self.intervals)
        frames = f"{len(self.intervals)} | {median:.1f} | {p95:.1f} | {p99:.1f} | {late:.1%}"
        return f"| {name} | {frames} | {self.unpainted:.1%} | {self.busy:.1%} |"


def measure(page: Page, name: str, keys: int, seconds: float) -> Smoothness:
    """Measure a view of a page on which the server is connected."""
    page.evaluate("view => { location.hash = view; }", VIEWS[name])
    if VIEWS[name] == "streams":
        expect(page.locator(".head [role=status]")).to_have_text(f"{keys:,}", timeout=30_000)
    settling = min(SETTLE_SECONDS, seconds) * 1e3
    page.evaluate(WAIT, settling)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    if name.endswith("hidden"):
        page.evaluate(HIDE)
        page.evaluate(WAIT, settling)
    before = _seconds(session)
    intervals: list[float] = []
    if name.endswith("hidden"):
        page.evaluate(WAIT, seconds * 1e3)
    else:
        intervals = page.evaluate(FRAMES, [seconds * 1e3, name.endswith("scrolling")])
    now, *spent = _seconds(session) - before
    return Smoothness(intervals, spent[0] / now, sum(spent[1:]) / now)


def _seconds(session: CDPSession) -> Seconds:
    """Return the time, and what the page's main thread has spent: in all, on scripts, on layout, on styles."""
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    return np.array([metrics[name] for name in TIMES])


def table(keys: int, seconds: float) -> list[str]:
    """Measure every view."""
    names = [f"sensor-{number}" for number in range(keys)]
    lines = [
        "| view | frames | median ms | p95 ms | p99 ms | over 25 ms | scripts, layout | with painting |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory(prefix="waterspout-") as folder:
        write_model(Path(folder), "double", double())
        with (
            running_server("--models", folder) as server,
            fed(server, names, period=1 / EVENTS_PER_SECOND),
            running_browser() as browser,
        ):
            for name in VIEWS:
                with open_page(browser, http_address(server), "/") as page:
                    expect(page.locator("#state")).to_have_text("Live", timeout=30_000)
                    lines.append(measure(page, name, keys, seconds).row(name))
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1000, help="streams that update (default: 1000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each view (default: 20)")
    options = parser.parse_args(arguments)
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    print(f"{options.keys:,} keys, {EVENTS_PER_SECOND} events/s each; {cores} cores, load {load:.1f} at the start\n")
    print("\n".join(table(options.keys, options.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
