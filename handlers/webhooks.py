"""Webhooks: alerts as POST requests to whoever asked for them, tried again, and never in anybody's way."""

import asyncio
import functools
import logging
import os
import random
import socket
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from tornado.httpclient import HTTPError, HTTPRequest, HTTPResponse
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from pipeline.alert_messages import Alert, WebhookBody
from pipeline.stats import ServerStats
from pipeline.webhook_rules import is_delivered, may_repeat, pause_before, retry_after, signed_headers

log = logging.getLogger(__name__)

_chance: Final = random.SystemRandom().random

MAX_ANSWER_BYTES: Final = 1 << 20  # what a receiver says is not looked at


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Bounds of each receiver, and times in seconds."""

    max_waiting: int = 256
    concurrency: int = 4
    attempts: int = 7
    first_pause: float = 1.0
    longest_pause: float = 60.0
    connect_timeout: float = 5.0
    timeout: float = 10.0
    log_pause: float = 60.0


class Delivery(NamedTuple):
    """One alert for one URL; the id stays the same whenever it is tried."""

    url: str
    message_id: str
    body: bytes


class WebhookSender:
    """Sends alerts to their webhooks.

    Each receiver (scheme, host and port of a URL) has a queue and connections of its own, so one that is dead keeps
    nobody waiting but itself. A full queue loses its oldest. Order is not kept.
    """

    def __init__(self, stats: ServerStats, key: bytes | None, options: WebhookOptions | None = None) -> None:
        """Take the key that signs what is sent. Needs a running loop."""
        self._stats = stats
        self._key = key
        self._options = options or WebhookOptions()
        self._receivers: dict[str, _Receiver] = {}
        self._ending = asyncio.Event()
        self._is_stopped = False

    def __repr__(self) -> str:
        waiting = sum(len(receiver.waiting) for receiver in self._receivers.values())
        tasks = sum(len(receiver.tasks) for receiver in self._receivers.values())
        return f"<WebhookSender receivers={len(self._receivers)} {waiting=} {tasks=}>"

    def send(self, url: str, alert: Alert) -> None:
        """Queue an alert for a URL."""
        if self._is_stopped:
            self._stats.webhooks["dropped"] += 1
            return
        when = datetime.fromtimestamp(alert.ts, UTC).isoformat().replace("+00:00", "Z")
        delivery = Delivery(url, f"msg_{os.urandom(16).hex()}", msgspec.json.encode(WebhookBody(when, alert)))
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        receiver = self._receivers.get(origin)
        if receiver is None:
            receiver = self._receivers[origin] = _Receiver(origin, self._options)
        if len(receiver.waiting) >= self._options.max_waiting:
            receiver.waiting.popleft()
            self._stats.webhooks["dropped"] += 1
            receiver.complain("its queue is full, the oldest alerts are dropped")
        receiver.waiting.append(delivery)
        if len(receiver.tasks) < self._options.concurrency:
            task = asyncio.get_running_loop().create_task(self._work(receiver))
            receiver.tasks.add(task)
            task.add_done_callback(receiver.tasks.discard)

    async def stop(self, deadline: float) -> None:
        """Try each alert that is left once more, until `deadline` (of the loop's clock), and give the rest up."""
        self._ending.set()
        if tasks := [task for receiver in self._receivers.values() for task in receiver.tasks]:
            await asyncio.wait(tasks, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._is_stopped = True
        lost = 0
        for receiver in self._receivers.values():
            lost += len(receiver.waiting)
            receiver.close()
        self._receivers.clear()
        self._stats.webhooks["failed"] += lost
        if lost:
            log.warning("the server stops with %d alerts that no webhook was told of", lost)

    async def _work(self, receiver: "_Receiver") -> None:
        """Deliver what waits for a receiver, one by one."""
        while receiver.waiting:
            delivery = receiver.waiting.popleft()
            try:
                outcome, why = await self._deliver(receiver, delivery)
            except asyncio.CancelledError:
                receiver.waiting.append(delivery)  # to be counted as lost
                raise
            except Exception:
                log.exception("a webhook failed by a fault of the server's own")
                outcome, why = "failed", "a fault of the server's own"
            self._stats.webhooks[outcome] += 1
            if outcome != "delivered":
                receiver.complain(f"an alert was not delivered: {why}")

    async def _deliver(self, receiver: "_Receiver", delivery: Delivery) -> tuple[str, str]:
        """Try until it is delivered, refused, or has failed too often; return which, and why."""
        options = self._options
        attempt = 1
        while True:
            is_last = attempt == options.attempts or self._ending.is_set()
            status, why, asked = await self._attempt(receiver, delivery)
            if is_delivered(status):
                return "delivered", why
            if not may_repeat(status):
                return "refused", why
            if is_last:
                return "failed", f"{why}, after {attempt} attempts"
            pause = pause_before(attempt, options.first_pause, options.longest_pause, _chance(), asked)
            await self._pause(pause)
            attempt += 1

    async def _attempt(self, receiver: "_Receiver", delivery: Delivery) -> tuple[int, str, float | None]:
        """Return the status, 599 where there was none; what to tell of it; and how long to wait, if that was said.

        The texts are for logs: they hold no path and no query, which are secrets of many receivers.
        """
        now = time.time()
        headers = signed_headers(self._key, delivery.message_id, int(now), delivery.body)
        request = HTTPRequest(
            delivery.url,
            "POST",
            {"Content-Type": "application/json", **headers},
            delivery.body,
            connect_timeout=self._options.connect_timeout,
            request_timeout=self._options.timeout,
            follow_redirects=False,
            decompress_response=False,
            streaming_callback=_ignore,
            user_agent="waterspout",
        )
        try:
            response = await _settled(receiver.client.fetch(request, raise_error=False))
        except (OSError, HTTPError) as error:
            return 599, f"{type(error).__name__}: {str(error)[:200]}", None
        except Exception as error:  # whatever an answer that is no HTTP leads to
            return 599, type(error).__name__, None
        return response.code, f"status {response.code}", retry_after(response.headers, response.code, now)

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the server stops."""
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass


class _Receiver:
    """What waits for one receiver, who sends it, and its connections."""

    def __init__(self, origin: str, options: WebhookOptions) -> None:
        self.waiting: deque[Delivery] = deque()
        self.tasks: set[asyncio.Task[None]] = set()
        self._resolver = _Resolver(options.connect_timeout * 0.9)
        self.client = SimpleAsyncHTTPClient(
            force_instance=True,
            max_clients=options.concurrency,
            max_body_size=MAX_ANSWER_BYTES,
            max_buffer_size=MAX_ANSWER_BYTES,
            resolver=self._resolver,
        )
        self._origin = origin
        self._log_pause = options.log_pause
        self._told_at = -options.log_pause
        self._untold = 0

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()
        self._resolver.close()

    def complain(self, what: str) -> None:
        """Log what went wrong, once in a while."""
        now = time.monotonic()
        if now - self._told_at < self._log_pause:
            self._untold += 1
            return
        since = f" (and {self._untold} times since the last line)" if self._untold else ""
        log.warning("webhook %s: %s%s", self._origin, what, since)
        self._told_at = now
        self._untold = 0


class _Resolver(Resolver):
    """Looks names up in a thread that neither another receiver nor a server that stops waits for."""

    def initialize(self, seconds: float) -> None:
        """Give a look-up so much time: less than the connection, for Tornado logs what fails after that."""
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """Return the addresses of a host. Raises `OSError`."""
        look = functools.partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        async with asyncio.timeout(self._seconds):
            found = await asyncio.get_running_loop().run_in_executor(self._thread, look)
        return [(kind, address) for kind, _, _, _, address in found]

    def close(self) -> None:
        """Look nothing up any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def _settled(fetch: "asyncio.Future[HTTPResponse]") -> HTTPResponse:
    """Return what a request leads to. It is not cancelled with its task: Tornado logs what fails after that."""
    fetch.add_done_callback(lambda done: done.exception())
    return await asyncio.shield(fetch)


def _ignore(_: bytes) -> None:
    """Take a piece of an answer's body."""
