"""`/v1/admin/...`: what operators see and do while the server runs. All of it needs the scope `admin`.

Sockets and log levels are those of the process that answers.
"""

import logging
from itertools import islice
from math import inf
from typing import Final

import msgspec

from handlers.base import JsonHandler
from handlers.bounded_body import BoundedBodyHandler
from pipeline.admin_messages import LEVELS, Done, LogLevel, Me, Sessions
from pipeline.errors import CloseCode, InvalidMessage, UnknownSession

log = logging.getLogger(__name__)

MAX_LISTED: Final = 1000
PARAMETERS: Final = frozenset(("limit", "identity"))


class SessionsHandler(JsonHandler):
    """The sockets of this process; `?identity=` those of one, `?limit=` fewer than there may be."""

    def get(self) -> None:
        """List open sockets."""
        query = self.query(PARAMETERS)
        text = query.get("limit", str(MAX_LISTED))
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LISTED):
            raise InvalidMessage(f"limit: expected an integer from 1 to {MAX_LISTED}, got {text[:100]!r}")
        sockets = sorted(self.state.heartbeat, key=lambda socket: socket.opened_at)
        infos = (socket.describe() for socket in sockets)
        wanted = query.get("identity")
        chosen = [info for info in infos if wanted is None or info.identity == wanted]
        self.set_header("Cache-Control", "no-store")
        self.reply(Sessions(list(islice(chosen, int(text))), len(chosen)))


class SessionHandler(JsonHandler):
    """One socket."""

    def delete(self, session: str) -> None:
        """Close it (4010); its client may come again unless its credential is revoked."""
        self.query(frozenset())
        for socket in self.state.heartbeat:
            if socket.name == session:
                log.warning("%s closes session %s", _who(self), session)
                socket.close(CloseCode.CLOSED_BY_OPERATOR, "closed by an operator")
                self.reply(Done())
                return
        raise UnknownSession(f"session: {session[:100]!r} is none of this process")


class DrainHandler(JsonHandler):
    """A model that is drained stays in memory, and takes no events until it is resumed."""

    async def post(self, model: str) -> None:
        """Refuse further events for a model (`model_unavailable`); answers when all that it had taken is answered."""
        self.query(frozenset())
        log.warning("%s drains model %s", _who(self), model)
        await self.state.repository.hold_back(model)
        self.reply(Done())


class ResumeHandler(JsonHandler):
    """The other way round."""

    def post(self, model: str) -> None:
        """Let a model that was drained take events again."""
        self.query(frozenset())
        log.warning("%s resumes model %s", _who(self), model)
        self.state.repository.resume(model)
        self.reply(Done())


class LogLevelHandler(BoundedBodyHandler):
    """Until the process ends."""

    def get(self) -> None:
        """Tell how much is logged."""
        self.query(frozenset())
        name = logging.getLevelName(logging.getLogger().level).lower()
        self.reply(LogLevel(name if name in LEVELS else "info"))  # type: ignore[arg-type]

    def put(self) -> None:
        """Log more, or less."""
        if self._finished:
            return
        self.query(frozenset())
        order = _decode(self.body.take_plain(self.request.headers))
        logging.getLogger().setLevel(order.level.upper())
        log.warning("%s sets the log level to %s", _who(self), order.level)
        self.reply(order)


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
