"""The other processes that share what is watched, by the cards that they show."""

from collections.abc import Mapping
from typing import Final

from pipeline.fanout_messages import Card

TTL: Final = 10.0  # seconds


class Peers:
    """Their last cards. Who shows none for `ttl` seconds, while others' could be read, is gone."""

    def __init__(self, ttl: float = TTL) -> None:
        self._ttl = ttl
        self._missing: dict[str, float] = {}  # since when, in seconds
        self.cards: dict[str, Card] = {}

    def __repr__(self) -> str:
        return f"<Peers {len(self.cards)} missing={len(self._missing)}>"

    def update(self, cards: Mapping[str, Card], now: float) -> set[str]:
        """Take the cards that there are, and return who is gone."""
        for peer in self.cards.keys() - cards.keys():
            self._missing.setdefault(peer, now)
        for peer in self._missing.keys() & cards.keys():
            del self._missing[peer]
        gone = {peer for peer, since in self._missing.items() if now - since >= self._ttl}
        self.cards.update(cards)
        for peer in gone:
            self.forget(peer)
        return gone

    def forget(self, peer: str) -> None:
        """Expect nothing more of one that has said that it ends."""
        self.cards.pop(peer, None)
        self._missing.pop(peer, None)

    def look_away(self) -> None:
        """Take note that cards could not be read: nobody is missing for that."""
        self._missing.clear()
