"""Alerts on their way to webhooks: signed, tried again, bounded, and told apart from one another."""

import asyncio
import base64
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
import tornado.web
from standardwebhooks import Webhook
from tornado.netutil import bind_sockets

from handlers.webhooks import WebhookOptions, WebhookSender
from pipeline.alert_messages import Alert
from pipeline.stats import ServerStats
from pipeline.webhook_rules import signing_key
from tests.handlers.receiver import receiver, status

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
FAST = WebhookOptions(attempts=4, first_pause=0.01, longest_pause=0.3, connect_timeout=2.0, timeout=2.0)


def alert(number: int = 1) -> Alert:
    return Alert(
        id=number, ts=1763683200.25, rule="fall", model="m", version="1", key="k", topic="m/k", output="y", count=1
    )


class Outcomes(Counter[str]):
    """Counts that can be waited for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        super().__init__()

    def __setitem__(self, outcome: str, count: int) -> None:
        super().__setitem__(outcome, count)
        self._changed.set()

    async def until(self, outcome: str, count: int) -> None:
        """Wait until an outcome has been counted so often."""
        while self[outcome] < count:
            self._changed.clear()
            await self._changed.wait()


class Sender(WebhookSender):
    """A sender with its statistics."""

    def __init__(self, key: bytes | None, options: WebhookOptions) -> None:
        stats = ServerStats()
        self.counts = stats.webhooks = Outcomes()
        super().__init__(stats, key, options)

    async def until(self, outcome: str, count: int = 1) -> None:
        """Wait for an outcome."""
        await self.counts.until(outcome, count)


@asynccontextmanager
async def sender(secret: str | None = None, options: WebhookOptions = FAST) -> AsyncIterator[Sender]:
    made = Sender(signing_key(secret) if secret else None, options)
    yield made
    await made.stop(0.0)


async def test_an_alert_is_posted_as_json_and_signed() -> None:
    async with receiver() as there, sender(SECRET) as own:
        own.send(f"{there.origin}/hooks/a?token=x", alert(7))
        await own.until("delivered")
    (call,) = there.calls
    assert call.path == "/hooks/a"
    assert call.headers["Content-Type"] == "application/json"
    assert Webhook(SECRET).verify(call.body, call.headers) == {
        "type": "alert",
        "timestamp": "2025-11-21T00:00:00.250000Z",
        "data": {
            "id": 7, "ts": 1763683200.25, "rule": "fall", "model": "m", "version": "1", "key": "k", "topic": "m/k",
            "output": "y", "count": 1,
        },
    }  # fmt: skip
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(call.body + b" ", call.headers)


async def test_without_a_secret_nothing_is_signed() -> None:
    async with receiver() as there, sender() as own:
        own.send(there.origin, alert())
        await own.until("delivered")
    (call,) = there.calls
    assert "Webhook-Signature" not in call.headers
    assert call.headers["Webhook-Id"].startswith("msg_")
    assert abs(int(call.headers["Webhook-Timestamp"]) - time.time()) < 10


async def test_what_fails_is_tried_again_under_the_same_id() -> None:
    async with receiver() as there, sender(SECRET) as own:
        there.answers = [status(500), status(503), status(429)]
        own.send(there.origin, alert())
        await own.until("delivered")
    assert len(there.calls) == 4
    assert len({call.headers["Webhook-Id"] for call in there.calls}) == 1
    assert len({call.body for call in there.calls}) == 1
    for call in there.calls:
        Webhook(SECRET).verify(call.body, call.headers)


async def test_what_fails_too_often_is_given_up() -> None:
    async with receiver() as there, sender() as own:
        there.answers = [status(500)] * 10
        own.send(there.origin, alert())
        await own.until("failed")
    assert len(there.calls) == FAST.attempts
    assert own.counts == {"failed": 1}


@pytest.mark.parametrize("code", [301, 302, 307, 400, 401, 404, 410])
async def test_what_is_refused_or_sent_elsewhere_is_not_tried_again(code: int) -> None:
    async with receiver() as there, sender() as own:
        there.answers = [status(code, Location=f"{there.origin}/elsewhere")]
        own.send(there.origin, alert())
        await own.until("refused")
        own.send(f"{there.origin}/next", alert())
        await own.until("delivered")
    assert [call.path for call in there.calls] == ["/", "/next"]


async def test_a_receiver_may_say_when() -> None:
    def in_two_seconds(handler: tornado.web.RequestHandler) -> None:
        status(503, Retry_After=formatdate(time.time() + 2, usegmt=True))(handler)

    async with receiver() as there, sender(options=WebhookOptions(first_pause=0.001, longest_pause=5.0)) as own:
        there.answers = [status(429, Retry_After="1"), in_two_seconds]
        own.send(there.origin, alert())
        await own.until("delivered")
    first, second, third = [call.at for call in there.calls]
    assert second - first >= 0.95
    assert third - second >= 0.95  # the date has whole seconds


async def test_a_receiver_may_not_say_never() -> None:
    async with receiver() as there, sender() as own:
        there.answers = [status(503, Retry_After="100000")]
        own.send(there.origin, alert())
        await own.until("delivered")
    first, second = [call.at for call in there.calls]
    assert FAST.longest_pause * 0.95 <= second - first < 5.0


async def test_a_receiver_that_hangs_keeps_only_itself_waiting(caplog: pytest.LogCaptureFixture) -> None:
    released = asyncio.Event()

    async def hang(handler: tornado.web.RequestHandler) -> None:
        await released.wait()

    options = WebhookOptions(max_waiting=3, concurrency=2)
    async with receiver() as there, receiver() as other, sender(options=options) as own:
        there.answers = [hang] * 8
        for number in range(8):
            own.send(f"{there.origin}/{number}", alert(number))
            if number == 1:
                await there.until(2)  # no more than these at a time
        for number in range(5):
            own.send(other.origin, alert(number))
            await own.until("delivered", number + 1)
        assert len(there.calls) == 2
        assert own.counts == {"delivered": 5, "dropped": 3}  # of six that wait the oldest
        released.set()
        await own.until("delivered", 10)
    assert [call.path for call in there.calls[:2]] == ["/0", "/1"]
    assert {call.path for call in there.calls[2:]} == {"/5", "/6", "/7"}
    (line,) = caplog.messages  # and not one for each
    assert line == f"webhook {there.origin}: its queue is full, the oldest alerts are dropped"


async def test_a_hanging_receiver_times_out() -> None:
    async def hang(handler: tornado.web.RequestHandler) -> None:
        await asyncio.Event().wait()

    async with receiver() as there, sender(options=WebhookOptions(timeout=0.1, first_pause=0.001)) as own:
        there.answers = [hang]
        own.send(there.origin, alert())
        await own.until("delivered")
    assert len(there.calls) == 2


async def test_logs_tell_the_receiver_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    (closed,) = bind_sockets(0, "127.0.0.1")
    origin = f"http://127.0.0.1:{closed.getsockname()[1]}"
    closed.close()
    async with receiver() as there, sender(SECRET) as own:
        there.answers = [status(403)]
        for where in (origin, there.origin, "http://no-such-host.invalid", "https://127.0.0.1:1"):
            own.send(f"{where}/geheim/path?token=geheim", alert())
        await own.until("failed", 3)
        await own.until("refused")
    for where in (origin, there.origin, "http://no-such-host.invalid", "https://127.0.0.1:1"):
        assert sum(f"webhook {where}: an alert was not delivered: " in line for line in caplog.messages) == 1
    assert "geheim" not in caplog.text
    assert SECRET.removeprefix("whsec_") not in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]
    assert "geheim" not in repr(own)


async def test_lines_of_log_are_rare(caplog: pytest.LogCaptureFixture) -> None:
    async with receiver() as there, sender(options=WebhookOptions(log_pause=0.2)) as own:
        there.answers = [status(400)] * 30
        for number in range(20):
            own.send(there.origin, alert())
            await own.until("refused", number + 1)
        assert 1 <= len(caplog.messages) < 20
        told, number = len(caplog.messages), 20
        while len(caplog.messages) == told:
            there.answers = [status(400)]
            own.send(there.origin, alert())
            await own.until("refused", number := number + 1)
    assert "times since the last line)" in caplog.messages[-1]


def at_length(handler: tornado.web.RequestHandler) -> None:
    handler.set_status(200)
    handler.write(b"x" * 500_000)


async def test_an_answer_may_be_long() -> None:
    async with receiver() as there, sender() as own:
        there.answers = [at_length]
        own.send(there.origin, alert())
        await own.until("delivered")
    assert len(there.calls) == 1


async def test_what_is_no_http_fails() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-nothing for you\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, sender() as own:
        own.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", alert())
        await own.until("failed")


def deadline(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_stop_tries_each_once_more_and_does_not_wait_for_its_turn() -> None:
    options = WebhookOptions(first_pause=1000.0, longest_pause=1000.0, concurrency=1)
    async with receiver() as there, sender(options=options) as own:
        there.answers = [status(503, Retry_After="1000"), status(500), status(200), status(200)]
        for number in range(4):
            own.send(f"{there.origin}/{number}", alert())
        await there.until(1)
        await own.stop(deadline(5.0))
        assert [call.path for call in there.calls] == ["/0", "/0", "/1", "/2", "/3"]
        assert own.counts == {"delivered": 3, "failed": 1}


async def test_a_stop_waits_no_longer_than_it_may(caplog: pytest.LogCaptureFixture) -> None:
    async def hang(handler: tornado.web.RequestHandler) -> None:
        await asyncio.Event().wait()

    async with receiver() as there, sender() as own:
        there.answers = [hang] * 9
        for _ in range(9):
            own.send(there.origin, alert())
        await there.until(FAST.concurrency)
        began = time.monotonic()
        await own.stop(deadline(0.1))
        assert time.monotonic() - began < 2.0
        assert own.counts == {"failed": 9}
        own.send(there.origin, alert())
        assert own.counts == {"failed": 9, "dropped": 1}
    assert caplog.messages == ["the server stops with 9 alerts that no webhook was told of"]


async def test_a_sender_shows_what_it_has_to_do() -> None:
    async with receiver() as there, sender() as own:
        assert repr(own) == "<WebhookSender receivers=0 waiting=0 tasks=0>"
        own.send(there.origin, alert())
        assert repr(own) == "<WebhookSender receivers=1 waiting=1 tasks=1>"
        await own.until("delivered")


async def test_a_fault_of_the_sender_s_own_ends_one_delivery_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async with receiver() as there:
        own = Sender("no bytes", FAST)  # type: ignore[arg-type]
        own.send(there.origin, alert())
        own.send(there.origin, alert())
        await own.until("failed", 2)
        await own.stop(0.0)
    assert caplog.messages.count("a webhook failed by a fault of the server's own") == 2
