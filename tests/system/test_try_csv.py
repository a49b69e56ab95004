"""CSV files streamed from a real browser: what the model says of them, at what pace, and what is wrong with them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from .browser import running_browser
from .client import Message, open_stream
from .conftest import StartServer
from .process import Server
from .test_activity import Split, load
from .try_page import TryPage, try_page

HEADER = "ax,ay,az,gx,gy,gz"
PANEL = "A CSV file"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def split() -> Split:
    return load()


def lines(recording: list[list[float]], prefix: str = "") -> list[str]:
    """Return the rows of a recording."""
    return [prefix + ",".join(map(repr, sample)) for sample in recording]


def plain_answers(server: Server, recordings: list[list[list[float]]]) -> list[Message]:
    """Return what a plain client is told of each recording, a key each."""
    with open_stream(server, "/v1/models/activity/stream") as stream:
        for number, recording in enumerate(recordings):
            for sample in recording:
                stream.send({"key": f"watch-{number}", "data": sample})
        return [stream.receive() for _ in recordings]


def faults(view: TryPage) -> list[str]:
    """Wait for what is wrong with the file."""
    view.says(PANEL, "Nothing was sent")
    return view.card(PANEL).locator(".wrong li").all_inner_texts()


def test_every_recording_gets_the_prediction_that_a_plain_client_gets(
    browser: Browser, shipped: Server, split: Split, tmp_path: Path
) -> None:
    rows = [row for number, recording in enumerate(split.samples) for row in lines(recording, f"watch-{number},")]
    with try_page(browser, shipped, "activity") as view:
        view.upload("\n".join([f"key,{HEADER}", *rows]), tmp_path)
        view.says(PANEL, "4,000 rows are ready to be sent. Each key is a stream of its own.")
        view.stream(None)
        view.says(PANEL, "All rows were sent: 40 predictions, 0 errors")
        found = {answer["key"]: answer for answer in view.predictions(40)}
        expect(view.card("Answers").locator("tbody tr")).to_have_count(40)
        shown = dict(row.split("\t")[:2] for row in view.card("Answers").locator("tbody tr").all_inner_texts())
    for plain in plain_answers(shipped, split.samples):
        key = plain["key"]
        answer = found[key]
        assert answer["label"] == plain["label"]
        assert answer["outputs"]["scores"] == pytest.approx(plain["outputs"]["scores"], rel=1e-4, abs=1e-6)
        last = 1 + 100 * (1 + int(key.removeprefix("watch-")))  # the row that completes the window
        assert shown[f"row {last} · {key}"] == plain["label"]


def test_rows_leave_at_the_rate_that_was_chosen_and_again_from_an_empty_window(
    browser: Browser, shipped: Server, split: Split, tmp_path: Path
) -> None:
    with try_page(browser, shipped, "activity") as view:
        view.upload("\n".join(lines(split.samples[0])), tmp_path)
        view.says(PANEL, "100 rows are ready")
        for run in (1, 2):
            view.stream(100)
            view.says(PANEL, "All rows were sent: 1 predictions, 0 errors")
            status = view.card(PANEL).get_by_role("status").inner_text()
            taken = re.search(r"in ([\d.]+) s", status)
            assert taken is not None
            assert float(taken[1]) >= 0.9  # 99 intervals of a hundredth
            assert {answer["label"] for answer in view.predictions(run)} == {split.labels[0]}
        assert [message for message in view.messages("out") if "op" in message] == [{"op": "reset"}] * 2


def test_no_more_is_in_flight_than_the_server_allows(
    browser: Browser, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("--max-in-flight", "4")
    with try_page(browser, server, "slow") as view:
        view.upload("x\n" + "500\n" * 60, tmp_path)
        view.stream(None)
        view.says(PANEL, "All rows were sent: 60 predictions, 0 errors")
        view.predictions(60)
        in_flight = most = 0
        for way, text in view.frames:
            in_flight += 1 if way == "out" else -1 if text.startswith('{"id"') else 0
            most = max(most, in_flight)
        assert most == 4


def test_a_stream_can_be_stopped(browser: Browser, shipped: Server, split: Split, tmp_path: Path) -> None:
    with try_page(browser, shipped, "activity") as view:
        view.upload("\n".join(lines(split.samples[0])), tmp_path)
        view.stream(5)
        expect(view.card("One event").get_by_role("button", name="Send")).to_be_disabled()
        view.says(PANEL, "2 of 100 rows sent")
        view.card(PANEL).get_by_role("button", name="Stop").click()
        view.says(PANEL, "rows: stopped")
        expect(view.card("One event").get_by_role("button", name="Send")).to_be_enabled()
        assert len([message for message in view.messages("out") if "data" in message]) < 10


def test_a_lost_connection_ends_a_stream_and_says_so(
    browser: Browser, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server()
    lost = "WebSocket connection|ERR_CONNECTION_REFUSED|Failed to load resource|Failed to fetch"
    with try_page(browser, server, "double", allowed=lost) as view:
        view.upload("1,2,3,4\n" * 1000, tmp_path)
        view.stream(20)
        view.says(PANEL, "2 of 1,000 rows sent")
        assert server.end() == 0
        view.says(PANEL, "rows: the connection was lost")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "ax,ay,az,gx,gy\n1,2,3,4,5\n",
            "row 1: no columns for samples[0] to samples[5] (float32[6]): expected these names, "
            "or exactly 6 columns in order; the file has ax, ay, az, gx, gy",
        ),
        (
            "samples[0],samples[1],samples[2],samples[3],samples[4]\n",
            "row 1: no column for samples[5]; the file has samples[0], samples[1], samples[2], samples[3], samples[4]",
        ),
        (
            f"{HEADER}\n" + "1,2,3,4,5,6\n" * 5 + "1,2,none,4,5,6\n",
            "row 7, column 3 (az): expected a number, got 'none'",
        ),
        (f"{HEADER}\n1,2,3\n", "row 2: expected 6 columns, got 3"),
        (f'{HEADER}\n1,2,"3,4,5,6\n', "row 2, column 3: a quote is opened here and never closed"),
        ("", "the file has no rows"),
        (b"\xff\xfea\x00", "the file is not UTF-8 text: save it as “CSV UTF-8”"),
    ],
    ids=["too few columns", "a missing column", "a text in row 7", "a short row", "an open quote", "empty", "UTF-16"],
)
def test_what_is_wrong_with_a_file_is_told_and_nothing_is_sent(
    browser: Browser, shipped: Server, tmp_path: Path, content: str | bytes, told: str
) -> None:
    with try_page(browser, shipped, "activity") as view:
        view.upload(content, tmp_path)
        assert faults(view) == [told]
        expect(view.card(PANEL).get_by_role("button", name="Start")).to_be_disabled()
        assert view.frames == []


def test_several_faults_are_told_at_once_and_a_mended_file_is_taken(
    browser: Browser, shipped: Server, tmp_path: Path
) -> None:
    with try_page(browser, shipped, "activity") as view:
        view.upload(f"{HEADER}\n" + "x,2,3,4,5,6\n" * 9, tmp_path)
        assert faults(view) == [f"row {row}, column 1 (ax): expected a number, got 'x'" for row in range(2, 7)]
        view.upload(f"{HEADER}\n" + "1,2,3,4,5,6\n" * 9, tmp_path)
        view.says(PANEL, "9 rows are ready to be sent.")
        expect(view.card(PANEL).locator(".wrong")).to_be_hidden()


def test_columns_can_be_picked_where_their_names_say_nothing(
    browser: Browser, start_server: StartServer, tmp_path: Path
) -> None:
    with try_page(browser, start_server(), "sum") as view:
        view.upload("p;q;r;s;t\n1;2;3;4;5\n", tmp_path)
        assert faults(view) == [
            "row 1: no columns for a[0] to a[1] (float32[2]), b[0] to b[1] (float32[2]): expected these names; "
            "the file has p, q, r, s, t"
        ]
        for element, column in (("a[0]", "t"), ("a[1]", "p"), ("b[0]", "q"), ("b[1]", "s")):
            view.card(PANEL).get_by_label(element, exact=True).select_option(column)
        view.says(PANEL, "1 rows are ready to be sent. Not used: r.")
        view.stream(None)
        view.says(PANEL, "All rows were sent: 1 predictions, 0 errors")
        assert view.messages("out")[0]["data"] == {"a": [5, 1], "b": [2, 4]}
        assert view.predictions(1)[0]["outputs"] == {"total": [7, 5]}


def test_a_file_that_changes_after_it_was_chosen_is_not_read(
    browser: Browser, shipped: Server, split: Split, tmp_path: Path
) -> None:
    with try_page(browser, shipped, "activity") as view:
        view.upload("\n".join(lines(split.samples[0])), tmp_path)
        view.says(PANEL, "100 rows are ready")
        (tmp_path / "samples.csv").write_text("1,2,3")
        view.stream(None)
        expect(view.card(PANEL).locator(".wrong li")).to_have_text(
            "the file has changed or gone since it was chosen: choose it again"
        )
