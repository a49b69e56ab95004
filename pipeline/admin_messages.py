"""What operators are told and may order: one struct per body (docs/security.md)."""

from typing import Literal, get_args

from msgspec import Struct

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[str, ...] = get_args(Level)


class SessionInfo(Struct, omit_defaults=True):
    """A socket: what it is, whose it is and what it has done."""

    session: str
    kind: Literal["stream", "watch", "events", "echo"]
    identity: str | None  # None: has yet to say who it is
    address: str
    seconds: float  # since it was opened
    events: int = 0
    in_flight: int = 0
    keys: int = 0
    topics: list[str] = []
    process: str = ""  # which of several has it


class Sessions(Struct, omit_defaults=True):
    """Open sockets, the oldest first, how many there are in all, and how many processes did not tell of theirs."""

    sessions: list[SessionInfo]
    total: int
    silent: int = 0


class Done(Struct, omit_defaults=True):
    """What an operator ordered is done, but for `silent` processes that have not said so in time."""

    done: bool
    silent: int = 0


class LogLevel(Struct, forbid_unknown_fields=True):
    """How much is logged."""

    level: Level


class LogLevelSet(Struct, omit_defaults=True):
    """How much is logged from now on, but for `silent` processes that have not said so in time."""

    level: Level
    silent: int = 0


class Me(Struct):
    """Who asks: the name, kind, scopes and end (unix seconds; None: has none) of a credential."""

    name: str
    kind: Literal["key", "token", "ticket", "open"]
    scopes: list[str]
    expires_at: float | None
