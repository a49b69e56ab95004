"""What is watched in one process of what others predict, and the questions that it has for them."""

from collections.abc import Iterable
from typing import Final

from pipeline.audience import Choice
from pipeline.fanout_messages import MAX_WANTED
from pipeline.topics import ALERTS, STATS, Pattern

EVERYTHING: Final = "*/*"
SLOWEST_HZ: Final = 0.1


class Wanted:
    """Patterns to look names up in: what a pattern without `*` costs does not grow with their number."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = frozenset(texts)
        self._patterns = [Pattern(text) for text in self.texts if "*" in text]
        self.is_exact = not self._patterns  # the texts are names

    def __repr__(self) -> str:
        return f"<Wanted {' '.join(sorted(self.texts))}>"

    def __bool__(self) -> bool:
        return bool(self.texts)

    def fits(self, topic: str) -> bool:
        """Return whether a topic is wanted."""
        return topic in self.texts or any(pattern.fits(topic) for pattern in self._patterns)


class Wants:
    """What a process wants of all others, and which question for it was its last."""

    def __init__(self) -> None:
        self.number = 0
        self.patterns: dict[str, int] = {}  # with the number of the question for what is there now
        self.again: dict[str, int] = {}  # by sender
        self.hz = SLOWEST_HZ
        self.inputs = False
        self.wanted = Wanted()

    def __repr__(self) -> str:
        return f"<Wants {self.wanted!r} hz={self.hz:g} number={self.number} again={len(self.again)}>"

    def update(self, choices: Iterable[Choice]) -> bool:
        """Take what is watched now; return whether it is anything else than before."""
        patterns, hz, inputs = unite(choices)
        before = set(self.patterns), self.hz, self.inputs
        if before == (patterns, hz, inputs):
            return False
        is_more = inputs and not self.inputs
        if is_more or not self.patterns.keys() >= patterns:
            self.number += 1
        self.patterns = {text: self.number if is_more else self.patterns.get(text, self.number) for text in patterns}
        self.hz, self.inputs = hz, inputs
        self.wanted = Wanted(patterns)
        return True

    def ask_again(self, sender: str) -> int:
        """Ask a sender for all that it has; return the number of the question."""
        self.number += 1
        self.again[sender] = self.number
        return self.number

    def forget(self, sender: str) -> None:
        """Ask a sender nothing more."""
        self.again.pop(sender, None)


def unite(choices: Iterable[Choice]) -> tuple[set[str], float, bool]:
    """Return patterns that fit what any of the choices does, the greatest `hz`, and whether any is with inputs.

    What another pattern includes is left out; of more than `MAX_WANTED` it makes one that fits everything.
    """
    patterns: set[str] = set()
    hz, inputs = SLOWEST_HZ, False
    for choice in choices:
        texts = set(choice.patterns) - {STATS, ALERTS}
        if texts:
            patterns |= texts
            hz, inputs = max(hz, choice.hz), inputs or choice.inputs
    if EVERYTHING in patterns or len(patterns) > MAX_WANTED:
        return {EVERYTHING}, hz, inputs
    whole = {text for text in patterns if text.endswith("/*")}
    return {text for text in patterns if text in whole or f"{text.partition('/')[0]}/*" not in whole}, hz, inputs
