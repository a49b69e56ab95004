"""Who asks, and what for: what all credentials turn into."""

from math import inf
from typing import Final, Literal

from pipeline.scopes import EVERYTHING, Scopes

MAX_NAME: Final = 128  # characters

Kind = Literal["key", "token", "ticket", "open"]


class Identity:
    """One who was identified; all sockets of an API key share one. Nothing in it is secret."""

    __slots__ = ("expires_at", "is_revoked", "key_id", "kind", "name", "parent", "scopes")

    def __init__(
        self,
        name: str,
        scopes: Scopes,
        expires_at: float = inf,
        kind: Kind = "open",
        *,
        key_id: str = "",
        parent: "Identity | None" = None,
    ) -> None:
        """`expires_at`: unix seconds. `parent`: whose end is its own end too. Raises `ValueError` for a wrong name."""
        check_name(name)
        self.name: Final = name
        self.scopes: Final = scopes
        self.expires_at: Final = expires_at
        self.kind: Final = kind
        self.key_id: Final = key_id
        self.parent: Final = parent
        self.is_revoked = False

    def __repr__(self) -> str:
        return f"<Identity {self.name!r} {self.kind}{' revoked' if self.is_revoked else ''}>"

    def is_valid(self, now: float) -> bool:
        """Return whether it is neither revoked nor expired; `now`: unix seconds."""
        if self.is_revoked or now >= self.expires_at:
            return False
        return self.parent is None or self.parent.is_valid(now)


def check_name(name: str) -> None:
    """Raise `ValueError` for what is no name of an identity."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or not name.strip():
        raise ValueError(f"name: expected 1 to {MAX_NAME} printable characters")


#: Everybody, where no credentials are configured.
OPEN_IDENTITY: Final = Identity("anonymous", EVERYTHING)
