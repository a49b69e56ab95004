"""What operators order, carried out in this process."""

import logging
from typing import Final

from handlers.heartbeat import Heartbeat
from pipeline.catalogue import Catalogue
from pipeline.errors import CloseCode, UnknownModel
from pipeline.orders import (
    CloseSession,
    Did,
    DrainModel,
    Listed,
    ListSessions,
    Order,
    Result,
    ResumeModel,
    SetLogLevel,
)

log = logging.getLogger(__name__)

_UNKNOWN: Final = Did(False)


class Executor:
    """Closes this process's sockets, drains its models and sets its log level, by whoever's order."""

    def __init__(self, heartbeat: Heartbeat, models: Catalogue | None) -> None:
        """`models` are those that clients send events to: a worker has none, since it answers what gateways took."""
        self._heartbeat = heartbeat
        self._models = models

    async def __call__(self, order: Order) -> Result:
        """Return what came of it; of a drain once all that the model had taken is answered."""
        match order.task:
            case ListSessions(identity=identity, limit=limit):
                return self._list(identity, limit)
            case CloseSession(session=session):
                return self._close(session, order.by)
            case DrainModel(model=model):
                return await self._drain(model, order.by)
            case ResumeModel(model=model):
                return self._resume(model, order.by)
            case SetLogLevel(level=level):
                logging.getLogger().setLevel(level.upper())
                log.warning("%s sets the log level to %s", order.by, level)
                return Did(True)

    def _list(self, identity: str | None, limit: int) -> Listed:
        sockets = sorted(self._heartbeat, key=lambda socket: socket.opened_at)
        infos = [socket.describe() for socket in sockets]
        chosen = [info for info in infos if identity is None or info.identity == identity]
        return Listed(chosen[:limit], len(chosen))

    def _close(self, session: str, by: str) -> Did:
        for socket in self._heartbeat:
            if socket.name == session:
                log.warning("%s closes session %s", by, session)
                socket.close(CloseCode.CLOSED_BY_OPERATOR, "closed by an operator")
                return Did(True)
        return _UNKNOWN

    async def _drain(self, model: str, by: str) -> Did:
        if self._models is None:
            return _UNKNOWN
        try:
            self._models.versions(model)
            log.warning("%s drains model %s", by, model)
            await self._models.hold_back(model)
        except UnknownModel:
            return _UNKNOWN
        return Did(True)

    def _resume(self, model: str, by: str) -> Did:
        if self._models is None:
            return _UNKNOWN
        try:
            self._models.resume(model)
        except UnknownModel:
            return _UNKNOWN
        log.warning("%s resumes model %s", by, model)
        return Did(True)
