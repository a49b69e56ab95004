"""Letters that wait for the backbone: numbered, bounded, and kept until it has them."""

from collections import deque
from typing import Final, NamedTuple

from pipeline.fanout_messages import Dropped, Raised, encode, seal

ENOUGH: Final = 1024  # letters; nothing is added then that can wait
LIMIT: Final = 4096  # letters; the oldest is dropped for more
AT_ONCE: Final = 256


class _Body(NamedTuple):
    encoded: bytes
    alert: int  # its number; 0: it is none


class Outbox:
    """The letters of one sender.

    What was passed over for something newer is counted, and told as soon as there is a way; the numbers of what is
    dropped for want of room are left out, so that readers miss it and ask.
    """

    def __init__(self, sender: str, *, enough: int = ENOUGH, limit: int = LIMIT) -> None:
        self._sender = sender
        self._enough = enough
        self._limit = limit
        self._waiting: deque[_Body] = deque()
        self._going: list[bytes] = []
        self._going_to = 0, 0  # numbers of the last letter, and of the last alert among them
        self._untold = 0
        self._left_out = 0
        self.sent = 0  # the number of the last letter that is out
        self.alerts = 0  # and of the last alert
        self.dropped = 0

    def __repr__(self) -> str:
        return f"<Outbox waiting={len(self)} sent={self.sent} dropped={self.dropped}>"

    def __len__(self) -> int:
        return len(self._waiting) + len(self._going)

    @property
    def is_full(self) -> bool:
        """Whether there is enough to send."""
        return len(self) >= self._enough

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self._waiting or self._going or self._untold)

    def add(self, body: bytes) -> None:
        """Send what a letter says."""
        self._push(_Body(body, 0))

    def raise_alert(self, raised: Raised) -> None:
        """Send an alert."""
        self._push(_Body(encode(raised), raised.number))

    def pass_over(self, count: int) -> None:
        """Count what was never sent, since something newer of the same topics was there before it could be."""
        self.dropped += count
        self._untold += count

    def letters(self) -> list[bytes]:
        """Return what is to be sent next: the same until `confirm` says that it is out."""
        if not self._going:
            bodies = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            alert = max((body.alert for body in bodies), default=0)
            if self._untold:
                bodies.insert(0, _Body(encode(Dropped(self._untold)), 0))
                self._untold = 0
            first = self.sent + self._left_out + 1
            self._going = [seal(self._sender, number, body.encoded) for number, body in enumerate(bodies, first)]
            if bodies:
                self._going_to = first + len(bodies) - 1, max(alert, self.alerts)
                self._left_out = 0
        return self._going

    def confirm(self) -> None:
        """Take note that the letters are out."""
        if self._going:
            self.sent, self.alerts = self._going_to
            self._going = []

    def _push(self, body: _Body) -> None:
        self._waiting.append(body)
        if len(self) > self._limit:
            self._waiting.popleft()
            self._left_out += 1
            self.dropped += 1
