"""What a process hears of the predictions and alerts of others, and what it misses."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pipeline.alert_messages import Alert
from pipeline.alerts import MAX_RECENT
from pipeline.fanout_messages import (
    UNNUMBERED,
    Body,
    Bye,
    Card,
    Complete,
    Dropped,
    Ended,
    Letter,
    Look,
    Raised,
)
from pipeline.hub import Hub
from pipeline.messages import Gap
from pipeline.relayed import Relayed, Remote
from pipeline.topics import Topic
from pipeline.wants import Wants

MAX_SENDERS: Final = 4096
MAX_TOPICS: Final = 1_000_000  # of all senders
WHY: Final = "backbone"


class Held(NamedTuple):
    """A topic that a sender publishes to, and what is known of it."""

    topic: Topic
    at: int  # the sender's position
    has_inputs: bool


class Sender:
    """What has come from one process."""

    def __init__(self, last: int, alerts: int | None) -> None:
        self.last = last  # the greatest number of a letter
        self.topics: dict[str, Held] = {}
        self.doubted: set[str] = set()  # topics of which it has not spoken since it was asked again
        self.asked = 0  # the number of the last question to it alone
        self.asked_at = float("-inf")
        self.must_ask = last > 0  # what came before is unknown
        self.expected = last  # what it had sent according to its card
        self.expected_at = float("-inf")
        self.alerts = alerts  # up to here all are known, or of no interest; None: that is unknown
        self.seen: set[int] = set()  # alerts after that

    def count(self, number: int) -> int:
        """Take a letter's number and return how many have been lost before it, as far as that is new."""
        lost = max(0, number - self.last - 1)
        self.last = max(self.last, number)
        return lost

    def is_new_alert(self, number: int) -> bool:
        """Take note of an alert; what comes again is none."""
        if self.alerts is None:
            self.alerts = number - 1
        if number <= self.alerts or number in self.seen:
            return False
        self.seen.add(number)
        if len(self.seen) > 2 * MAX_RECENT:  # the older half does not come again
            self.alerts = max(self.seen) - MAX_RECENT
            self.seen = {number for number in self.seen if number > self.alerts}
        return True


class Incoming:
    """Puts what others predict into the hub, and asks again for what was lost. Times are seconds."""

    def __init__(self, hub: Hub, wants: Wants, name: str, note: Callable[[Alert], None], *, every: float) -> None:
        """`name` is that of this process, `note` takes alerts.

        A letter may take `every` seconds longer than its sender's card, and a sender is asked again as often.
        """
        self._hub = hub
        self._wants = wants
        self._name = name
        self._note = note
        self._every = every
        self._senders: dict[str, Sender] = {}
        self._topics = 0
        #: Asks for a look at the cards.
        self.look: Callable[[], None] = lambda: None
        #: Told of a process that ends.
        self.on_bye: Callable[[str], None] = lambda sender: None
        self.received = 0
        self.lost = 0  # letters that did not come, and updates that were passed over

    def __repr__(self) -> str:
        return f"<Incoming senders={len(self._senders)} topics={self._topics} lost={self.lost}>"

    def take(self, letter: Letter) -> None:
        """Take a letter, also one's own, one that comes again, or one that is late."""
        if letter.sender == self._name:
            return
        sender = self._senders.get(letter.sender)
        if sender is None:
            if len(self._senders) >= MAX_SENDERS or letter.number == UNNUMBERED:
                if isinstance(letter.body, Look):
                    self.look()
                return
            sender = self._meet(letter.sender, letter.number - 1, None)
        self.received += 1
        is_new = letter.number > sender.last
        if letter.number != UNNUMBERED and (lost := sender.count(letter.number)):
            self._miss(lost)
            sender.must_ask = True
            self.look()
        self._read(letter.sender, sender, letter.body, is_new)

    def compare(self, cards: Mapping[str, Card], now: float) -> None:
        """Notice by their cards which letters have not come, and ask those senders who have to be asked again."""
        for name, card in cards.items():
            sender = self._senders.get(name)
            if sender is None:
                if len(self._senders) >= MAX_SENDERS:
                    continue
                sender = self._meet(name, card.sent, card.alerts)
            if sender.alerts is None:
                sender.alerts = card.alerts
            if now - sender.expected_at >= self._every:
                lost = sender.expected - sender.last
                if lost > 0:
                    sender.last = sender.expected
                    self._miss(lost)
                    sender.must_ask = True
                sender.expected, sender.expected_at = card.sent, now
            if sender.must_ask and now - sender.asked_at >= self._every:
                self._ask(name, sender, now)

    def forget(self, name: str) -> None:
        """End the topics of a process that is gone."""
        sender = self._senders.pop(name, None)
        self._wants.forget(name)
        if sender is not None:
            for topic in list(sender.topics):
                self._dismiss(sender, topic, is_over=True)

    def forget_unwanted(self) -> None:
        """Let go of topics that nobody here watches any more."""
        for sender in self._senders.values():
            for name in [name for name in sender.topics if not self._wants.wanted.fits(name)]:
                self._dismiss(sender, name, is_over=False)

    def close(self) -> None:
        """Forget all."""
        for name in list(self._senders):
            self.forget(name)

    def _meet(self, name: str, last: int, alerts: int | None) -> Sender:
        sender = self._senders[name] = Sender(last, alerts)
        return sender

    def _ask(self, name: str, sender: Sender, now: float) -> None:
        sender.must_ask = False
        sender.asked, sender.asked_at = self._wants.ask_again(name), now
        sender.doubted = set(sender.topics)
        self.look()

    def _miss(self, count: int) -> None:
        self.lost += count
        self._hub.tell(Gap(count, WHY))

    def _read(self, name: str, sender: Sender, body: Body, is_new: bool) -> None:
        match body:
            case Relayed():
                self._show(name, sender, body)
            case Ended():
                self._dismiss(sender, body.topic, is_over=True)
            case Raised():
                if sender.is_new_alert(body.number):
                    self._note(body.alert)
            case Dropped():
                if is_new:
                    self._miss(body.count)
            case Complete():
                if body.reader == self._name and body.number == sender.asked:
                    for topic in sender.doubted:
                        self._dismiss(sender, topic, is_over=True)
                    sender.doubted = set()
            case Look():
                self.look()
            case Bye():
                self.forget(name)
                self.on_bye(name)

    def _show(self, name: str, sender: Sender, update: Relayed) -> None:
        sender.doubted.discard(update.topic)
        if not self._wants.wanted.fits(update.topic):
            return
        held = sender.topics.get(update.topic)
        if held is None:
            held = self._hold(name, sender, update)
            if held is None:
                return
        topic, has_inputs = held.topic, update.inputs is not None
        if update.at > held.at or (update.at == held.at and has_inputs and not held.has_inputs):
            sender.topics[update.topic] = Held(topic, update.at, has_inputs)
            known = topic.latest
            if known is None or known.ts <= update.ts or (isinstance(known, Remote) and known.sender == name):
                topic.n = update.n - 1
                topic.publish(Remote(name, update))
        if update.ended:
            self._dismiss(sender, update.topic, is_over=True)

    def _hold(self, name: str, sender: Sender, update: Relayed) -> Held | None:
        known = self._hub.topics.get(update.topic)
        latest = None if known is None else known.latest
        is_told = isinstance(latest, Remote) and latest.sender == name and latest.update.at >= update.at
        if (update.ended and is_told) or self._topics >= MAX_TOPICS:
            return None
        self._topics += 1
        held = sender.topics[update.topic] = Held(self._hub.admit(update.topic), -1, False)
        return held

    def _dismiss(self, sender: Sender, name: str, *, is_over: bool) -> None:
        held = sender.topics.pop(name, None)
        if held is not None:
            self._topics -= 1
            self._hub.dismiss(held.topic, is_over=is_over)
