"""Flushes the hub on the event loop: when something has changed, 60 times a second at most."""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Final

from handlers.heartbeat import Heartbeat
from pipeline.hub import NEVER, Hub

log = logging.getLogger(__name__)

INTERVAL: Final = 1 / 60
TURN: Final = 0.001  # seconds that a flush takes at a time
REST: Final = 0.003  # seconds that others have the loop then: watchers get a quarter of it at most
STREAMS_PER_TURN: Final = 256


class HubClock:
    """The timer of one hub. Nothing runs while nobody watches or nothing changes."""

    def __init__(self, hub: Hub, heartbeat: Heartbeat) -> None:
        """`heartbeat` knows the live sockets."""
        self._hub = hub
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._rings_at = NEVER
        self._flushed_at = 0.0
        self._steps: Iterator[None] | None = None  # of the flush that is under way
        hub.wake = self._wake
        hub.show_latest = self._show_latest

    def __repr__(self) -> str:
        return f"<HubClock {self._hub!r} rings_at={self._rings_at:.3f}>"

    def stop(self) -> None:
        """Flush no more."""
        self._hub.wake = lambda: None
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        if self._steps is None:
            self._ring_at(self._flushed_at + INTERVAL)

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            if self._rings_at <= when:
                return
            self._timer.cancel()
        self._rings_at = when
        self._timer = self._loop.call_later(max(0.0, when - time.monotonic()), self._start)

    def _start(self) -> None:
        self._flushed_at = time.monotonic()
        self._steps = self._hub.flush(self._flushed_at)
        self._go_on()

    def _go_on(self) -> None:
        assert self._steps is not None
        until = time.monotonic() + TURN
        try:
            for _ in self._steps:
                if time.monotonic() > until:
                    self._timer = self._loop.call_later(REST, self._go_on)
                    return
        except Exception:
            log.exception("watchers could not be told")
        self._steps = self._timer = None
        self._rings_at = NEVER
        if (due_at := self._hub.next_flush()) < NEVER:
            self._ring_at(max(due_at, self._flushed_at + INTERVAL))

    def _show_latest(self, name: str) -> Iterator[None]:
        """Show what the streams of a model answered last, as far as their sockets are open, a little in each step."""
        seen = 0
        for socket in self._heartbeat:
            streams = socket.live_streams()
            for stream in streams:
                if stream.route.name == name and (observer := stream.model.observer) is not None:
                    observer.show_latest(stream)
            seen += 1 + len(streams)
            if seen >= STREAMS_PER_TURN:
                seen = 0
                yield
