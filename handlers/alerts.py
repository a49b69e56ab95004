"""`GET /v1/alerts`: the latest alerts."""

from typing import Final

from handlers.access import check_topics
from handlers.base import JsonHandler
from pipeline.alert_messages import Alerts
from pipeline.alerts import MAX_RECENT
from pipeline.errors import InvalidMessage
from pipeline.topics import ALERTS

PARAMETERS: Final = frozenset(("limit",))


class AlertsHandler(JsonHandler):
    """The latest alerts of all models, newest first; `?limit=` asks for fewer than there are."""

    def get(self) -> None:
        """List the latest alerts."""
        text = self.query(PARAMETERS).get("limit", str(MAX_RECENT))
        limit = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
        if not 1 <= limit <= MAX_RECENT:
            raise InvalidMessage(f"limit: expected an integer from 1 to {MAX_RECENT}, got {text[:100]!r}")
        check_topics(self.identity, [ALERTS])
        self.reply(Alerts(self.state.alerts.newest(limit)))
