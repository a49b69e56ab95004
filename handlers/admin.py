"""`/v1/admin/...`: what operators see and do while the server runs. All of it needs the scope `admin`.

What is ordered here reaches all processes of the server, whichever of them answers (`pipeline/operators.py`).
"""

import logging
from math import inf
from typing import Final

import msgspec

from handlers.base import JsonHandler
from handlers.bounded_body import BoundedBodyHandler
from pipeline.admin_messages import LEVELS, LogLevel, LogLevelSet, Me
from pipeline.errors import InvalidMessage
from pipeline.orders import MAX_LISTED, CloseSession, DrainModel, ListSessions, ResumeModel, SetLogLevel, Task

PARAMETERS: Final = frozenset(("limit", "identity"))


class OrderHandler(JsonHandler):
    """A door behind which an order is given."""

    async def order(self, task: Task) -> None:
        """Have it done by all processes, and reply with what came of it."""
        self.reply(await self.state.operators.order(_who(self), task))


class SessionsHandler(OrderHandler):
    """The sockets of all processes; `?identity=` those of one, `?limit=` fewer than there may be."""

    async def get(self) -> None:
        """List open sockets, the oldest first."""
        query = self.query(PARAMETERS)
        text = query.get("limit", str(MAX_LISTED))
        limit = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
        if not 1 <= limit <= MAX_LISTED:
            raise InvalidMessage(f"limit: expected an integer from 1 to {MAX_LISTED}, got {text[:100]!r}")
        self.set_header("Cache-Control", "no-store")
        await self.order(ListSessions(query.get("identity"), limit))


class SessionHandler(OrderHandler):
    """One socket, whichever process has it."""

    async def delete(self, session: str) -> None:
        """Close it (4010); its client may come again unless its credential is revoked."""
        self.query(frozenset())
        await self.order(CloseSession(session))


class DrainHandler(OrderHandler):
    """A model that is drained stays in memory, and takes no events until it is resumed."""

    async def post(self, model: str) -> None:
        """Refuse further events for a model (`model_unavailable`); answers when all that it had taken is answered."""
        self.query(frozenset())
        await self.order(DrainModel(model))


class ResumeHandler(OrderHandler):
    """The other way round."""

    async def post(self, model: str) -> None:
        """Let a model that was drained take events again."""
        self.query(frozenset())
        await self.order(ResumeModel(model))


class LogLevelHandler(BoundedBodyHandler):
    """Until the process ends."""

    def get(self) -> None:
        """Tell how much the process logs that answers."""
        self.query(frozenset())
        name = logging.getLevelName(logging.getLogger().level).lower()
        self.reply(LogLevel(name if name in LEVELS else "info"))  # type: ignore[arg-type]

    async def put(self) -> None:
        """Log more, or less, in all processes."""
        if self._finished:
            return
        self.query(frozenset())
        level = _decode(self.body.take_plain(self.request.headers)).level
        done = await self.state.operators.order(_who(self), SetLogLevel(level))
        self.reply(LogLevelSet(level, done.silent))


class MeHandler(JsonHandler):
    """What a page needs to know of its credential."""

    def get(self) -> None:
        """Tell who asks, and what for."""
        self.query(frozenset())
        identity = self.identity
        assert identity is not None
        ends = None if identity.expires_at == inf else identity.expires_at
        self.set_header("Cache-Control", "no-store")
        self.reply(Me(identity.name, identity.kind, list(identity.scopes.texts), ends))


def _decode(body: bytes) -> LogLevel:
    try:
        return msgspec.json.decode(body, type=LogLevel)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidMessage(f"the body: {error}") from error


def _who(handler: JsonHandler) -> str:
    return "an operator" if handler.identity is None else handler.identity.name
