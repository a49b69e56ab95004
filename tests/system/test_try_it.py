""" "Try it" in a real browser: a form for every kind of input, the wire as it is, and the motion sensor."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import onnx_models

from .browser import WITHIN, http_address, running_browser
from .client import open_stream
from .conftest import StartServer
from .process import Server, running_server, until
from .test_activity import load
from .try_page import TryPage, try_page

SENSOR: Final = "Motion sensor"
LOST: Final = "WebSocket connection|ERR_CONNECTION_REFUSED|Failed to load resource|Failed to fetch"
ELSEWHERE: Final = "waterspout.test"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser(f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1") as browser:
        yield browser


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server with a model per kind of input."""
    root = tmp_path_factory.mktemp("kinds")
    models = {
        "pair": onnx_models.two_by_two(),
        "texts": onnx_models.concat_strings(),
        "open": onnx_models.mean_over_time(),
        "options": onnx_models.all_options(),
        "none": onnx_models.constant([1.0, -0.5]),
        "small": onnx_models.identity("bfloat16"),
    }
    for name, model in models.items():
        onnx_models.save(model, root / name / "1" / "model.onnx")
    optional = '[[input]]\nname = "{}"\ndata_type = "float32"\ndims = [{}]\noptional = true\n'
    (root / "options" / "config.toml").write_text(optional.format("scale", 3) + optional.format("shift", ""))
    with running_server("--models", str(root)) as server:
        yield server


def answer_to(view: TryPage, **texts: str) -> dict[str, object]:
    """Send what the form makes of these texts; return the outputs that come back."""
    before = len([message for message in view.messages("in") if "outputs" in message])
    view.fill(**texts)
    view.send()
    outputs = view.predictions(before + 1)[-1]["outputs"]
    assert isinstance(outputs, dict)
    return outputs


def test_one_event_is_answered_with_a_label_and_its_scores(browser: Browser, shipped: Server) -> None:
    split = load()
    with try_page(browser, shipped, "activity") as view:
        for number in (0, 10, 20, 30):
            view.card("One event").get_by_role("button", name="Empty the window").click()
            answer_to(view, samples=json.dumps(split.samples[number]))
            expect(view.card("Prediction").locator("dd").first).to_have_text(split.labels[number])
            view.says("One event", f": {split.labels[number]}.")
        (prediction,) = view.predictions(4)[-1:]
        bars = view.card("Prediction").locator(".score")
        assert bars.locator("span:first-child").all_inner_texts() == ["badminton", "running", "standing", "walking"]
        widths = bars.locator("i").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width) / 100)")
        assert widths == pytest.approx(prediction["outputs"]["scores"], abs=1e-4)
        expect(view.card("Answers").locator("tbody tr")).to_have_count(4)


def test_the_wire_shows_exactly_what_is_sent_and_what_comes(browser: Browser, shipped: Server) -> None:
    with try_page(browser, shipped, "activity") as view:
        view.card("One event").get_by_role("button", name="Random values").click()
        view.send()
        view.says("One event", "Answered")
        assert view.shown(3) == [(way, text[:2000]) for way, text in view.frames]
        assert [way for way, _ in view.frames] == ["in", "out", "in"]
        assert view.messages("in")[0]["op"] == "welcome"
        event = view.messages("out")[0]
        assert len(event["data"]) == 600
        with open_stream(shipped, "/v1/models/activity/stream") as stream:
            outputs = stream.ask(event)["outputs"]
        assert view.messages("in")[1]["outputs"]["scores"] == pytest.approx(outputs["scores"], rel=1e-4, abs=1e-6)


def test_the_wire_can_be_paused_copied_and_cleared(browser: Browser, shipped: Server) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with try_page(browser, shipped, "activity", permissions=permissions) as view:
        wire = view.card("On the wire")
        answer_to(view, samples="0 " * 600)
        wire.get_by_role("button", name="Copy all").click()
        expect(wire.get_by_role("button", name="Copied")).to_be_visible()
        arrows = {"out": "→ ", "in": "← "}
        copied = view.page.evaluate("navigator.clipboard.readText()")
        assert copied == "\n".join(arrows[way] + text for way, text in view.frames)
        wire.get_by_role("button", name="Pause").click()
        answer_to(view, samples="0 " * 60)
        expect(wire).to_contain_text("2 not recorded while paused")
        assert len(view.shown(3)) == 3
        wire.get_by_role("button", name="Go on").click()
        wire.get_by_role("button", name="Clear").click()
        expect(view.page.locator(".wire li")).to_have_count(0)
        answer_to(view, samples="0 " * 60)
        expect(view.page.locator(".wire li")).to_have_count(2)


def test_several_inputs_booleans_and_integers_beyond_what_javascript_counts(browser: Browser, kinds: Server) -> None:
    with try_page(browser, kinds, "pair") as view:
        view.fill(mask="true, false", count="9007199254740993")
        view.send()
        view.says("One event", "Answered")
        assert view.frames[1] == ("out", '{"id":1,"data":{"mask":[true,false],"count":9007199254740993}}')
        assert view.shown(3) == view.frames
        assert '"doubled":18014398509481986' in view.frames[2][1]


def test_strings_are_sent_as_they_are_and_shown_as_text(browser: Browser, kinds: Server) -> None:
    with try_page(browser, kinds, "texts") as view:
        outputs = answer_to(view, first="<img src=x onerror=alert(1)>\nA, ", last='["</pre>", "b\\"c"]')
        assert outputs == {"joined": ["<img src=x onerror=alert(1)></pre>", 'A, b"c']}
        expect(view.card("Prediction").locator("pre")).to_contain_text("<img src=x onerror=alert(1)></pre>")
        assert view.page.locator("#view img").count() == 0


def test_dynamic_dimensions_optional_inputs_and_no_inputs(browser: Browser, kinds: Server) -> None:
    with try_page(browser, kinds, "open") as view:
        assert answer_to(view, x="1, 10\n3, 30\n5, 50") == {"mean": [3, 30]}
        assert answer_to(view, x="[[1, 2]]") == {"mean": [1, 2]}
        view.choose("options")
        assert answer_to(view, x="1 2 3") == {"y": [3, 5, 7]}
        assert view.messages("out")[-1]["data"] == {"x": [1, 2, 3]}
        assert answer_to(view, b="5 5 5", shift="0.5") == {"y": [10.5, 10.5, 10.5]}
        view.choose("none")
        assert answer_to(view) == {"y": [1, -0.5]}
        expect(view.card("Prediction").locator(".score.negative")).to_have_count(1)


def test_what_does_not_fit_is_told_at_its_field_and_not_sent(browser: Browser, kinds: Server) -> None:
    with try_page(browser, kinds, "pair") as view:
        view.fill(mask="true, maybe", count="1.5")
        view.send()
        view.says("One event", "Nothing was sent")
        wrong = view.card("One event").locator(".wrong:visible")
        expect(wrong).to_have_text(
            [
                "mask: element 1: expected true or false, got 'maybe'",
                "count: expected an integer, got '1.5'",
            ]
        )
        expect(view.page.get_by_label("mask")).to_be_focused()
        expect(view.page.get_by_label("count")).to_have_attribute("aria-invalid", "true")
        view.fill(mask="true", count="1")
        view.send()
        expect(wrong).to_have_text(["mask: expected 2 booleans, got 1"])
        assert view.frames == []


def test_what_the_server_refuses_is_told_at_its_field(browser: Browser, kinds: Server) -> None:
    with try_page(browser, kinds, "small") as view:
        view.fill(x="1, 2, 1e39")
        view.send()
        view.says("One event", "refused")
        refusal = view.messages("in")[-1]["error"]["message"]
        expect(view.card("One event").locator(".wrong:visible")).to_have_text(f"x: {refusal}")
        expect(view.card("Answers").locator("tr.failed")).to_contain_text(refusal)


def test_a_phone_and_a_keyboard_are_enough(browser: Browser, shipped: Server) -> None:
    with try_page(browser, shipped, viewport={"width": 360, "height": 740}) as view:
        view.page.get_by_label("Model").focus()
        view.page.keyboard.press("Tab")
        expect(view.page.get_by_label("samples", exact=True)).to_be_focused()
        view.page.keyboard.insert_text("0 " * 600)
        view.page.keyboard.press("Control+Enter")
        view.says("One event", "Answered in")
        assert view.page.evaluate("document.documentElement.scrollWidth") == 360


def test_it_comes_back_after_the_server_did(browser: Browser, start_server: StartServer) -> None:
    server = start_server()
    port = str(server.address[1])
    with try_page(browser, server, "double", allowed=LOST) as view:
        assert answer_to(view, x="1 2 3 4") == {"y": [2, 4, 6, 8]}
        assert server.end() == 0
        view.says("On the wire", "Connection lost: the server is shutting down (1001")
        start_server("--port", port)
        view.says("On the wire", "Connected")
        assert answer_to(view, x="1 1 1 1") == {"y": [2, 2, 2, 2]}


def override(page: Page, readings: dict[str, tuple[float, float, float]]) -> None:
    """Give the browser a device whose sensors say this."""
    devtools = page.context.new_cdp_session(page)
    for kind, (x, y, z) in readings.items():
        metadata = {"available": True, "minimumFrequency": 1, "maximumFrequency": 60}
        devtools.send("Emulation.setSensorOverrideEnabled", {"enabled": True, "type": kind, "metadata": metadata})
        reading = {"xyz": {"x": x, "y": y, "z": z}}
        devtools.send("Emulation.setSensorOverrideReadings", {"type": kind, "reading": reading})


def test_the_motion_sensor_is_streamed_in_the_order_and_units_of_the_model(browser: Browser, shipped: Server) -> None:
    with try_page(browser, shipped, "activity") as view:
        turning = (math.radians(10), math.radians(-20), math.radians(30))  # around x, y, z
        override(view.page, {"accelerometer": (1, 2, 12), "linear-acceleration": (1, 2, 3), "gyroscope": turning})
        card = view.card(SENSOR)
        card.get_by_label("Samples per second").fill("100")
        card.get_by_role("button", name="Start").click()
        assert view.predictions(1)[0]["label"] in ("badminton", "running", "standing", "walking")
        card.get_by_role("button", name="Stop").click()
        view.says(SENSOR, "Ended: stopped")
        samples = [message["data"] for message in view.messages("out") if "data" in message]
        assert len(samples) >= 100
        assert samples[-1] == pytest.approx([1, 2, 3, *turning], abs=0.01)


def test_why_the_motion_sensor_cannot_be_streamed_is_told(browser: Browser, kinds: Server, shipped: Server) -> None:
    with try_page(browser, shipped, "activity") as view:
        view.card(SENSOR).get_by_role("button", name="Start").click()
        view.says(SENSOR, "Ended: ")
        expect(view.card(SENSOR).locator(".wrong")).to_contain_text("this device")
    with try_page(browser, kinds, "pair") as view:
        expect(view.card(SENSOR)).to_contain_text("takes more than one input")
        view.choose("texts")
        expect(view.card(SENSOR)).to_contain_text("takes more than one input")
    with running_server("--allowed-hosts", ELSEWHERE) as named:
        elsewhere = http_address(named).replace(urlsplit(named.ws).hostname or "", ELSEWHERE)
        with try_page(browser, named, "activity", address=elsewhere) as view:
            expect(view.card(SENSOR)).to_contain_text("pages of https:// and of this very machine")
            view.card("On the wire").get_by_role("button", name="Copy all").click()
            expect(view.card("On the wire").get_by_role("button", name="Copied")).to_be_visible()


def test_a_server_without_models_says_what_to_do(browser: Browser, tmp_path: Path, start_server: StartServer) -> None:
    server = start_server("--models", str(tmp_path))
    with browser.new_page() as page:
        page.goto(f"{http_address(server)}/#try")
        expect(page.get_by_role("heading", name="There are no models")).to_be_visible(timeout=WITHIN)
    assert until(lambda: server.is_alive)
