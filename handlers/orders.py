"""What operators order, carried out in this process."""

import contextlib
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
from pipeline.standing import Mark, Standing

log = logging.getLogger(__name__)

_UNKNOWN: Final = Did(False)


class Executor:
    """Closes this process's sockets, drains its models and sets its log level, by whoever's order."""

    def __init__(self, heartbeat: Heartbeat, models: Catalogue | None, standing: Standing) -> None:
        """`models` are those that clients send events to: a worker has none, since it answers what gateways took.

        They follow what is `standing`, whoever it was told of.
        """
        self._heartbeat = heartbeat
        self._models = models
        self._standing = standing
        standing.follow = self._follow

    async def __call__(self, order: Order) -> Result:
        """Return what came of it; of a drain once all that the model had taken is answered."""
        match order.task:
            case ListSessions(identity=identity, limit=limit):
                return self._list(identity, limit)
            case CloseSession(session=session):
                return self._close(session, order.by)
            case DrainModel(model=model, at=at):
                return await self._mark(model, Mark(at, True, order.by))
            case ResumeModel(model=model, at=at):
                return await self._mark(model, Mark(at, False, order.by))
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

    async def _mark(self, model: str, mark: Mark) -> Did:
        """Drain a model or resume it, unless a newer order said otherwise."""
        if self._models is None:
            return _UNKNOWN
        try:
            self._models.versions(model)
            self._standing.note(model, mark)
            self._bring_in_line(model)
            if self._models.is_held(model):
                await self._models.settled(model)
        except UnknownModel:
            return _UNKNOWN
        return Did(True)

    def _follow(self) -> None:
        for model in self._standing.marks:
            with contextlib.suppress(UnknownModel):  # it may come
                self._bring_in_line(model)

    def _bring_in_line(self, model: str) -> None:
        mark = self._standing.marks[model]
        if self._models is None or self._models.is_held(model) == mark.is_drained:
            return
        log.warning("%s %s model %s", mark.by, "drains" if mark.is_drained else "resumes", model)
        if mark.is_drained:
            self._models.hold_back(model)
        else:
            self._models.resume(model)
