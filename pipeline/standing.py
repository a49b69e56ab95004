"""Orders that stand: which models are drained, so that whoever starts later, or has missed an order, learns of it."""

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from pipeline.orders import Count, ForeignOrder, Text

FORMAT: Final = 1  # of a card; others are foreign
MOST_MARKS: Final = 1000

Model = Annotated[str, Meta(max_length=256)]


class Mark(Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """The last order for a model: when (unix milliseconds, and later than any that the asker knew of), what, whose."""

    at: Count
    is_drained: bool
    by: Text


class Card(Struct, array_like=True, forbid_unknown_fields=True):
    """What a process knows of standing orders."""

    format: int
    marks: dict[Model, Mark]


class Standing:
    """The last order for each model. Whoever merges the marks of others ends up with the same, in whatever order."""

    def __init__(self) -> None:
        self.marks: dict[str, Mark] = {}
        self.on_change: Callable[[], None] = _ignore  # called when there is something to tell the others
        self.follow: Callable[[], None] = _ignore  # called to bring models in line

    def __repr__(self) -> str:
        return f"<Standing {sorted(model for model, mark in self.marks.items() if mark.is_drained)}>"

    def next(self, now: float) -> int:
        """Return when an order is given (unix seconds): never before one that is known."""
        return max(int(now * 1000), 1 + max((mark.at for mark in self.marks.values()), default=0))

    def note(self, model: str, mark: Mark) -> bool:
        """Take an order; return whether it is newer than what is known."""
        is_new = self._take(model, mark)
        if is_new:
            self.on_change()
        return is_new

    def merge(self, marks: Mapping[str, Mark]) -> bool:
        """Take what others know; return whether any of it is news."""
        news = [model for model, mark in marks.items() if self._take(model, mark)]
        return bool(news)

    def _take(self, model: str, mark: Mark) -> bool:
        known = self.marks.get(model)
        if known is not None and _rank(known) >= _rank(mark):
            return False
        self.marks[model] = mark
        if len(self.marks) > MOST_MARKS:
            del self.marks[min(self.marks, key=lambda name: self.marks[name].at)]
        return True


def _rank(mark: Mark) -> tuple[int, bool, str]:
    """Return what all agree on by which of two is the last, at the same time too."""
    return mark.at, mark.is_drained, mark.by


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Card).decode


def encode_card(marks: dict[str, Mark]) -> bytes:
    """Return the bytes of a card."""
    return _encode(Card(FORMAT, marks))


def decode_card(payload: bytes) -> dict[str, Mark]:
    """Return the marks of a card. Raises `ForeignOrder`."""
    try:
        card = _decode(payload)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ForeignOrder(f"no card: {error}") from error
    if card.format != FORMAT or len(card.marks) > MOST_MARKS:
        raise ForeignOrder(f"no card: expected format {FORMAT} and at most {MOST_MARKS} marks")
    return card.marks


def _ignore() -> None:
    pass
