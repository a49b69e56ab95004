"""`GET /v1/stats`: the value of `$stats` for those without a WebSocket."""

from handlers.access import check_topics
from handlers.base import JsonHandler
from pipeline.topics import STATS


class StatsHandler(JsonHandler):
    """Rates and quantiles are of the last five seconds, or of a quarter of a second where nobody has watched yet.

    The server measures only while somebody watches, and for ten seconds after each of these requests.
    """

    async def get(self) -> None:
        """Tell what the server does now."""
        self.query(frozenset())
        check_topics(self.identity, [STATS])
        self.reply(await self.state.pulse.read())
